"""What the hosts of an environment answer to a playbook that only asks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollback_playbook.errors import RollbackError
from rollback_playbook.execution.runner import Interrupt, JobEvent, PlaybookRun, run

_ENDED = frozenset({"runner_on_ok", "runner_on_failed", "runner_on_unreachable"})


def ask_hosts(
    playbook: Path, inventory: str, *, wanted: str, environment: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """The result of the playbook's last task by host, which has the key ``wanted``.

    Raises RollbackError when a host does not answer.
    """
    results: dict[str, dict[str, Any]] = {}

    def on_event(event: JobEvent) -> None:
        if event.get("event") in _ENDED:
            data = event["event_data"]
            results[data["host"]] = data.get("res") or {}

    outcome = run(PlaybookRun(playbook, inventory, environment), on_event, Interrupt())
    silent = {host: result for host, result in results.items() if wanted not in result}
    if silent or not results:
        reasons = [f"{host}: {result.get('msg', 'no answer')}" for host, result in silent.items()]
        words = "; ".join(reasons) or " ".join(outcome.output_tail) or "no host was asked"
        raise RollbackError(f"the {wanted} cannot be listed: {words}")
    return results
