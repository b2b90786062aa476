"""The backups that the hosts of an environment have, asked for with the collection's own module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollback_playbook.errors import RollbackError
from rollback_playbook.execution.runner import Interrupt, JobEvent, PlaybookRun, run

_ENDED = frozenset({"runner_on_ok", "runner_on_failed", "runner_on_unreachable"})


def list_backups(
    playbooks: Path, inventory: str, *, environment: Mapping[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """The backups by host; raises RollbackError when a host does not answer."""
    results: dict[str, dict[str, Any]] = {}

    def on_event(event: JobEvent) -> None:
        if event.get("event") in _ENDED:
            data = event["event_data"]
            results[data["host"]] = data.get("res") or {}

    request = PlaybookRun(playbooks / "queries" / "backups.yml", inventory, environment)
    outcome = run(request, on_event, Interrupt())
    silent = {host: result for host, result in results.items() if "backups" not in result}
    if silent or not results:
        reasons = [f"{host}: {result.get('msg', 'no answer')}" for host, result in silent.items()]
        words = "; ".join(reasons) or " ".join(outcome.output_tail) or "no host was asked"
        raise RollbackError(f"the backups cannot be listed: {words}")
    return {host: result["backups"] for host, result in results.items()}
