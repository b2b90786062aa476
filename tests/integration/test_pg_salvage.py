"""pg_salvage on a real server: what is counted, kept, merged, refused and taken back."""

from __future__ import annotations

import csv
import io
import itertools
import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from tests.module_runner import RunModule, start_module
from tests.real_servers import PostgresServer

pytestmark = pytest.mark.integration

_NUMBERS = itertools.count(1)

SHOP = """
CREATE TABLE customers (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email text NOT NULL UNIQUE,
  name text,
  updated_at timestamptz DEFAULT '2026-01-01T00:00:00Z');
CREATE TABLE orders (
  id serial PRIMARY KEY,
  customer_id integer NOT NULL REFERENCES customers,
  total numeric(10, 2) NOT NULL,
  with_tax numeric(10, 2) GENERATED ALWAYS AS (total * 1.2) STORED);
CREATE TABLE order_lines (
  order_id integer REFERENCES orders ON DELETE CASCADE,
  line integer,
  product text,
  PRIMARY KEY (order_id, line));
CREATE TABLE audit (happened text);
INSERT INTO customers (email, name) SELECT 'c' || n || '@example.com', 'Customer ' || n
  FROM generate_series(1, 20) n;
INSERT INTO orders (customer_id, total) SELECT 1 + n % 20, n FROM generate_series(1, 100) n;
INSERT INTO order_lines SELECT n, 1, 'product ' || n FROM generate_series(1, 100) n;
INSERT INTO audit SELECT 'event ' || n FROM generate_series(1, 5) n;
"""

ORDERS_SINCE = """
INSERT INTO customers (email, name) VALUES ('new@example.com', 'New');
INSERT INTO orders (customer_id, total) SELECT 21, n FROM generate_series(1, 3) n;
INSERT INTO order_lines SELECT 100 + n, 1, NULL FROM generate_series(1, 3) n;
"""


@dataclass(frozen=True)
class Twins:
    """A database as users left it and the restored one, and how to ask either."""

    server: PostgresServer
    database: str
    reference: str

    def write(self, statements: str) -> None:
        """Users write to the database after the backup."""
        with self.server.connect(self.database) as connection:
            connection.execute(statements)

    def write_reference(self, statements: str) -> None:
        """Somebody writes to the restored database."""
        with self.server.connect(self.reference) as connection:
            connection.execute(statements)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the restored database holds."""
        with self.server.connect(self.reference) as connection:
            return connection.execute(query).fetchall()

    def args(self, **options: object) -> dict[str, object]:
        """The module's arguments."""
        named = {"database": self.database, "reference": self.reference}
        return {**self.server.login, **named, **options}


MakeTwins = Callable[[str], Twins]


@pytest.fixture
def make_twins(postgres_server: PostgresServer) -> Iterator[MakeTwins]:
    """``make_twins(sql)``: two databases that a backup's restore would leave, equal so far."""
    made: list[str] = []

    def make(statements: str) -> Twins:
        number = next(_NUMBERS)
        twins = Twins(postgres_server, f"salvage {number} ü", f'salvage {number} "live"')
        with postgres_server.connect() as connection:
            for name, template in (
                (twins.reference, "template0"),
                (twins.database, twins.reference),
            ):
                made.append(name)
                connection.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                        sql.Identifier(name), sql.Identifier(template)
                    )
                )
                if template == "template0":
                    twins.write_reference(statements)
        return twins

    yield make
    with postgres_server.connect() as connection:
        for name in made:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


@pytest.fixture
def shop(make_twins: MakeTwins) -> Twins:
    """A small shop with keys, a composite key, a generated column and a table without key."""
    return make_twins(SHOP)


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


def merge_args(twins: Twins, dest: Path, **options: object) -> dict[str, object]:
    """The arguments of a merge."""
    return twins.args(state="merged", dest=str(dest), **options)


