"""pg_salvage on a real server: what is not merged."""

# ruff: noqa: F811 - fixtures are imported, and asked for by name

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import (
    Entry,
    comment_statement,
)
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

pytestmark = pytest.mark.integration


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


def test_pg_salvage_merge_refuses_keys_that_were_given_twice_when_told(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    shop.write_reference("INSERT INTO orders (customer_id, total) VALUES (5, 55)")

    kept = run_module("pg_salvage", merge_args(shop, tmp_path), check=True)
    refused = run_module("pg_salvage", merge_args(shop, tmp_path, differing="refuse"))

    assert "1 row of orders that differ stay as they are" in kept["summary"]
    assert refused["failed"]
    assert [(each["table"], each["keys"]) for each in refused["conflicts"]] == [
        ("public.orders", [{"id": "101"}])
    ]
    assert shop.rows("SELECT count(*) FROM orders") == [(101,)]


def test_pg_salvage_counting_gives_up_when_a_table_cannot_be_read(
    shop: Twins, run_module: RunModule
) -> None:
    with shop.server.connect(shop.database) as other:
        other.execute("BEGIN; LOCK TABLE orders")
        refused = run_module("pg_salvage", shop.args(lock_timeout=0.1))
        other.execute("ROLLBACK")

    assert refused["failed"]
    assert "locked for longer than lock_timeout (0.1 s)" in refused["msg"]


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


def test_pg_salvage_merge_refuses_a_database_that_waits_to_be_swapped_in(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    with shop.server.connect() as connection:
        connection.execute(comment_statement(shop.reference, "", Entry("staged", "shop")))

    counted = run_module("pg_salvage", shop.args())
    refused = run_module("pg_salvage", merge_args(shop, tmp_path))

    assert counted["total"]["added"] == 7
    assert refused["failed"]
    assert "Merge after the swap" in refused["msg"]
    assert shop.rows("SELECT count(*) FROM orders") == [(100,)]


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
