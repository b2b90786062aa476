"""Data alone: damaged rows, a whole database, migrations; the release stays as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.lab import seeding
from rollback_playbook.lab.faults.damaged_rows import FAULT, damage_orders, kept_rows
from rollback_playbook.lab.orders import WITHOUT_DISCOUNT, place_orders
from tests.e2e.conftest import Operator

pytestmark = [pytest.mark.e2e, pytest.mark.drill, pytest.mark.timeout(600)]


def _one(operator: Operator, query: str) -> Any:
    with seeding.connect(operator.lab.state(), "shop") as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def _orders(operator: Operator) -> Any:
    return _one(operator, "SELECT jsonb_agg(o ORDER BY id)::text FROM orders o")


def test_damaged_rows_come_back_and_what_users_wrote_since_stays(working: Operator) -> None:
    assert working.types("backups", "create", "-i", "lab").returncode == 0
    place_orders(working.lab.state().url, 3, customers=WITHOUT_DISCOUNT)
    before = _orders(working)
    damage_orders(working.lab)
    damaged = _orders(working)

    done = working.types("data-corruption", "-i", "lab", "-e", *FAULT.variables)

    assert done.returncode == 0, done.stderr
    assert "60 rows were changed, 0 removed and 0 added" in " ".join(done.stderr.split())
    assert damaged != before
    assert _orders(working) == before
    assert kept_rows(working.lab)[1] == 60
    assert working.types("incidents", "verify", "last").returncode == 0


def test_undo_puts_the_damaged_rows_back_and_a_second_restore_mends_them_again(
    working: Operator,
) -> None:
    assert working.types("backups", "create", "-i", "lab").returncode == 0
    before = _orders(working)
    damage_orders(working.lab)
    damaged = _orders(working)
    assert working.types("data-corruption", "-i", "lab", "-e", *FAULT.variables).returncode == 0

    undone = working.types("undo", "last")

    assert undone.returncode == 0, undone.stderr
    assert _orders(working) == damaged
    again = working.types("data-corruption", "-i", "lab", "-e", *FAULT.variables)
    assert again.returncode == 0, again.stderr
    assert _orders(working) == before
    assert working.types("incidents", "verify", "last").returncode == 0


def test_damage_that_nobody_described_is_refused_with_an_example(working: Operator) -> None:
    before = working.fingerprint()

    done = working.types("data-corruption", "-i", "lab")

    assert done.returncode == 3, done.stderr
    assert "Which rows are damaged has to be said" in done.stderr
    assert working.fingerprint() == before


@pytest.mark.attack
def test_drill_of_data_corruption_proves_every_order(working: Operator) -> None:
    done = working.types("drill", "data-corruption")

    assert done.returncode == 0, done.stderr[-3000:]
    assert "no symptom of the fault is left" in done.stderr
    assert "untouched: 60 orders placed since the backup" in done.stderr


@pytest.mark.attack
def test_database_goes_back_to_a_backup_that_was_asked_for_by_name(working: Operator) -> None:
    assert working.types("backups", "create", "-i", "lab").returncode == 0
    orders = _one(working, "SELECT count(*) FROM orders")
    place_orders(working.lab.state().url, 3, customers=WITHOUT_DISCOUNT)

    done = working.types("database-restore", "-i", "lab")

    assert done.returncode == 0, done.stderr
    assert "loses 3 order_lines and 3 orders written since" in done.stderr
    assert _one(working, "SELECT count(*) FROM orders") == orders
    assert working.health() == {"status": "ok", "release": "1.0.0", "schema": 1}


@pytest.fixture
def migrated(working: Operator, tmp_path: Path) -> Iterator[Path]:
    """A migration that was applied, and its way down."""
    (tmp_path / "0001_shop.down.sql").write_text("SELECT 1;\n")
    (tmp_path / "0003_coupons.down.sql").write_text("DROP TABLE coupons;\n")
    with seeding.connect(working.lab.state(), "shop") as connection:
        connection.execute("CREATE TABLE coupons (code text PRIMARY KEY)")
        connection.execute("INSERT INTO schema_migrations (version) VALUES (3)")
    yield tmp_path
    with seeding.connect(working.lab.state(), "shop") as connection:
        connection.execute("DROP TABLE IF EXISTS coupons")
        connection.execute("DELETE FROM schema_migrations WHERE version = 3")


@pytest.mark.attack
def test_migration_goes_down_after_a_backup_that_no_rollback_takes_by_itself(
    working: Operator, migrated: Path
) -> None:
    said = {"database_migration_target": "1", "database_migration_directory": str(migrated)}

    done = working.types("database-migration", "-i", "lab", "-e", json.dumps(said))

    newest = json.loads(working.types("backups", "list", "-i", "lab", "--json").stdout)[0]
    assert done.returncode == 0, done.stderr
    assert "the newest migration is 3 and will be 1, by 0003_coupons.down.sql" in done.stderr
    assert "the schema cannot be brought back by undo: " in done.stderr
    assert _one(working, "SELECT to_regclass('coupons') IS NULL") is True
    assert _one(working, "SELECT max(version) FROM schema_migrations") == 1
    assert newest["label"].startswith("before ")


@pytest.mark.attack
def test_migration_without_a_target_is_refused(working: Operator) -> None:
    done = working.types("database-migration", "-i", "lab")

    assert done.returncode == 3, done.stderr
    assert "-e database_migration_target=41" in done.stderr