def test_pg_salvage_merged_brings_missing_rows_in_with_their_keys_and_numbers(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    shop.write("UPDATE orders SET total = 0 WHERE id <= 7")

    result = run_module("pg_salvage", merge_args(shop, tmp_path), diff=True)

    assert result["changed"]
    assert result["merged"] == [
        {"table": "public.customers", "inserted": 1, "updated": 0, "kept": 0},
        {"table": "public.order_lines", "inserted": 3, "updated": 0, "kept": 0},
        {"table": "public.orders", "inserted": 3, "updated": 0, "kept": 7},
    ]
    assert shop.rows(
        "SELECT o.id, c.email, o.total::text, o.with_tax::text, l.product FROM orders o"
        " JOIN customers c ON c.id = customer_id JOIN order_lines l ON l.order_id = o.id"
        " WHERE o.id > 100 ORDER BY o.id LIMIT 1"
    ) == [(101, "new@example.com", "1.00", "1.20", None)]
    assert shop.rows("SELECT count(*) FROM orders WHERE total = 0") == [(0,)]
    assert shop.rows("INSERT INTO orders (customer_id, total) VALUES (1, 1) RETURNING id") == [
        (104,)
    ]
    assert result["sequences"] == [
        {"sequence": "public.customers_id_seq", "before": 20, "after": 21},
        {"sequence": "public.orders_id_seq", "before": 100, "after": 103},
    ]
    assert "7 orders that differ stay as they are" in result["summary"]
    assert result["diff"]["after"] == {
        "differences": {"public.orders": {"added": 0, "changed": 7, "removed": 0}}
    }


def test_pg_salvage_merged_a_second_time_changes_nothing(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    run_module("pg_salvage", merge_args(shop, tmp_path))

    again = run_module("pg_salvage", merge_args(shop, tmp_path))

    assert not again["changed"]
    assert again["undo"] is None
    assert again["merge"] is None
    assert len(list(tmp_path.iterdir())) == 1


def test_pg_salvage_merged_in_check_mode_predicts_and_leaves_everything(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    dest = tmp_path / "dest"

    predicted = run_module("pg_salvage", merge_args(shop, dest), check=True)
    differences = run_module("pg_salvage", shop.args())["total"]
    done = run_module("pg_salvage", merge_args(shop, dest))

    assert predicted["changed"]
    assert differences == {"added": 7, "changed": 0, "removed": 0}
    for key in ("merged", "not_merged", "sequences", "before", "after", "total"):
        assert predicted[key] == done[key]
    assert predicted["undo"]["args"].keys() == done["undo"]["args"].keys()
    assert [path.name for path in dest.iterdir()] == [done["merge"]["id"]]


def test_pg_salvage_undo_takes_the_merge_back_and_its_undo_merges_again(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    shop.write(
        "UPDATE customers SET name = 'Renamed', updated_at = '2026-02-02' WHERE id = 2;"
        "UPDATE orders SET total = 0 WHERE id <= 7"
    )
    policy = {"policy": "prefer_newer", "newer_by": {"customers": "updated_at"}}
    before = run_module("pg_salvage", shop.args())["total"]
    merged = run_module("pg_salvage", merge_args(shop, tmp_path, **policy))
    between = run_module("pg_salvage", shop.args())["total"]

    undo = {**shop.server.login, **merged["undo"]["args"]}
    predicted = run_module("pg_salvage", undo, check=True)
    undone = run_module("pg_salvage", undo)
    after = run_module("pg_salvage", shop.args())["total"]
    undone_again = run_module("pg_salvage", undo)
    redone = run_module("pg_salvage", {**shop.server.login, **undone["undo"]["args"]})

    assert before == after == {"added": 7, "changed": 8, "removed": 0}
    assert between == {"added": 0, "changed": 7, "removed": 0}
    assert predicted["unmerged"] == undone["unmerged"]
    assert predicted["changed"]
    assert undone["unmerged"] == [
        {"table": "public.customers", "deleted": 1, "restored": 1},
        {"table": "public.order_lines", "deleted": 3, "restored": 0},
        {"table": "public.orders", "deleted": 3, "restored": 0},
    ]
    assert not undone_again["changed"]
    assert redone["merged"] == merged["merged"]
    assert shop.rows("SELECT name FROM customers WHERE id = 2") == [("Renamed",)]


@pytest.mark.parametrize(
    ("write", "table", "problem"),
    [
        pytest.param(
            "UPDATE orders SET total = 5 WHERE id = 101",
            "public.orders",
            "changed since the merge",
            id="changed row",
        ),
        pytest.param(
            "INSERT INTO order_lines VALUES (101, 2, 'more')",
            "public.orders",
            "public.order_lines written since point at it",
            id="row that points at one to delete and would go with it",
        ),
        pytest.param(
            "DELETE FROM customers WHERE id = 20",
            "public.customers",
            "deleted since the merge",
            id="deleted row",
        ),
    ],
)
def test_pg_salvage_undo_refuses_rows_written_since_the_merge(
    shop: Twins, run_module: RunModule, tmp_path: Path, write: str, table: str, problem: str
) -> None:
    shop.write_reference("ALTER TABLE orders DROP CONSTRAINT orders_customer_id_fkey")
    shop.write(ORDERS_SINCE)
    shop.write("UPDATE customers SET name = 'x', updated_at = '2026-02-02' WHERE id = 20")
    policy = {"policy": "prefer_newer", "newer_by": {"customers": "updated_at"}}
    merged = run_module("pg_salvage", merge_args(shop, tmp_path, **policy))
    shop.write_reference(write)
    before = run_module("pg_salvage", shop.args())["tables"]

    refused = run_module("pg_salvage", {**shop.server.login, **merged["undo"]["args"]})

    assert refused["failed"]
    assert [each["table"] for each in refused["conflicts"]] == [table]
    assert problem in refused["msg"]
    assert run_module("pg_salvage", shop.args())["tables"] == before


def test_pg_salvage_undo_refuses_another_database_of_the_same_name(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    merged = run_module("pg_salvage", merge_args(shop, tmp_path))
    args = {**shop.server.login, **merged["undo"]["args"]}
    args["reference"], args["database"] = args["database"], args["reference"]

    refused = run_module("pg_salvage", args)

    assert refused["failed"]
    assert "was not made into the database" in refused["msg"]
    assert shop.rows("SELECT count(*) FROM orders") == [(103,)]


def test_pg_salvage_undo_refuses_a_folder_that_was_tampered_with(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    merged = run_module("pg_salvage", merge_args(shop, tmp_path))
    file = next(Path(merged["merge"]["path"]).glob("*orders.inserted.csv"))
    file.write_bytes(file.read_bytes().replace(b"101", b"001"))

    refused = run_module("pg_salvage", {**shop.server.login, **merged["undo"]["args"]})

    assert refused["failed"]
    assert "is not the file the merge wrote" in refused["msg"]


def test_pg_salvage_prefer_newer_takes_the_newer_row_of_either_side(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(
        "UPDATE customers SET name = 'by a user', updated_at = '2026-02-02' WHERE id IN (1, 2);"
        "UPDATE orders SET total = 0 WHERE id = 1"
    )
    shop.write_reference("UPDATE customers SET updated_at = '2026-03-03' WHERE id = 2")
    policy = {"policy": "prefer_newer", "newer_by": {"*": "updated_at"}}

    result = run_module("pg_salvage", merge_args(shop, tmp_path, **policy))
    again = run_module("pg_salvage", merge_args(shop, tmp_path, **policy))

    assert result["merged"] == [
        {"table": "public.customers", "inserted": 0, "updated": 1, "kept": 1}
    ]
    assert shop.rows("SELECT name FROM customers WHERE id < 3 ORDER BY id") == [
        ("by a user",),
        ("Customer 2",),
    ]
    assert not again["changed"]


@pytest.mark.parametrize(
    ("write", "write_reference", "table", "key", "problem"),
    [
        pytest.param(
            "UPDATE customers SET name = 'same time' WHERE id = 5",
            "",
            "public.customers",
            {"id": "5"},
            "updated_at does not say which is newer",
            id="equal times",
        ),
        pytest.param(
            "UPDATE customers SET name = 'no time', updated_at = NULL WHERE id = 5",
            "",
            "public.customers",
            {"id": "5"},
            "updated_at does not say which is newer",
            id="no time",
        ),
        pytest.param(
            "INSERT INTO customers (email) VALUES ('twice@example.com')",
            "INSERT INTO customers (id, email) OVERRIDING SYSTEM VALUE"
            " VALUES (999, 'twice@example.com')",
            "public.customers",
            {"id": "21"},
            "unique index customers_email_key",
            id="unique value taken",
        ),
        pytest.param(
            "INSERT INTO customers (email) VALUES ('TWICE@example.com')",
            "CREATE UNIQUE INDEX by_lower ON customers (lower(email)) WHERE id > 0;"
            "INSERT INTO customers (id, email) OVERRIDING SYSTEM VALUE"
            " VALUES (999, 'twice@example.com')",
            "public.customers",
            {"id": "21"},
            "unique index by_lower",
            id="unique expression taken",
        ),
        pytest.param(
            "INSERT INTO order_lines VALUES (4, 2, 'x')",
            "DELETE FROM orders WHERE id = 4",
            "public.order_lines",
            {"order_id": "4", "line": "2"},
            "points at a row that public.orders does not have",
            id="parent gone and left out of the merge",
        ),
    ],
)
def test_pg_salvage_merge_refuses_and_names_what_it_cannot_decide(
    shop: Twins,
    run_module: RunModule,
    tmp_path: Path,
    write: str,
    write_reference: str,
    table: str,
    key: dict[str, str],
    problem: str,
) -> None:
    shop.write(write)
    shop.write_reference(write_reference or "SELECT 1")
    policy = {"policy": "prefer_newer", "newer_by": {"customers": "updated_at"}}
    args = merge_args(shop, tmp_path, tables=["customers", table.split(".")[1]], **policy)
    before = run_module("pg_salvage", shop.args())["tables"]

    predicted = run_module("pg_salvage", args, check=True)
    refused = run_module("pg_salvage", args)

    assert refused["failed"]
    assert predicted["msg"] == refused["msg"]
    conflict = next(each for each in refused["conflicts"] if each["table"] == table)
    assert key in conflict["keys"]
    assert problem in conflict["problem"]
    assert run_module("pg_salvage", shop.args())["tables"] == before
    assert list(tmp_path.iterdir()) == []


def test_pg_salvage_merge_leaves_out_and_reports_tables_it_cannot_merge(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    shop.write(
        "CREATE TABLE coupons (code text PRIMARY KEY); INSERT INTO coupons VALUES ('A');"
        "INSERT INTO audit VALUES ('event 6'), ('event 7')"
    )

    result = run_module("pg_salvage", merge_args(shop, tmp_path))
    named = run_module("pg_salvage", merge_args(shop, tmp_path, tables=["audit"]))

    assert [(each["table"], each["rows"]) for each in result["not_merged"]] == [
        ("public.audit", 2),
        ("public.coupons", 1),
    ]
    assert result["changed"]
    assert named["failed"]
    assert "nothing tells its rows apart" in named["msg"]


def test_pg_salvage_merge_follows_foreign_keys_in_circles(
    make_twins: MakeTwins, run_module: RunModule, tmp_path: Path
) -> None:
    twins = make_twins(
        "CREATE TABLE people (id int PRIMARY KEY, boss int REFERENCES people, home int);"
        "CREATE TABLE homes (id int PRIMARY KEY, owner int NOT NULL REFERENCES people);"
        "ALTER TABLE people ADD FOREIGN KEY (home) REFERENCES homes;"
        "CREATE TABLE visits (id int PRIMARY KEY, home int REFERENCES homes"
        " DEFERRABLE INITIALLY DEFERRED)"
    )
    twins.write(
        "INSERT INTO people VALUES (1, 1, NULL); INSERT INTO people VALUES (2, 1, NULL);"
        "INSERT INTO homes VALUES (1, 2); UPDATE people SET home = 1;"
        "INSERT INTO visits VALUES (1, 1)"
    )

    merged = run_module("pg_salvage", merge_args(twins, tmp_path))
    undone = run_module("pg_salvage", {**twins.server.login, **merged["undo"]["args"]})

    assert sum(each["inserted"] for each in merged["merged"]) == 4
    assert sum(each["deleted"] for each in undone["unmerged"]) == 4
    assert twins.rows("SELECT count(*) FROM people") == [(0,)]


def test_pg_salvage_merge_fires_no_trigger_and_leaves_each_as_it_was(
    make_twins: MakeTwins, run_module: RunModule, tmp_path: Path
) -> None:
    twins = make_twins(
        "CREATE TABLE t (id int PRIMARY KEY, word text); CREATE TABLE log (word text);"
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO public.log VALUES (NEW.word); NEW.word = 'changed'; RETURN NEW; END $$;"
        "CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();"
        "CREATE TRIGGER b BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();"
        "CREATE TRIGGER c BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();"
        "ALTER TABLE t ENABLE ALWAYS TRIGGER b; ALTER TABLE t DISABLE TRIGGER c;"
    )
    twins.write("ALTER TABLE t DISABLE TRIGGER USER; INSERT INTO t VALUES (1, 'as written')")

    run_module("pg_salvage", merge_args(twins, tmp_path))

    assert twins.rows("SELECT word FROM t") == [("as written",)]
    assert twins.rows("SELECT count(*) FROM log") == [(0,)]
    assert twins.rows("SELECT tgname::text, tgenabled::text FROM pg_trigger ORDER BY 1") == [
        ("a", "O"),
        ("b", "A"),
        ("c", "D"),
    ]


def test_pg_salvage_merge_fits_rows_into_an_older_schema(
    make_twins: MakeTwins, run_module: RunModule, tmp_path: Path
) -> None:
    twins = make_twins(
        "CREATE TABLE t (id smallint PRIMARY KEY, word varchar(9), kind text DEFAULT 'old');"
        "INSERT INTO t VALUES (1, 'one')"
    )
    twins.write(
        "ALTER TABLE t ALTER id TYPE bigint, ADD extra int DEFAULT 7, DROP kind,"
        " ALTER word TYPE text; INSERT INTO t VALUES (2, 'two')"
    )

    fits = run_module("pg_salvage", merge_args(twins, tmp_path))
    twins.write("INSERT INTO t VALUES (3, 'much too long')")
    does_not = run_module("pg_salvage", merge_args(twins, tmp_path))

    assert fits["merged"][0]["inserted"] == 1
    assert twins.rows("SELECT * FROM t ORDER BY id") == [(1, "one", "old"), (2, "two", "old")]
    assert does_not["failed"]
    assert "much too long" not in json.dumps(does_not)
    assert "does not fit its type" in does_not["msg"]


def test_pg_salvage_merge_handles_any_names_and_composite_keys(
    make_twins: MakeTwins, run_module: RunModule, tmp_path: Path
) -> None:
    twins = make_twins(
        """CREATE SCHEMA "Büro %s";
        CREATE TABLE "Büro %s"."Akte ""7"".x" (
          "jahr %" int, "Nr; --" text, "größe {}" numeric, c0 int, "unique 0" text,
          PRIMARY KEY ("jahr %", "Nr; --"));
        INSERT INTO "Büro %s"."Akte ""7"".x" VALUES (2025, 'a', 1, 1, 'x')"""
    )
    twins.write(
        """INSERT INTO "Büro %s"."Akte ""7"".x" VALUES (2025, 'b,''"', NULL, 2, ''),
        (2026, 'a', 3, 3, E'\\.\n')"""
    )

    merged = run_module("pg_salvage", merge_args(twins, tmp_path))
    remaining = run_module("pg_salvage", twins.args())["total"]
    undone = run_module("pg_salvage", {**twins.server.login, **merged["undo"]["args"]})

    assert merged["merged"][0]["inserted"] == 2
    assert merged["merged"][0]["table"] == 'Büro %s.Akte "7".x'
    assert remaining == {"added": 0, "changed": 0, "removed": 0}
    assert undone["unmerged"][0]["deleted"] == 2


def test_pg_salvage_merge_gives_up_when_a_table_stays_locked(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    with shop.server.connect(shop.reference) as other:
        other.execute("BEGIN")
        other.execute("INSERT INTO orders (customer_id, total) VALUES (1, 1)")
        refused = run_module("pg_salvage", merge_args(shop, tmp_path, lock_timeout=0.1))
        other.execute("ROLLBACK")

    assert refused["failed"]
    assert "lock_timeout (0.1 s)" in refused["msg"]
    assert shop.rows("SELECT count(*) FROM orders") == [(100,)]
    assert list(tmp_path.iterdir()) == []


def test_pg_salvage_merge_that_the_server_refuses_changes_nothing(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    shop.write_reference("ALTER TABLE order_lines ADD CHECK (product IS NOT NULL)")

    refused = run_module("pg_salvage", merge_args(shop, tmp_path))

    assert refused["failed"]
    assert "order_lines_product_check" in refused["msg"]
    assert "rolled back" in refused["msg"]
    assert shop.rows("SELECT count(*) FROM orders") == [(100,)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"reference": "postgres", "database": "postgres"}, "both", id="itself"),
        pytest.param({"since": "yesterday"}, "no ISO 8601", id="unreadable time"),
        pytest.param({"newer_by": {"orders": "id"}}, "prefer_newer", id="column without policy"),
        pytest.param({"lock_timeout": 0}, "more than 0", id="no time to wait"),
        pytest.param({"database": "nowhere"}, "does not exist", id="no such database"),
        pytest.param(
            {"policy": "prefer_newer", "newer_by": {"orders": "nope"}, "state": "merged"},
            "'nope'",
            id="no such column",
        ),
        pytest.param(
            {"policy": "prefer_newer", "newer_by": {"nope": "id"}, "state": "merged"},
            "'nope'",
            id="no such table",
        ),
        pytest.param({"state": "unmerged", "merge": "/nowhere"}, "not a readable", id="no folder"),
    ],
)
def test_pg_salvage_bad_input_is_refused_in_words(
    shop: Twins,
    run_module: RunModule,
    tmp_path: Path,
    options: dict[str, object],
    words: str,
) -> None:
    result = run_module("pg_salvage", shop.args(dest=str(tmp_path), **options) | options)

    assert result["failed"]
    assert words in result["msg"]
    assert "Nothing was changed" in result["msg"]


def test_pg_salvage_merge_killed_at_any_moment_is_all_or_nothing(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    seen = set()
    for delay in (0.3, 0.5, 0.6, 0.7, 0.8):
        process = start_module("pg_salvage", merge_args(shop, tmp_path))
        try:
            process.wait(delay)
        except Exception:  # noqa: BLE001 - it still runs, and is killed
            process.kill()
        process.communicate()
        seen.add(shop.rows("SELECT count(*) FROM orders WHERE id > 100")[0][0])

    result = run_module("pg_salvage", merge_args(shop, tmp_path))

    assert seen <= {0, 3}
    assert not result.get("failed")
    assert shop.rows("SELECT count(*) FROM order_lines WHERE order_id > 100") == [(3,)]
    assert not list(tmp_path.glob(".*"))
