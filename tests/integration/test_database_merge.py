"""Rows of users that are merged back in the Switch of a restore, on two database hosts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.salvage_twins import ORDERS_SINCE, SHOP
from tests.module_runner import RunModule
from tests.real_servers import PostgresServer
from tests.role_runner import run_playbook

pytestmark = pytest.mark.integration

_PLAY = """
- name: Switch
  hosts: database
  gather_facts: false
  any_errors_fatal: true
  max_fail_percentage: 0
  tasks:
    - name: Restored database is live
      ansible.builtin.import_role: {name: sre.rollback.database, tasks_from: switch}

- name: Verify
  hosts: database
  gather_facts: false
  tasks:
    - name: Users are helped
      ansible.builtin.debug:
        msg: helped on {{ inventory_hostname }}, not merged {{ database_not_merged | default("-") }}
"""
_FEW = {"name": "few orders", "query": "SELECT count(*) <= 100 FROM orders", "expected": True}


@pytest.fixture
def shops(postgres_server: PostgresServer) -> Iterator[list[str]]:
    names = ["merged_shop1", "merged_shop2"]
    with postgres_server.connect() as connection:
        for name in names:
            connection.execute(f"CREATE DATABASE {name}")
    for name in names:
        with postgres_server.connect(name) as connection:
            connection.execute(SHOP)
    yield names
    with postgres_server.connect() as connection:
        found = connection.execute("SELECT datname FROM pg_database WHERE datname ~ '^merged_shop'")
        for (name,) in found.fetchall():
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_merge_that_breaks_the_data_of_one_database_keeps_users_of_neither_waiting(
    shops: list[str], postgres_server: PostgresServer, run_module: RunModule, tmp_path: Path
) -> None:
    hosts: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(shops, start=1):
        backup = run_module(
            "pg_backup_verified",
            {**postgres_server.login, "database": name, "dest": str(tmp_path / name)},
        )
        with postgres_server.connect(name) as connection:
            connection.execute(ORDERS_SINCE)
        hosts[f"db{number}"] = {
            "database_name": name,
            "database_chosen": {"path": backup["backup"]["path"]},
            "database_salvage_dir": str(tmp_path / f"salvage-{number}"),
            "database_checks": [_FEW] if number == 2 else [],
        }
    login = {f"database_{name}": value for name, value in postgres_server.login.items()}
    everywhere = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "incident_id": "inc-1",
        "database_merge": True,
        **login,
    }

    done = run_playbook(
        tmp_path, _PLAY, {"all": {"vars": everywhere}, "database": {"hosts": hosts}}
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "helped on db1, not merged -" in done.stdout
    assert "helped on db2, not merged With these rows merged back" in done.stdout
    assert "few orders" in done.stdout.split("helped on db2")[1]
    counts = []
    for name in shops:
        with postgres_server.connect(name) as connection:
            counts += connection.execute("SELECT count(*) FROM orders").fetchall()
    assert counts == [(103,), (100,)]
