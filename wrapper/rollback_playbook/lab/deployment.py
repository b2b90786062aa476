"""Deploy a release to the lab, as a deployment without any care would."""

from __future__ import annotations

from rollback_playbook.lab import processes, releases
from rollback_playbook.lab.asking import ask
from rollback_playbook.lab.places import Lab

#: A shop whose cache is gone tries again and again before it says so.
_ANSWER_SECONDS = 15.0


def deploy(lab: Lab, version: str, *, migrate: bool = False) -> None:
    """Migration, link, restart; returns when the release answers."""
    releases.write_release(lab, version)
    if migrate:
        releases.migrate(lab, lab.state(), version)
    releases.link(lab, version)
    restart_shop(lab)


def restart_shop(lab: Lab) -> None:
    """Returns when the release that is linked answers, healthy or not."""
    processes.control(lab, "restart", "shop")
    version, port = releases.linked_release(lab), lab.state().ports["shop"]
    processes.wait_until(
        f"release {version} does not answer (see {lab.logs / 'shop.log'})",
        lambda: ask(port, "/health", timeout=_ANSWER_SECONDS).get("release") == version,
    )
