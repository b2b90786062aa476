"""Backup, damage, restore, and the rows that users wrote in between: nothing of theirs is lost."""

# ruff: noqa: F811 - fixtures are imported, and asked for by name

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.salvage_twins import (  # noqa: F401 - fixtures
    ORDERS_SINCE,
    Twins,
    make_twins,
    merge_args,
    shop,
)
from tests.module_runner import RunModule

pytestmark = pytest.mark.integration


def test_pg_salvage_counts_before_a_restore_what_it_merges_back_after_it(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    live, login = shop.database, shop.server.login
    made = run_module(
        "pg_backup_verified", {**login, "database": live, "dest": str(tmp_path / "backups")}
    )
    shop.write(ORDERS_SINCE)
    shop.write("UPDATE orders SET total = -1 WHERE id <= 100")
    restore = {
        **login,
        "database": live,
        "backup": made["backup"]["path"],
        "restore_id": "inc-1",
    }

    staged = run_module("pg_restore_verified", {**restore, "state": "staged"})
    counted = run_module(
        "pg_salvage",
        {
            **login,
            "database": live,
            "reference": staged["staged"],
            "since": made["backup"]["finished"],
        },
    )
    swapped = run_module("pg_restore_verified", {**restore, "state": "live"})
    restored = Twins(shop.server, swapped["predecessor"], live)
    merged = run_module("pg_salvage", merge_args(restored, tmp_path / "salvage"))
    after = run_module("pg_salvage", restored.args())

    assert counted["total"] == {"added": 7, "changed": 100, "removed": 0}
    assert counted["summary"].startswith("restoring loses 3 order_lines, 3 orders and 1 row of")
    assert merged["changed"], merged
    assert sum(each["inserted"] for each in merged["merged"]) == 7
    assert after["total"] == {"added": 0, "changed": 100, "removed": 0}
    assert restored.rows("SELECT count(*), min(total)::text FROM orders") == [(103, "1.00")]
    undone = run_module("pg_salvage", {**login, **merged["undo"]["args"]})
    assert sum(each["deleted"] for each in undone["unmerged"]) == 7
    with shop.server.connect() as connection:
        connection.execute(f'DROP DATABASE "{swapped["predecessor"]}"')
