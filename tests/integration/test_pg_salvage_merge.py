"""pg_salvage on a real server: what is merged."""

# ruff: noqa: F811 - fixtures are imported, and asked for by name

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollback_playbook.lab.postgresql import Cluster, server_account
from tests.integration.salvage_twins import (  # noqa: F401 - fixtures
    ORDERS_SINCE,
    SHOP,
    MakeTwins,
    Twins,
    make_twins,
    merge_args,
    shop,
)
from tests.module_runner import RunModule
from tests.real_servers import PostgresServer, free_port, stop

pytestmark = pytest.mark.integration


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
    assert predicted["undo"] is None
    assert done["undo"]["args"]["merge"] == done["merge"]["path"]
    assert [path.name for path in dest.iterdir()] == [done["merge"]["id"]]


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


@pytest.fixture(scope="module")
def oldest_postgres(world_readable_tmp: Path) -> Iterator[PostgresServer]:
    """The distribution's PostgreSQL, which is older than the wheel's."""
    programs = Path("/usr/lib/postgresql/15/bin")
    if not programs.is_dir():
        pytest.skip("PostgreSQL 15 is not installed")
    cluster = Cluster(
        bin_dir=programs,
        data_dir=world_readable_tmp / "salvage-15",
        port=free_port(),
        account=server_account(),
    )
    cluster.initialise("secret")
    server = PostgresServer(cluster, "secret")
    process = server.start(fsync="off")
    yield server
    stop(process)


def test_pg_salvage_merges_and_takes_back_on_an_older_server(
    oldest_postgres: PostgresServer, run_module: RunModule, tmp_path: Path
) -> None:
    twins = Twins(oldest_postgres, "written", "restored")
    with oldest_postgres.connect() as connection:
        connection.execute("CREATE DATABASE restored")
        twins.write_reference(
            SHOP + "CREATE TABLE events (id int, day date, PRIMARY KEY (id, day))"
            " PARTITION BY RANGE (day); CREATE TABLE e1 PARTITION OF events DEFAULT;"
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
            "CREATE TRIGGER no BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION no();"
        )
        connection.execute("CREATE DATABASE written TEMPLATE restored")
    twins.write(ORDERS_SINCE)
    twins.write("DROP TRIGGER no ON events; INSERT INTO events VALUES (1, '2026-01-01')")

    merged = run_module("pg_salvage", merge_args(twins, tmp_path))
    remaining = run_module("pg_salvage", twins.args())["total"]
    undone = run_module("pg_salvage", {**oldest_postgres.login, **merged["undo"]["args"]})

    assert sum(each["inserted"] for each in merged["merged"]) == 8
    assert remaining == {"added": 0, "changed": 0, "removed": 0}
    assert sum(each["deleted"] for each in undone["unmerged"]) == 8
    assert twins.rows("SELECT tgenabled::text FROM pg_trigger WHERE tgname = 'no'") == [("O",)] * 2
