"""pg_salvage on a real server: what is counted and kept."""

# ruff: noqa: F811 - fixtures are imported, and asked for by name

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.integration.salvage_twins import (  # noqa: F401 - fixtures
    ORDERS_SINCE,
    MakeTwins,
    Twins,
    make_twins,
    shop,
)
from tests.module_runner import RunModule

pytestmark = pytest.mark.integration


def counts_of(result: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    """Added, changed and removed rows by table."""
    return {
        each["table"]: (each["added"], each["changed"], each["removed"])
        for each in result["tables"]
    }


def test_pg_salvage_equal_databases_loses_nothing(shop: Twins, run_module: RunModule) -> None:
    result = run_module("pg_salvage", shop.args())

    assert not result["changed"]
    assert result["tables"] == []
    assert result["tables_compared"] == 4
    assert result["total"] == {"added": 0, "changed": 0, "removed": 0}
    assert result["summary"] == "restoring loses nothing: no row was written since the backup"
    assert result["undo"] is None


def test_pg_salvage_rows_written_since_are_counted_by_table(
    shop: Twins, run_module: RunModule
) -> None:
    shop.write(ORDERS_SINCE)
    shop.write(
        "UPDATE orders SET total = 0 WHERE id <= 7;"
        "DELETE FROM order_lines WHERE order_id IN (8, 9);"
        "INSERT INTO audit VALUES ('event 1'), ('event 6');"
    )

    result = run_module("pg_salvage", shop.args(since="2026-03-04T02:00:00Z"))

    assert counts_of(result) == {
        "public.audit": (2, 0, 0),
        "public.customers": (1, 0, 0),
        "public.order_lines": (3, 0, 2),
        "public.orders": (3, 7, 0),
    }
    assert {each["table"]: each["key"] for each in result["tables"]} == {
        "public.audit": None,
        "public.customers": ["id"],
        "public.order_lines": ["order_id", "line"],
        "public.orders": ["id"],
    }
    assert result["summary"] == (
        "restoring loses 3 order_lines, 3 orders and 1 row of customers written since 2026-03-04 "
        "02:00 UTC, takes back changes to 7 orders and brings back 2 order_lines deleted; audit "
        "has no key: 2 rows that would be lost and 0 rows that would come back cannot be matched "
        "to each other"
    )


def test_pg_salvage_tables_and_exclude_choose_what_is_compared(
    shop: Twins, run_module: RunModule
) -> None:
    shop.write(ORDERS_SINCE)

    named = run_module("pg_salvage", shop.args(tables=["public.order*"], exclude=["*_lines"]))
    wrong = run_module("pg_salvage", shop.args(tables=["ordesr"]))

    assert counts_of(named) == {"public.orders": (3, 0, 0)}
    assert wrong["failed"]
    assert "'ordesr'" in wrong["msg"]


def test_pg_salvage_values_that_only_look_alike_differ(
    make_twins: MakeTwins, run_module: RunModule
) -> None:
    twins = make_twins(
        "CREATE TABLE t (id int PRIMARY KEY, a text, b text, f float8);"
        "INSERT INTO t VALUES (1, NULL, 'x', 0), (2, '', 'x', 0), (3, 'a', 'b,c', 0),"
        " (4, 'k', 'l', 1)"
    )
    twins.write(
        "UPDATE t SET a = '' WHERE id = 1;"
        "UPDATE t SET a = NULL WHERE id = 2;"
        "UPDATE t SET a = 'a,b', b = 'c' WHERE id = 3;"
        "UPDATE t SET f = 1 + 2.220446049250313e-16 WHERE id = 4"
    )

    result = run_module("pg_salvage", twins.args())

    assert counts_of(result) == {"public.t": (0, 4, 0)}


def test_pg_salvage_settings_of_roles_and_databases_make_no_difference(
    make_twins: MakeTwins, run_module: RunModule
) -> None:
    twins = make_twins(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, day date, span interval, b bytea,"
        " f float8, price money);"
        "INSERT INTO t VALUES (1, now(), now(), '1 day 2 hours', '\\x0102', 0.1::float4, '12.34')"
    )
    with twins.server.connect() as connection:
        for setting in (
            "TimeZone = 'Asia/Tokyo'",
            "DateStyle = 'SQL, DMY'",
            "IntervalStyle = 'iso_8601'",
            "bytea_output = 'escape'",
            "extra_float_digits = -15",
            "statement_timeout = '1ms'",
            "default_transaction_read_only = on",
        ):
            connection.execute(f'ALTER DATABASE "{twins.database}" SET {setting}')

    result = run_module("pg_salvage", twins.args())

    assert result["total"] == {"added": 0, "changed": 0, "removed": 0}


def test_pg_salvage_many_differences_in_a_larger_table_are_all_found(
    make_twins: MakeTwins, run_module: RunModule
) -> None:
    twins = make_twins(
        "CREATE TABLE t (id bigint PRIMARY KEY, word text);"
        "INSERT INTO t SELECT n, repeat('x', 50) || n FROM generate_series(1, 20000) n"
    )
    twins.write(
        "DELETE FROM t WHERE id % 1000 = 1; UPDATE t SET word = 'y' WHERE id % 1000 = 2;"
        "INSERT INTO t SELECT n, 'z' FROM generate_series(20001, 20070) n"
    )

    few = run_module("pg_salvage", twins.args())
    twins.write("UPDATE t SET word = word || '!'")
    all_of_them = run_module("pg_salvage", twins.args())

    assert counts_of(few) == {"public.t": (70, 20, 20)}
    assert counts_of(all_of_them) == {"public.t": (70, 19980, 20)}


def test_pg_salvage_partitions_are_compared_through_their_parent(
    make_twins: MakeTwins, run_module: RunModule
) -> None:
    twins = make_twins(
        "CREATE TABLE events (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);"
        "CREATE TABLE e1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');"
        "CREATE TABLE e2 PARTITION OF events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');"
        "INSERT INTO events SELECT n, '2026-01-10' FROM generate_series(1, 10) n;"
        "CREATE TABLE base (id int PRIMARY KEY);"
        "CREATE TABLE heir (PRIMARY KEY (id)) INHERITS (base)"
    )
    twins.write("INSERT INTO events VALUES (11, '2026-02-01'); INSERT INTO heir VALUES (1)")

    result = run_module("pg_salvage", twins.args())

    assert counts_of(result) == {"public.events": (1, 0, 0), "public.heir": (1, 0, 0)}


def test_pg_salvage_tables_and_columns_of_one_side_are_reported(
    shop: Twins, run_module: RunModule
) -> None:
    shop.write(
        "ALTER TABLE orders ADD COLUMN coupon text DEFAULT 'none';"
        "ALTER TABLE order_lines ALTER COLUMN product TYPE varchar(90);"
        "CREATE TABLE coupons (code text PRIMARY KEY); INSERT INTO coupons VALUES ('A'), ('B');"
        "DROP TABLE audit"
    )

    result = run_module("pg_salvage", shop.args())

    assert counts_of(result) == {
        "public.audit": (0, 0, 5),
        "public.coupons": (2, 0, 0),
        "public.order_lines": (0, 0, 0),
        "public.orders": (0, 0, 0),
    }
    columns = {each["table"]: each["columns"] for each in result["tables"]}
    assert columns["public.orders"]["only_in_database"] == ["coupon"]
    assert columns["public.order_lines"]["types"] == [
        {"column": "product", "database": "character varying(90)", "reference": "text"}
    ]


def export_files(path: str) -> dict[str, list[dict[str, str]]]:
    """The rows of an export by file name without its number."""
    return {
        file.name.split("_", 1)[1]: list(csv.DictReader(io.StringIO(file.read_text(), newline="")))
        for file in Path(path).glob("*.csv")
    }


def test_pg_salvage_exported_rows_are_kept_as_users_wrote_them(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    shop.write(
        "UPDATE customers SET name = E'Zoë, \"the\"\\nfirst' WHERE id = 3;"
        "DELETE FROM order_lines WHERE order_id = 8; INSERT INTO audit VALUES ('event 6')"
    )

    args = shop.args(state="exported", dest=str(tmp_path / "new" / "salvage"))
    result = run_module("pg_salvage", args)

    assert result["changed"]
    path = Path(result["export"]["path"])
    files = export_files(result["export"]["path"])
    assert {row["id"] for row in files["public.orders.added.csv"]} == {"101", "102", "103"}
    assert files["public.customers.changed.csv"][0]["name"] == 'Zoë, "the"\nfirst'
    assert files["public.order_lines.removed.csv"] == [
        {"order_id": "8", "line": "1", "product": "product 8"}
    ]
    assert files["public.audit.added.csv"] == [{"happened": "event 6"}]
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o600}
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert result["summary"].endswith(f"; these rows are kept in {path}")
    assert result["undo"] is None
    assert "only copy" in result["undo_reason"]


def test_pg_salvage_exported_again_writes_nothing_until_the_rows_change(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    args = shop.args(state="exported", dest=str(tmp_path))

    would = run_module("pg_salvage", args, check=True, diff=True)
    left_by_check_mode = list(tmp_path.iterdir())
    first = run_module("pg_salvage", args)
    again = run_module("pg_salvage", args)
    check_again = run_module("pg_salvage", args, check=True)
    shop.write("INSERT INTO orders (customer_id, total) VALUES (1, 1)")
    later = run_module("pg_salvage", args)

    assert would["changed"]
    assert left_by_check_mode == []
    assert would["diff"]["before"] == {"export": None}
    assert first["changed"]
    assert not again["changed"]
    assert not check_again["changed"]
    assert again["export"]["path"] == first["export"]["path"]
    assert later["changed"]
    assert len(list(tmp_path.iterdir())) == 2


def test_pg_salvage_exported_replaces_an_export_that_was_damaged(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    args = shop.args(state="exported", dest=str(tmp_path))
    first = run_module("pg_salvage", args)
    file = next(Path(first["export"]["path"]).glob("*orders.added.csv"))
    file.write_bytes(file.read_bytes().replace(b"101", b"999"))

    second = run_module("pg_salvage", args)

    assert second["changed"]
    assert second["export"]["path"] != first["export"]["path"]


def test_pg_salvage_exported_files_go_back_in_with_copy(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    result = run_module("pg_salvage", shop.args(state="exported", dest=str(tmp_path)))
    path = Path(result["export"]["path"])
    index = json.loads((path / "index.json").read_text())

    with shop.server.connect(shop.reference) as connection, connection.transaction():
        for table in ("customers", "orders", "order_lines"):
            entry = next(each for each in index["tables"] if each["table"] == ["public", table])
            data = (path / entry["file"]).read_bytes()
            columns = data.split(b"\n", 1)[0].decode()
            with connection.cursor().copy(
                f"COPY {table} ({columns}) FROM STDIN (FORMAT csv, HEADER)"
            ) as copy:
                copy.write(data)

    assert run_module("pg_salvage", shop.args())["total"]["added"] == 0
