"""Release 1.5.0 asks the database order by order, and a crawler comes by."""

from __future__ import annotations

import statistics
import time

from rollback_playbook.lab.asking import answer
from rollback_playbook.lab.crawler import Crawler
from rollback_playbook.lab.deployment import deploy
from rollback_playbook.lab.faults.fault import Fault
from rollback_playbook.lab.places import Lab

_SLOW_SECONDS = 1.0
_CRAWL_SECONDS = 2.0
_LOOKS = 5


def _deploy_and_crawl(lab: Lab) -> None:
    deploy(lab, "1.5.0")
    Crawler(lab).start()
    time.sleep(_CRAWL_SECONDS)


def _slow(lab: Lab) -> list[str]:
    """How long a customer waits for an order, which is not even what the crawler asks for."""
    port = lab.state().ports["nginx"]
    waited = []
    for number in range(1, _LOOKS + 1):
        began = time.monotonic()
        answer(port, f"/orders/{number}", timeout=10)
        waited.append(time.monotonic() - began)
    seconds = statistics.median(waited)
    return [f"an order is shown after {seconds:.1f} s"] if seconds > _SLOW_SECONDS else []


FAULT = Fault(
    name="costly-recommendations",
    title="recommendations of release 1.5.0 are costly, and a crawler asks for all of them",
    scenarios=("performance-regression",),
    cause=_deploy_and_crawl,
    symptoms=_slow,
)
