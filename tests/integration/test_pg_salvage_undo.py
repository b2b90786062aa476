"""pg_salvage on a real server: a merge is taken back, or not."""

# ruff: noqa: F811 - fixtures are imported, and asked for by name

from __future__ import annotations

from pathlib import Path

import pytest

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


def test_pg_salvage_undo_of_a_named_merge_is_known_before_the_merge_is_made(
    shop: Twins, run_module: RunModule, tmp_path: Path
) -> None:
    shop.write(ORDERS_SINCE)
    named = merge_args(shop, tmp_path, merge_id="inc-7-merge")

    foretold = run_module("pg_salvage", named, check=True)
    merged = run_module("pg_salvage", named)
    undone = run_module("pg_salvage", {**shop.server.login, **foretold["undo"]["args"]})
    again = run_module("pg_salvage", named)

    assert foretold["undo"] == merged["undo"]
    assert merged["merge"]["path"] == str(tmp_path / "inc-7-merge")
    assert sum(each["deleted"] for each in undone["unmerged"]) == 7
    # What took the first one back is kept, so the second has a name of its own.
    assert again["merge"]["id"] == "inc-7-merge-2"


@pytest.mark.parametrize("name", ["../elsewhere", ".hidden", "a/b", "", "x" * 200])
def test_pg_salvage_merge_with_a_name_that_no_folder_can_have_is_refused(
    shop: Twins, run_module: RunModule, tmp_path: Path, name: str
) -> None:
    shop.write(ORDERS_SINCE)

    refused = run_module("pg_salvage", merge_args(shop, tmp_path / "dest", merge_id=name))

    assert "cannot name a folder" in refused["msg"]
    assert "Nothing was changed" in refused["msg"]
    assert not (tmp_path / "dest").exists()
