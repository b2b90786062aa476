"""Release 1.1.0: its code fails one request in five, its migration damages data."""

from __future__ import annotations

from http import HTTPStatus

from rollback_playbook.lab.asking import answer, ask
from rollback_playbook.lab.deployment import deploy
from rollback_playbook.lab.faults.fault import Fault
from rollback_playbook.lab.places import Lab
from rollback_playbook.lab.releases import BAD

_ORDERS = range(1, 21)


def _with_migration(lab: Lab) -> None:
    deploy(lab, BAD, migrate=True)
    _look_at_products(lab)


def _code_only(lab: Lab) -> None:
    deploy(lab, BAD)
    _look_at_products(lab)


def _look_at_products(lab: Lab) -> None:
    """Pages that customers look at meanwhile are cached at the new, wrong prices."""
    for product in range(1, 51):
        ask(lab.state().ports["shop"], f"/products/{product}")


def failing_orders(lab: Lab) -> list[str]:
    """How many of the first orders cannot be looked at; an order may be missing, not fail."""
    port = lab.state().ports["nginx"]
    statuses = [answer(port, f"/orders/{number}")[0] for number in _ORDERS]
    known = (HTTPStatus.OK, HTTPStatus.NOT_FOUND)
    failed = sum(status not in known for status in statuses)
    return [f"{failed} of {len(statuses)} orders cannot be looked at"] if failed else []


FAULT = Fault(
    name="bad-release",
    title="release 1.1.0 fails one request in five, and its migration damages data",
    scenarios=("full", "emergency"),
    cause=_with_migration,
    symptoms=failing_orders,
    damages_data=True,
)
CODE_ONLY = Fault(
    name="bad-code",
    title="release 1.1.0 without its migration fails one request in five",
    scenarios=("application",),
    cause=_code_only,
    symptoms=failing_orders,
)
