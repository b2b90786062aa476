"""A definition that PostgreSQL writes differently after a dump and reload is still the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule
from tests.real_servers import PostgresServer

pytestmark = pytest.mark.integration

_SCHEMA = """
CREATE TABLE orders (
    id integer PRIMARY KEY,
    state varchar(20) NOT NULL CHECK (state IN ('open', 'paid')),
    kind char(1) CHECK (kind IN ('a', 'b'))
);
CREATE DOMAIN colour AS varchar(9) CHECK (VALUE IN ('red', 'green'));
CREATE VIEW open_orders AS SELECT id FROM orders
WHERE state IN ('open', 'new') AND (id + 1) * 2 > 0;
CREATE INDEX ON orders (id) WHERE state IN ('open', 'paid');
INSERT INTO orders SELECT n, 'open', 'a' FROM generate_series(1, 50) n;
"""


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    name = "definitions"
    with postgres_server.connect() as connection:
        connection.execute(f"CREATE DATABASE {name}")
    with postgres_server.connect(name) as connection:
        connection.execute(_SCHEMA)
    yield name
    with postgres_server.connect() as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s", [f"%{name}%"]
        )
        for (left,) in rows.fetchall():
            connection.execute(f'DROP DATABASE "{left}" WITH (FORCE)')


def _staged(
    run_module: RunModule, server: PostgresServer, database: str, dest: Path
) -> dict[str, Any]:
    common = {**server.login, "database": database}
    made = run_module("pg_backup_verified", {**common, "dest": str(dest)})
    backup = made["backup"]["path"]
    return run_module("pg_restore_verified", {**common, "backup": backup, "state": "staged"})


def test_restore_accepts_definitions_that_are_only_written_differently(
    run_module: RunModule, postgres_server: PostgresServer, database: str, world_readable_tmp: Path
) -> None:
    result = _staged(run_module, postgres_server, database, world_readable_tmp / "definitions")

    assert "failed" not in result, result["msg"]
    assert result["staged"]
