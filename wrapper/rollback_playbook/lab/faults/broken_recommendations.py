"""Release 1.4.0: one page asks for a column that no migration has made."""

from __future__ import annotations

from http import HTTPStatus

from rollback_playbook.lab.asking import answer
from rollback_playbook.lab.deployment import deploy
from rollback_playbook.lab.faults.fault import Fault
from rollback_playbook.lab.places import Lab

_PRODUCTS = range(1, 11)


def _deploy(lab: Lab) -> None:
    deploy(lab, "1.4.0")


def _failing(lab: Lab) -> list[str]:
    port = lab.state().ports["nginx"]
    statuses = [answer(port, f"/products/{n}/recommendations")[0] for n in _PRODUCTS]
    failed = sum(status != HTTPStatus.OK for status in statuses)
    return [f"{failed} of {len(statuses)} recommendations fail"] if failed else []


FAULT = Fault(
    name="broken-recommendations",
    title="release 1.4.0 cannot show recommendations",
    scenarios=("feature-flags",),
    cause=_deploy,
    symptoms=_failing,
)
