"""Play a playbook of an environment's drills: the one that breaks it, or the one that mends it."""

from __future__ import annotations

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

    def take(self, event: JobEvent) -> None:
        kind, data = event.get("event"), event.get("event_data") or {}
        if kind == "playbook_on_no_hosts_matched":
            self.empty = True
        elif kind == "playbook_on_stats":
            self.reached.update(data.get("ok") or {})
        elif kind in _FAILURES and not data.get("ignore_errors"):
            self.problems.append(f"{data.get('task')} on {data.get('host')}: {_why(data)}")


def play(
    playbook: Path, inventory: str, environment: Mapping[str, str], interrupt: Interrupt
) -> None:
    """To its end.

    Raises RefusedError where it reached no host, RollbackError where it did not do all that it
    should, or was interrupted: then nobody knows how much of it was done.
    """
    seen = _Seen()
    request = PlaybookRun(playbook=playbook, inventory=inventory, environment=environment)
    result = run(request, seen.take, interrupt)
    if result.interrupted:
        raise RollbackError(f"{playbook.name} was interrupted")
    if result.rc != 0:
        said = seen.problems[:_LINES] or list(result.output_tail[-_LINES:])
        raise RollbackError(f"{playbook.name} failed: {'; '.join(said) or result.status}")
    if not seen.reached:
        raise RefusedError(f"{playbook.name} reached no host")
    if seen.empty:
        raise RollbackError(f"a play of {playbook.name} has hosts that match nothing")


def _why(data: Mapping[str, Any]) -> str:
    result = data.get("res") or {}
    said = [str(result.get(key) or "").strip() for key in ("msg", "stderr")]
    return ": ".join(filter(None, said)) or "it failed"
