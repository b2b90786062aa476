# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a gate says about itself: its result, and one paragraph for whoever has to act on it.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import math
import time
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._gate import (
    FAILED,
    INCONCLUSIVE,
    CheckState,
    Gate,
    Observation,
)

_EXPLAINED = 5
_NAMED = 10
_NEVER_PROBED = "it was never probed, because no thread became free in time"


def gate_result(gate: Gate, *, started_epoch: float, elapsed: float) -> dict[str, t.Any]:
    """The module's result, in native types."""
    rules = gate.rules
    return {
        "outcome": gate.outcome or INCONCLUSIVE,
        "elapsed": round(elapsed, 3),
        "best_case": round(rules.best_case, 3),
        "worst_case": round(rules.worst_case, 3),
        "gives_up_within": round(rules.gives_up_within, 3),
        "required": rules.required,
        "green_since": _moment(gate.green_since, started_epoch),
        "holds_broken": gate.holds_broken,
        "checks": [_check_result(check, started_epoch) for check in gate.checks],
    }


def _check_result(check: CheckState, started_epoch: float) -> dict[str, t.Any]:
    return {
        "name": check.rules.name,
        "kind": check.rules.kind,
        "state": check.state,
        "attempts": check.attempts,
        "consecutive": check.consecutive,
        "since": _moment(check.since, started_epoch),
        "last_error": check.last_bad.reason if check.last_bad else None,
        "last_error_at": _moment(check.last_bad and check.last_bad.at, started_epoch),
        "deadline": round(check.rules.deadline, 3),
        "latency": latency_figures(check),
        "samples": [_sample(seen) for seen in check.samples],
    }


def _sample(seen: Observation) -> dict[str, t.Any]:
    latency = None if seen.latency is None else round(seen.latency, 4)
    return {"at": round(seen.at, 3), "outcome": seen.outcome, "latency": latency}


def latency_figures(check: CheckState) -> dict[str, float | None]:
    """p50 and p95 by the nearest-rank method, and the slowest of all, in seconds."""
    ranked = sorted(check.latencies)
    return {
        "p50": _percentile(ranked, 0.5),
        "p95": _percentile(ranked, 0.95),
        "max": None if check.slowest is None else round(check.slowest, 4),
    }


def _percentile(ranked: t.Sequence[float], share: float) -> float | None:
    return round(ranked[math.ceil(share * len(ranked)) - 1], 4) if ranked else None


def _moment(at: float | None, started_epoch: float) -> str | None:
    if at is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_epoch + at))


def passed_message(gate: Gate) -> str:
    """One sentence about a gate that passed."""
    green = sum(check.green for check in gate.checks)
    held = f", and held for {duration(gate.rules.hold)}" if gate.rules.hold else ""
    return f"The gate passed: {green} of {len(gate.checks)} checks are healthy{held}."


def failure_message(gate: Gate, *, started_epoch: float) -> str:
    """One paragraph: what is not healthy, since when, why, and what to do next."""
    bad = sorted((c for c in gate.checks if not c.green), key=lambda check: check.state != FAILED)
    sentences = [_headline(gate, len(bad))]
    sentences += [_explained(check, started_epoch) for check in bad[:_EXPLAINED]]
    if len(bad) > _EXPLAINED:
        sentences.append(_and_more(bad[_EXPLAINED:]))
    if gate.green_since is not None:
        sentences.append(_not_held(gate))
    sentences.append(_next_step(gate))
    return " ".join(sentences)


def _headline(gate: Gate, bad: int) -> str:
    after = duration(gate.decided_at or 0.0)
    total = len(gate.checks)
    need = "all" if gate.rules.required == total else f"{gate.rules.required}"
    word = "FAILED" if gate.outcome == FAILED else "is INCONCLUSIVE, which is not a pass,"
    return (
        f"The health gate {word} after {after}: {bad} of {total} checks "
        f"{'is' if bad == 1 else 'are'} not proved healthy, {need} of them must be."
    )


def _explained(check: CheckState, started_epoch: float) -> str:
    rules = check.rules
    head = f"{rules.name!r} ({rules.kind})"
    if check.last_bad is None:
        if not check.attempts:
            return f"{head}: {_NEVER_PROBED}."
        return (
            f"{head} answered well {_times(check.consecutive)} in a row, "
            f"{rules.success_threshold} are needed."
        )
    word = "is failing" if check.state == FAILED else "is unknown"
    why = _sentence(check.last_bad.reason)
    if not check.consecutive:
        since = (_moment(check.since, started_epoch) or "")[11:]
        return f"{head} {word} since {since} ({_history(check)}): {why}"
    last = (_moment(check.last_bad.at, started_epoch) or "")[11:]
    return (
        f"{head} is unsteady: well {_times(check.consecutive)} in a row, "
        f"{rules.success_threshold} are needed; last error at {last}: {why}"
    )


def _history(check: CheckState) -> str:
    if not check.successes:
        return f"asked {_times(check.attempts)}, never well"
    return f"not well {_times(check.misses)} in a row after {check.successes} good answers"


def _and_more(rest: t.Sequence[CheckState]) -> str:
    names = ", ".join(repr(check.rules.name) for check in rest[:_NAMED])
    dots = ", …" if len(rest) > _NAMED else ""
    return f"And {len(rest)} more: {names}{dots}."


def _not_held(gate: Gate) -> str:
    held = (gate.decided_at or 0.0) - (gate.green_since or 0.0)
    broken = f", after {_times(gate.holds_broken)} interrupted" if gate.holds_broken else ""
    return (
        f"Enough checks are healthy, but have been so for {duration(held)} only{broken}; "
        f"{duration(gate.rules.hold)} are demanded."
    )


def _next_step(gate: Gate) -> str:
    if gate.outcome == FAILED:
        return "The gate changed nothing. Repair what is failing before traffic is resumed."
    return "The gate changed nothing. Treat the system as not healthy until this is known."


def _sentence(reason: str) -> str:
    return reason.rstrip(". ") + "."


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def duration(seconds: float) -> str:
    """A length of time for people: ``0.4 s``, ``12 s``, ``5 min 3 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"
