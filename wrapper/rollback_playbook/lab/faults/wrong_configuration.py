"""Configuration that somebody changed: alone, together with a release, and on several servers."""

from __future__ import annotations

from rollback_playbook.lab.access_rules import shut_shop_out
from rollback_playbook.lab.asking import ask
from rollback_playbook.lab.deployment import deploy
from rollback_playbook.lab.faults.fault import Fault
from rollback_playbook.lab.places import Lab
from rollback_playbook.lab.releases import BAD
from rollback_playbook.lab.reloading import reload_proxy

_NOBODY_LISTENS = 1


def _another_port(lab: Lab) -> None:
    """nginx sends everybody to a port where nobody listens."""
    upstream = lab.nginx / "upstream.conf"
    shop = f"127.0.0.1:{lab.state().ports['shop']}"
    text = upstream.read_text(encoding="utf-8")
    upstream.write_text(text.replace(shop, f"127.0.0.1:{_NOBODY_LISTENS}"), encoding="utf-8")
    reload_proxy(lab)


def _with_release(lab: Lab) -> None:
    """Release 1.1.0 came with a cache of its own, which is not there."""
    with lab.environment_file.open("a", encoding="utf-8") as file:
        file.write(f"SHOP_CACHE_PORT={_NOBODY_LISTENS}\n")
    deploy(lab, BAD)


def _on_every_server(lab: Lab) -> None:
    """One change went to the database and to the proxy."""
    shut_shop_out(lab)
    _another_port(lab)


def _unhealthy(lab: Lab) -> list[str]:
    found = ask(lab.state().ports["nginx"], "/health")
    if found.get("status") == "ok":
        return []
    problems = "; ".join(found.get("problems", ["no answer"]))
    return [f"users get no healthy answer: {problems}"]


FAULT = Fault(
    name="wrong-configuration",
    title="nginx sends everybody to a port where nobody listens",
    scenarios=("configuration",),
    cause=_another_port,
    symptoms=_unhealthy,
)
WITH_RELEASE = Fault(
    name="bad-release-and-configuration",
    title="release 1.1.0 came with the address of a cache that is not there",
    scenarios=("application-config",),
    cause=_with_release,
    symptoms=_unhealthy,
)
OF_SERVERS = Fault(
    name="wrong-infrastructure",
    title="PostgreSQL lets the shop in no more, and nginx sends everybody to where nobody listens",
    scenarios=("infrastructure",),
    cause=_on_every_server,
    symptoms=_unhealthy,
)
