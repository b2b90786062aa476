"""Play a playbook of an environment's drills: the one that breaks it, or the one that mends it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollback_playbook.errors import RefusedError, RollbackError
from rollback_playbook.execution.runner import Interrupt, JobEvent, PlaybookRun, run

_LINES = 3
_FAILURES = ("runner_on_failed", "runner_on_unreachable")


@dataclass
class _Seen:
    """What the events of a run tell."""

    reached: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    #: Whether a play had no hosts, which is no error to Ansible.
    empty: bool = False
    #: Whether a task was begun: before that, nothing was done.
    begun: bool = False

    def take(self, event: JobEvent) -> None:
        kind, data = event.get("event"), event.get("event_data") or {}
        if kind == "playbook_on_no_hosts_matched":
            self.empty = True
        elif kind == "playbook_on_task_start":
            self.begun = True
        elif kind == "playbook_on_stats":
            self.reached.update(data.get("ok") or {})
        elif kind in _FAILURES and not data.get("ignore_errors"):
            self.problems.append(f"{data.get('task')} on {data.get('host')}: {_why(data)}")


def play(
    playbook: Path,
    inventory: str,
    environment: Mapping[str, str],
    interrupt: Interrupt,
    *,
    seconds: float,
) -> None:
    """To its end, which has to come within ``seconds``.

    Raises RefusedError where it reached no host or never began, KeyboardInterrupt where it was
    interrupted, and RollbackError where it did not do all that it should: then nobody knows how
    much of it was done.
    """
    seen, limit = _Seen(), _Limit(interrupt, seconds)
    request = PlaybookRun(playbook=playbook, inventory=inventory, environment=environment)
    with limit:
        result = run(request, seen.take, interrupt)
    if limit.passed:
        raise RollbackError(f"{playbook.name} had not ended after {seconds:g} s and was stopped")
    if interrupt.asked:
        raise KeyboardInterrupt
    said = "; ".join(seen.problems[:_LINES] or result.output_tail[-_LINES:]) or result.status
    if result.rc != 0 and not seen.begun:
        raise RefusedError(f"{playbook.name} could not be played: {said}")
    if result.rc != 0:
        raise RollbackError(f"{playbook.name} failed: {said}")
    if not seen.reached:
        raise RefusedError(f"{playbook.name} reached no host")
    if seen.empty:
        raise RollbackError(f"a play of {playbook.name} has hosts that match nothing")


class _Limit:
    """Stops a run at once when its time is over."""

    def __init__(self, interrupt: Interrupt, seconds: float) -> None:
        self._interrupt = interrupt
        self._timer = threading.Timer(seconds, self._stop)
        self._timer.daemon = True
        self.passed = False

    def _stop(self) -> None:
        self.passed = True
        self._interrupt.ask()
        self._interrupt.ask()

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()
        self._timer.join()


def _why(data: Mapping[str, Any]) -> str:
    result = data.get("res") or {}
    said = [str(result.get(key) or "").strip() for key in ("msg", "stderr")]
    return ": ".join(filter(None, said)) or "it failed"
