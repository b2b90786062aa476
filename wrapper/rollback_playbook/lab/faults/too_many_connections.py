"""Limits that were raised above what PostgreSQL has."""

from __future__ import annotations

from rollback_playbook.lab import processes
from rollback_playbook.lab.configuration import conninfo
from rollback_playbook.lab.deployment import restart_shop
from rollback_playbook.lab.faults.fault import Fault
from rollback_playbook.lab.places import Lab

#: PostgreSQL of the lab has 100, three of them for its superuser.
_RAISED = "SHOP_POOL_MIN=120\nSHOP_POOL_MAX=120\n"


def _raise_limits(lab: Lab) -> None:
    with lab.environment_file.open("a", encoding="utf-8") as file:
        file.write(_RAISED)
    restart_shop(lab)
    processes.wait_until("PostgreSQL still takes connections", lambda: bool(_refused(lab)))


def _refused(lab: Lab) -> list[str]:
    """What the next program gets that wants the shop's database."""
    import psycopg

    try:
        psycopg.connect(conninfo(lab.state())).close()
    except psycopg.OperationalError as error:
        return [f"PostgreSQL refuses connections: {str(error).splitlines()[-1].strip()}"]
    return []


FAULT = Fault(
    name="too-many-connections",
    title="the shop may open more connections than PostgreSQL has, and does",
    scenarios=("connection-pool",),
    cause=_raise_limits,
    symptoms=_refused,
)
