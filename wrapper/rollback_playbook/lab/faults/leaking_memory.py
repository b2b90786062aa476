"""Release 1.3.0: a memo that never finds anything again, and never forgets."""

from __future__ import annotations

from rollback_playbook.lab import processes
from rollback_playbook.lab.asking import ask, metrics
from rollback_playbook.lab.deployment import deploy
from rollback_playbook.lab.faults.fault import Fault
from rollback_playbook.lab.places import Lab

_SHARE = 0.8
_LEAK_SECONDS = 120


def _deploy_and_use(lab: Lab) -> None:
    """Customers look at orders until four fifths of the memory are gone."""
    deploy(lab, "1.3.0")
    processes.wait_until("the shop does not leak", lambda: _use(lab), seconds=_LEAK_SECONDS)


def _use(lab: Lab) -> bool:
    for number in range(1, 51):
        ask(lab.state().ports["shop"], f"/orders/{number}")
    return _used(lab) > _SHARE


def _used(lab: Lab) -> float:
    """The share of its memory that the shop holds."""
    found = metrics(lab)
    return found["process_resident_memory_bytes"] / found["shop_memory_limit_bytes"]


def _leaking(lab: Lab) -> list[str]:
    used = _used(lab)
    return [f"the shop holds {used:.0%} of its memory"] if used > _SHARE else []


FAULT = Fault(
    name="leaking-memory",
    title="release 1.3.0 holds more memory with every page",
    scenarios=("memory-leak",),
    cause=_deploy_and_use,
    symptoms=_leaking,
)
