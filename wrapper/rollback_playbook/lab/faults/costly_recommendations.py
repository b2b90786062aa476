"""Release 1.5.0 asks the database order by order, and a crawler comes by."""

from __future__ import annotations

import statistics

from rollback_playbook.lab.asking import metrics
from rollback_playbook.lab.crawler import Crawler
from rollback_playbook.lab.deployment import deploy
from rollback_playbook.lab.faults.fault import Fault
from rollback_playbook.lab.inventory_scenarios import BUSY_THREADS
from rollback_playbook.lab.places import Lab

_LOOKS = 5


def _deploy_and_crawl(lab: Lab) -> None:
    deploy(lab, "1.5.0")
    Crawler(lab).start()


def _waiting(lab: Lab) -> list[str]:
    """Whether whoever asks for anything has to wait until a thread is free."""
    busy = statistics.median(metrics(lab)["http_requests_in_progress"] for _look in range(_LOOKS))
    return [f"{busy:.0f} of the shop's 8 threads are busy"] if busy > BUSY_THREADS else []


FAULT = Fault(
    name="costly-recommendations",
    title="recommendations of release 1.5.0 are costly, and a crawler asks for all of them",
    scenarios=("performance-regression",),
    cause=_deploy_and_crawl,
    symptoms=_waiting,
)
