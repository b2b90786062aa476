"""How a run ended for each host, from Ansible's statistics and the failures seen before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from rollback_playbook.events.pruning import bounded

_NAMES = {
    "ok": "ok",
    "changed": "changed",
    "failures": "failed",
    "dark": "unreachable",
    "skipped": "skipped",
    "rescued": "rescued",
    "ignored": "ignored",
}


class RunOutcome:
    """Remembers the failed tasks of each host until the statistics tell which were rescued."""

    def __init__(self) -> None:
        self._failed: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)

    def task_finished(self, host: str, body: Mapping[str, Any], counter: int | None) -> None:
        if body["status"] == "failed" and not body.get("ignored"):
            self._failed[host].append(
                {"host": host, "task": body["task"], "phase": body["phase"], "counter": counter}
            )

    def stats(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The body of ``stats.recorded``.

        A host goes no further after a failure that nothing rescued, so its last failures are
        the real ones and those before were rescued.
        """
        hosts = _by_host(data)
        rescued = [
            task
            for host, tasks in sorted(self._failed.items())
            for task in tasks[: max(0, len(tasks) - hosts.get(host, {}).get("failed", 0))]
        ]
        failed = sorted(host for host, of in hosts.items() if of["failed"] or of["unreachable"])
        artifacts = data.get("artifact_data")
        return {
            "hosts": hosts,
            "failed_hosts": failed,
            "rescued_tasks": rescued,
            "artifacts": bounded(dict(artifacts)) if isinstance(artifacts, Mapping) else {},
        }


def _by_host(data: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Ansible counts by outcome and leaves zeros out; the record has every host in full."""
    hosts: dict[str, dict[str, int]] = {}
    tables = {ours: data.get(theirs) for theirs, ours in _NAMES.items()}
    names = set(data.get("processed") or {})
    for table in tables.values():
        names.update(table if isinstance(table, Mapping) else ())
    for host in sorted(names):
        hosts[host] = {
            ours: int(table.get(host, 0)) if isinstance(table, Mapping) else 0
            for ours, table in tables.items()
        }
    return hosts
