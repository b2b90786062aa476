# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The health gate as a pure state machine: observations and the clock in, an outcome out.

Nothing here sleeps, probes or reads a clock. All times are seconds since the gate started.

The rules:

- A check is *green* while its last ``success_threshold`` observations all passed.
- From its own deadline on, a check that is not green has failed for good. So has one with
  ``failure_threshold`` observations in a row that did not pass.
- The requirement is met while ``required`` checks are green at the same time.
- The gate passes when the requirement has been met without a gap for ``hold`` seconds, and as many
  checks have been seen passing once more after that. One gap starts the hold anew.
- Only evidence passes: time alone, silence, and an inconclusive observation never do.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import collections
import math
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

PASSED = "passed"
FAILED = "failed"
INCONCLUSIVE = "inconclusive"

_SAMPLES_KEPT = 20
_LATENCIES_KEPT = 500


class GateRefusedError(RollbackError):
    """The gate makes no sense as it was asked for. Nothing has been probed."""


@dataclass(frozen=True)
class CheckRules:
    """When one check is green and when it is given up. Times in seconds.

    ``failure_threshold`` 0 never gives up before the deadline.
    """

    name: str
    kind: str
    success_threshold: int
    failure_threshold: int
    period: float
    timeout: float
    deadline: float

    @property
    def earliest_green(self) -> float:
        """The first moment at which it can be green, if every probe answers at once."""
        return (self.success_threshold - 1) * self.period


@dataclass(frozen=True)
class GateRules:
    """What the whole gate demands. ``required`` checks must be green for ``hold`` seconds."""

    checks: tuple[CheckRules, ...]
    required: int
    hold: float
    deadline: float
    concurrency: int

    @property
    def best_case(self) -> float:
        """Seconds until it can pass at the earliest."""
        return sorted(c.earliest_green for c in self.checks)[self.required - 1] + self.hold

    @property
    def worst_case(self) -> float:
        """Seconds after which it has certainly been decided.

        After the last check's deadline each check is green or lost, and a lost one does not come
        back; so what remains is the hold and the one probe that confirms it.
        """
        last = max(check.deadline for check in self.checks)
        if self.hold:
            last += self.hold + self.turns * max(check.timeout for check in self.checks)
        return min(self.deadline, last)

    @property
    def turns(self) -> int:
        """How many times all places must be taken for each check to be probed once."""
        return math.ceil(len(self.checks) / self.concurrency)

    @property
    def gives_up_within(self) -> float:
        """Seconds until a check that never passes is given up, at the latest."""
        return min(self.worst_case, max(_given_up_by(c, self.turns) for c in self.checks))


def _given_up_by(check: CheckRules, turns: int) -> float:
    if not check.failure_threshold:
        return check.deadline
    slowest = check.timeout * turns
    streak = slowest + (check.failure_threshold - 1) * max(check.period, slowest)
    return min(check.deadline, streak)


def refuse_unreachable(rules: GateRules) -> None:
    """Raise GateRefusedError for a gate that could never pass, however healthy the system is."""
    for check in rules.checks:
        if check.deadline > rules.deadline:
            raise GateRefusedError(
                f"check {check.name!r}: its deadline of {check.deadline:g} s is later than the "
                f"gate's own of {rules.deadline:g} s. Raise the gate's deadline, or leave it out."
            )
        if check.earliest_green >= check.deadline:
            raise GateRefusedError(
                f"check {check.name!r}: {check.success_threshold} successes in a row, one every "
                f"{check.period:g} s, cannot be reached before its deadline of "
                f"{check.deadline:g} s. Raise deadline, or lower success_threshold or period."
            )
    if rules.best_case >= rules.deadline:
        raise GateRefusedError(
            f"the gate needs {rules.best_case:g} s at best (hold is {rules.hold:g} s), but its "
            f"deadline is {rules.deadline:g} s. Raise deadline, or lower hold."
        )


@dataclass(frozen=True)
class Observation:
    """What one probe said, and when it said so. ``latency`` is None when nothing answered."""

    at: float
    outcome: str
    latency: float | None = None
    reason: str = ""


