"""``application`` while the host of the database cannot be reached over SSH."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from rollback_playbook.lab import lifecycle
from tests.e2e.conftest import Operator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), pytest.mark.drill]


@pytest.fixture
def cut_off(working: Operator) -> Iterator[Operator]:
    """The database itself answers: it is the way of the operator to its host that is down."""
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    variables = working.lab.inventory / "host_vars" / "shop-db.yml"
    variables.parent.mkdir(exist_ok=True)
    variables.write_text(json.dumps(gone), encoding="ascii")
    yield working
    variables.unlink()


def test_release_goes_back_and_it_is_said_that_the_migration_is_not_known(
    cut_off: Operator,
) -> None:
    lifecycle.break_release(cut_off.lab.directory, migrate=False)

    done = cut_off.types("application", "-i", "lab")

    assert done.returncode == 0, done.stderr
    assert "rolled back and healthy" in done.stderr
    assert (
        "The newest migration of shop is not known, because shop-db cannot be reached"
        in done.stderr
    )
    assert cut_off.health()["release"] == "1.0.0"
    assert cut_off.users_get() == "ok"
    phases = cut_off.last()["phases"]
    assert {phase["status"] for phase in phases} == {"ok"}
    assert cut_off.types("incidents", "verify", "last").returncode == 0
