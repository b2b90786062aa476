"""A host that cannot be reached: nothing after its phase is done, and the run can be continued."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rollback_playbook.lab.places import Lab
from tests.e2e.conftest import Operator
from tests.real_servers import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@contextmanager
def _lost(lab: Lab, host: str) -> Iterator[None]:
    """Nobody listens where this host's SSH server should be."""
    path = lab.inventory / "host_vars" / f"{host}.yml"
    path.parent.mkdir(exist_ok=True)
    lines = ("ansible_connection: ssh", "ansible_host: 127.0.0.1", f"ansible_port: {free_port()}")
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    try:
        yield
    finally:
        path.unlink()


@pytest.mark.drill
def test_host_that_is_lost_in_prepare_keeps_every_other_host_from_being_switched(
    broken: Operator,
) -> None:
    before = broken.health()

    with _lost(broken.lab, "shop-cache"):
        done = broken.types("full", "-i", "lab")

    assert done.returncode == 4, done.stderr
    assert "shop-cache" in done.stderr
    assert [phase["name"] for phase in broken.last()["phases"]][-1] == "Prepare"
    assert broken.health() == before
    continued = broken.types("continue", "last")
    assert continued.returncode == 0, continued.stderr
    assert broken.health() == {"status": "ok", "release": "1.0.0", "schema": 1}
    assert broken.users_get() == "ok"