class CheckState:
    """What is known about one check."""

    def __init__(self, rules: CheckRules) -> None:
        self.rules = rules
        self.attempts = 0
        self.successes = 0
        self.consecutive = 0
        self.misses = 0
        self.since: float | None = None
        self.last_at: float | None = None
        self.last_bad: Observation | None = None
        self.lost = False
        self.slowest: float | None = None
        self.latencies: collections.deque[float] = collections.deque(maxlen=_LATENCIES_KEPT)
        self.samples: collections.deque[Observation] = collections.deque(maxlen=_SAMPLES_KEPT)

    @property
    def green(self) -> bool:
        """Whether the last ``success_threshold`` observations all passed, and it is not lost."""
        return not self.lost and self.consecutive >= self.rules.success_threshold

    @property
    def state(self) -> str:
        """``passed`` when green. Otherwise the word of the last observation that did not pass."""
        if self.green:
            return PASSED
        return self.last_bad.outcome if self.last_bad else INCONCLUSIVE

    def observe(self, seen: Observation) -> None:
        """Take in one observation. A lost check stays lost."""
        self.attempts += 1
        self.last_at = seen.at
        self.samples.append(seen)
        self._time(seen.latency)
        if seen.outcome == PASSED:
            self._count_success(seen)
        else:
            self._count_miss(seen)

    def _time(self, latency: float | None) -> None:
        if latency is not None:
            self.latencies.append(latency)
            self.slowest = latency if self.slowest is None else max(self.slowest, latency)

    def _count_success(self, seen: Observation) -> None:
        if not self.consecutive:
            self.since = seen.at
        self.successes += 1
        self.consecutive += 1
        self.misses = 0

    def _count_miss(self, seen: Observation) -> None:
        if not self.misses:
            self.since = seen.at
        self.consecutive = 0
        self.misses += 1
        self.last_bad = seen
        limit = self.rules.failure_threshold
        if limit and self.misses >= limit:
            self.lost = True

    def expire(self, now: float) -> None:
        """Give the check up when its deadline has come and it is not green."""
        if now >= self.rules.deadline and not self.green:
            self.lost = True


class Gate:
    """All checks together. ``outcome`` is None until the gate has been decided."""

    def __init__(self, rules: GateRules) -> None:
        self.rules = rules
        self.checks = tuple(CheckState(check) for check in rules.checks)
        self.outcome: str | None = None
        self.decided_at: float | None = None
        self.green_since: float | None = None
        self.holds_broken = 0
        self._ends_at = rules.worst_case
        self._green = 0
        self._lost = 0
        self._next_deadline = min(check.deadline for check in rules.checks)

    @property
    def hold_ends_at(self) -> float:
        """When the running hold is over; infinite while none is running."""
        return math.inf if self.green_since is None else self.green_since + self.rules.hold

    @property
    def wake_at(self) -> float:
        """The next moment at which :meth:`tick` may decide something."""
        return min(self._next_deadline, self._ends_at)

    def observe(self, index: int, seen: Observation) -> None:
        """Take in an observation of check ``index``; decide when it is the last one needed.

        What is observed at or after the gate's end is too late to count.
        """
        if self.outcome is not None:
            return
        if seen.at >= self._ends_at:
            self.tick(seen.at)
            return
        check = self.checks[index]
        green, lost = check.green, check.lost
        check.observe(seen)
        check.expire(seen.at)
        self._green += check.green - green
        self._lost += check.lost - lost
        self._follow(seen.at)

    def tick(self, now: float) -> None:
        """Let time pass: give up checks and, in the end, the gate. It never passes by this."""
        if self.outcome is not None:
            return
        if now >= self._next_deadline:
            self._expire_checks(now)
            self._follow(now)
        if self.outcome is None and now >= self._ends_at:
            self._decide(self._verdict_without_pass(), now)

    def _expire_checks(self, now: float) -> None:
        for check in self.checks:
            check.expire(now)
        self._lost = sum(check.lost for check in self.checks)
        self._green = sum(check.green for check in self.checks)
        coming = (c.rules.deadline for c in self.checks if c.rules.deadline > now)
        self._next_deadline = min(coming, default=math.inf)

    def _follow(self, now: float) -> None:
        if len(self.checks) - self._lost < self.rules.required:
            self._decide(self._verdict_without_pass(), now)
        elif self._green < self.rules.required:
            self.holds_broken += self.green_since is not None
            self.green_since = None
        else:
            self.green_since = now if self.green_since is None else self.green_since
            if self._held(now):
                self._decide(PASSED, now)

    def _held(self, now: float) -> bool:
        if not self.rules.hold:
            return True
        if now < self.hold_ends_at:
            return False
        confirmed = (
            c.green and c.last_at is not None and c.last_at >= self.hold_ends_at
            for c in self.checks
        )
        return sum(confirmed) >= self.rules.required

    def _verdict_without_pass(self) -> str:
        if self._green >= self.rules.required:
            # Green, but not for long enough.
            return FAILED if self.holds_broken else INCONCLUSIVE
        possible = sum(check.state != FAILED for check in self.checks)
        return FAILED if possible < self.rules.required else INCONCLUSIVE

    def _decide(self, outcome: str, now: float) -> None:
        self.outcome = outcome
        self.decided_at = now
