"""Release 1.2.0: requests at the same time share one variable for their customer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

from rollback_playbook.lab.asking import answer, log_in
from rollback_playbook.lab.deployment import deploy
from rollback_playbook.lab.faults.fault import Fault
from rollback_playbook.lab.places import Lab

_CUSTOMERS = (1, 2)
_ASKED = 200


def _deploy(lab: Lab) -> None:
    deploy(lab, "1.2.0")


def _mixed(lab: Lab) -> list[str]:
    """Two customers ask for their own page at the same time, again and again."""
    port = lab.state().ports["nginx"]
    tokens = {customer: log_in(port, customer) for customer in _CUSTOMERS}

    def ask_as(customer: int) -> bool:
        status, page = answer(port, "/account", token=tokens[customer])
        return status == HTTPStatus.OK and page.get("id") != customer

    with ThreadPoolExecutor(len(_CUSTOMERS) * 2) as pool:
        wrong = sum(pool.map(ask_as, _CUSTOMERS * (_ASKED // len(_CUSTOMERS))))
    return [f"{wrong} of {_ASKED} account pages were somebody else's"] if wrong else []


FAULT = Fault(
    name="mixed-sessions",
    title="release 1.2.0 shows customers the account of somebody else",
    scenarios=("request-isolation",),
    cause=_deploy,
    symptoms=_mixed,
)
