# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a gate's probes in a bounded number of threads until the gate has been decided.

No probe can hold it up: each has a leash, and one that does not end by itself is recorded as a
failure when its time is over, whatever its thread is still waiting for.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import queue
import signal
import threading
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._gate import (
    FAILED,
    INCONCLUSIVE,
    PASSED,
    Gate,
    Observation,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Leash,
    LeashExpiredError,
    Probe,
    ProbeFailedError,
    ProbeInconclusiveError,
)

_LONGEST_SLEEP = 3600.0


class GateEndedError(RollbackError):
    """Somebody ended the gate before it was decided."""


@dataclass(frozen=True)
class ArmedProbe:
    """A probe and what its silence means: ``failed``, or ``inconclusive`` for an instrument."""

    ask: Probe
    silence: str = FAILED


@dataclass(frozen=True)
class Ticket:
    """One probe under way."""

    index: int
    started: float
    ends_by: float
    leash: Leash


@dataclass(frozen=True)
class Ended:
    """How a probe ended, said by its thread."""

    ticket: Ticket
    outcome: str
    reason: str
    at: float


class Crew:
    """Daemon threads that run probes, started when they are needed, at most ``size``."""

    def __init__(self, size: int, clock: t.Callable[[], float]) -> None:
        self.ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._tasks: queue.SimpleQueue[tuple[Ticket, ArmedProbe] | None] = queue.SimpleQueue()
        self._size = size
        self._threads = 0
        self._under_way = 0
        self._clock = clock

    @property
    def free(self) -> bool:
        """Whether one more probe can start at once."""
        return self._under_way < self._size

    def start(self, ticket: Ticket, probe: ArmedProbe) -> None:
        """Hand a probe to a thread that has nothing to do."""
        if self._threads == self._under_way:
            threading.Thread(target=self._work, daemon=True, name="probe").start()
            self._threads += 1
        self._under_way += 1
        self._tasks.put((ticket, probe))

    def collect(self, patience: float) -> Ended | None:
        """The next probe that has ended, or None after ``patience`` seconds."""
        try:
            done = self.ended.get(timeout=min(max(patience, 0.0), _LONGEST_SLEEP))
        except queue.Empty:
            return None
        self._under_way -= 1
        return done

    def dismiss(self) -> None:
        """Let idle threads end. Those that still wait for something end with the process."""
        for _thread in range(self._threads):
            self._tasks.put(None)

    def _work(self) -> None:
        while True:
            task = self._tasks.get()
            if task is None:
                return
            ticket, probe = task
            outcome, reason = ask(probe, ticket.leash)
            self.ended.put(Ended(ticket, outcome, reason, self._clock()))


def ask(probe: ArmedProbe, leash: Leash) -> tuple[str, str]:
    """Run the probe once: its outcome, and the reason in words when it did not pass."""
    try:
        probe.ask(leash)
    except LeashExpiredError:
        return probe.silence, leash.verdict
    except ProbeFailedError as exc:
        return FAILED, str(exc)
    except ProbeInconclusiveError as exc:
        return INCONCLUSIVE, str(exc)
    except Exception as exc:  # noqa: BLE001 - the one boundary: a broken probe must not look green
        return INCONCLUSIVE, f"the probe broke: {type(exc).__name__}: {exc}"
    return PASSED, ""


