"""Nothing runs: what a host is like after a power cut, before anybody has started anything."""

from __future__ import annotations

from rollback_playbook.lab import supervision
from rollback_playbook.lab.asking import ask
from rollback_playbook.lab.faults.fault import Fault
from rollback_playbook.lab.places import Lab

#: The payment provider is another company.
_OURS = ("nginx", "live", "shop", "valkey", "postgres")


def _kill(lab: Lab) -> None:
    for program in _OURS:
        supervision.kill(lab.state(), program)


def _silent(lab: Lab) -> list[str]:
    found = ask(lab.state().ports["nginx"], "/health")
    return [] if found.get("status") == "ok" else ["users get no healthy answer"]


FAULT = Fault(
    name="everything-down",
    title="database, cache, application and proxy were killed",
    scenarios=("complete-failure",),
    cause=_kill,
    symptoms=_silent,
)
