"""A payment provider that takes connections and never answers."""

from __future__ import annotations

import os
import signal
from http import HTTPStatus

from rollback_playbook.lab import supervision
from rollback_playbook.lab.asking import answer, log_in
from rollback_playbook.lab.faults.fault import Fault
from rollback_playbook.lab.places import Lab


def _stop_answering(lab: Lab) -> None:
    os.kill(supervision.pid(lab.state(), "payment"), signal.SIGSTOP)


def _hanging(lab: Lab) -> list[str]:
    """A customer who buys waits for the provider; with the breaker open, the shop says at once
    that it takes no payments."""
    port = lab.state().ports["nginx"]
    token = log_in(port, 1)
    body = {"product": 1, "quantity": 1}
    status, found = answer(port, "/checkout", method="POST", body=body, token=token)
    said = str(found.get("error", ""))
    if status == HTTPStatus.CREATED or "not taken" in said:
        return []
    return [f"a customer who buys waits, and then reads: {said or 'no answer'}"]


FAULT = Fault(
    name="hanging-payments",
    title="the payment provider hangs, and customers with it",
    scenarios=("payment-failure",),
    cause=_stop_answering,
    symptoms=_hanging,
)