@contextlib.contextmanager
def _ending_on_signals() -> t.Iterator[None]:
    """Turn SIGTERM and SIGHUP into GateEndedError, so that no command of a probe outlives it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: t.Any) -> t.NoReturn:
    raise GateEndedError(
        f"The gate was ended from outside by {signal.Signals(number).name} before it was decided. "
        "Its probes were ended, too. Whether the system is healthy is not known: run it again.",
        outcome=INCONCLUSIVE,
    )


class GateRunner:
    """Schedules the probes of one gate. Times are seconds since the runner was made."""

    def __init__(
        self,
        gate: Gate,
        probes: t.Sequence[ArmedProbe],
        clock: t.Callable[[], float] = time.monotonic,
        look: t.Callable[[Gate, float], None] = lambda _gate, _now: None,
    ) -> None:
        """``look`` is called each time a probe may have changed something."""
        began = clock()
        self._look = look
        self._gate = gate
        self._probes = probes
        self._clock = lambda: clock() - began
        # As many again as may run at once, so that probes that hang for good leave room.
        self._crew = Crew(2 * gate.rules.concurrency, self._clock)
        self._due = [(0.0, index) for index in range(len(probes))]
        self._under_way: dict[int, Ticket] = {}
        self._limits: list[tuple[float, int]] = []
        # Probes whose time is over but whose threads still wait, and when to count that again.
        self._stuck: dict[int, float] = {}
        self._witnessed_hold: float | None = None

    def run(self) -> None:
        """Return when the gate has been decided, at its ``worst_case`` at the latest."""
        with _ending_on_signals():
            try:
                while self._gate.outcome is None:
                    self._start_due(self._clock())
                    self._take_in(self._wake_at() - self._clock())
                    now = self._clock()
                    self._end_overdue(now)
                    self._note_stuck(now)
                    self._gate.tick(now)
                    self._look(self._gate, now)
            finally:
                for ticket in self._under_way.values():
                    ticket.leash.expire()
                self._crew.dismiss()

    def _wake_at(self) -> float:
        moments = [self._gate.wake_at]
        moments += self._stuck.values()
        if self._limits:
            moments.append(self._limits[0][0])
        if self._due and self._may_start:
            moments.append(self._due[0][0])
        return min(moments)

    @property
    def _may_start(self) -> bool:
        running = len(self._under_way) - len(self._stuck)
        return self._crew.free and running < self._gate.rules.concurrency

    def _start_due(self, now: float) -> None:
        self._call_witnesses()
        while self._due and self._due[0][0] <= now and self._may_start:
            _due, index = heapq.heappop(self._due)
            if not self._gate.checks[index].lost:
                self._start(index)

    def _start(self, index: int) -> None:
        timeout = self._gate.checks[index].rules.timeout
        now = self._clock()
        ticket = Ticket(index, now, now + timeout, Leash(timeout))
        self._under_way[index] = ticket
        heapq.heappush(self._limits, (ticket.ends_by, index))
        self._crew.start(ticket, self._probes[index])

    def _call_witnesses(self) -> None:
        """Probe every check once more when the hold ends, however long its period is."""
        if self._gate.green_since == self._witnessed_hold:
            return
        self._witnessed_hold = self._gate.green_since
        ends = self._gate.hold_ends_at
        self._due = [(min(due, ends), index) for due, index in self._due]
        heapq.heapify(self._due)

    def _note_stuck(self, now: float) -> None:
        # One thread for one check: a second one would only hang beside the first.
        for index in [index for index, due in self._stuck.items() if due <= now]:
            reason = "the probe before this one still hangs"
            self._gate.observe(index, Observation(now, self._probes[index].silence, None, reason))
            self._count_stuck(index, now)

    def _count_stuck(self, index: int, now: float) -> None:
        """Count it once more when a further probe would have been silent for too long, too."""
        rules = self._gate.checks[index].rules
        again = math.inf if self._gate.checks[index].lost else now
        self._stuck[index] = again + max(rules.period, rules.timeout)

    def _end_overdue(self, now: float) -> None:
        while self._limits and self._limits[0][0] <= now:
            ends_by, index = heapq.heappop(self._limits)
            ticket = self._under_way.get(index)
            if ticket is None or ticket.ends_by != ends_by:
                continue
            ticket.leash.expire()
            self._gate.observe(index, self._silence(ticket, now))
            self._count_stuck(index, now)

    def _take_in(self, patience: float) -> None:
        """Everything that has ended, after waiting for the first for ``patience`` seconds."""
        ended = self._crew.collect(patience)
        while ended is not None:
            self._record(ended)
            ended = self._crew.collect(0)

    def _record(self, ended: Ended) -> None:
        ticket = ended.ticket
        del self._under_way[ticket.index]
        if ticket.index in self._stuck:
            # It has been recorded as silent already; now its check can be probed again.
            del self._stuck[ticket.index]
            self._schedule(ticket, ended.at)
            return
        seen = Observation(ended.at, ended.outcome, ended.at - ticket.started, ended.reason)
        if ended.at > ticket.ends_by:
            seen = self._silence(ticket, ended.at)
        self._gate.observe(ticket.index, seen)
        self._schedule(ticket, ended.at)

    def _silence(self, ticket: Ticket, at: float) -> Observation:
        return Observation(at, self._probes[ticket.index].silence, None, ticket.leash.verdict)

    def _schedule(self, ticket: Ticket, now: float) -> None:
        due = max(ticket.started + self._gate.checks[ticket.index].rules.period, now)
        if now < self._gate.hold_ends_at:
            due = min(due, self._gate.hold_ends_at)
        heapq.heappush(self._due, (due, ticket.index))
