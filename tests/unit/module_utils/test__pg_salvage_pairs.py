"""Which table is compared with which, by which key."""

from __future__ import annotations

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import (
    Catalog,
    Column,
    Key,
    Table,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_pairs import pair_tables
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_session import newer_columns


def catalog(**tables: tuple[str, list[str]]) -> Catalog:
    """Tables of schema public: columns (``+`` marks a generated one) and keys, as words."""
    return Catalog(
        {("public", name): _table(name, columns, keys) for name, (columns, keys) in tables.items()},
        (),
    )


def _table(name: str, columns: str, keys: list[str]) -> Table:
    return Table(
        ("public", name),
        False,
        0,
        tuple(
            Column(column.strip("+"), "text", True, False, "", column.startswith("+"))
            for column in columns.split()
        ),
        tuple(Key(tuple(key.split()), ("=",) * len(key.split())) for key in keys),
    )


@pytest.mark.parametrize(
    ("database", "reference", "key", "columns"),
    [
        pytest.param(("a b", ["a"]), ("a b", ["a"]), ("a",), "a b", id="the same"),
        pytest.param(("b a", ["b a"]), ("a b", ["a b"]), ("a", "b"), "a b", id="another order"),
        pytest.param(("a b", ["b"]), ("a b", ["a", "b"]), ("b",), "a b", id="a second key"),
        pytest.param(("a b", ["a"]), ("a b", ["b"]), None, "a b", id="keys that differ"),
        pytest.param(("a b", []), ("a b", ["a"]), None, "a b", id="a key on one side"),
        pytest.param(("a c +g", ["a"]), ("a d g", ["a"]), ("a",), "a", id="other columns"),
    ],
)
def test_pair_tables_takes_a_key_and_columns_that_both_have(
    database: tuple[str, list[str]],
    reference: tuple[str, list[str]],
    key: tuple[str, ...] | None,
    columns: str,
) -> None:
    (pair,) = pair_tables(catalog(t=database), catalog(t=reference), tables=[], exclude=[])

    assert (pair.key.columns if pair.key else None) == key
    assert pair.columns == tuple(columns.split())


@pytest.mark.parametrize(
    ("tables", "exclude", "names"),
    [
        pytest.param([], [], ["logs", "orders", "users"], id="all"),
        pytest.param(["orders"], [], ["orders"], id="by name"),
        pytest.param(["public.o*", "users"], [], ["orders", "users"], id="by pattern"),
        pytest.param([], ["*s"], [], id="all left out"),
        pytest.param([], ["public.logs"], ["orders", "users"], id="one left out"),
    ],
)
def test_pair_tables_keeps_what_the_patterns_say(
    tables: list[str], exclude: list[str], names: list[str]
) -> None:
    database = catalog(orders=("id", ["id"]), users=("id", ["id"]))
    reference = catalog(orders=("id", ["id"]), logs=("id", ["id"]))

    pairs = pair_tables(database, reference, tables=tables, exclude=exclude)

    assert [pair.name[1] for pair in pairs] == names


@pytest.mark.parametrize("pattern", ["order", "ORDERS", "other.orders"])
def test_pair_tables_refuses_a_pattern_without_a_table(pattern: str) -> None:
    with pytest.raises(RollbackError, match="neither database"):
        pair_tables(
            catalog(orders=("id", ["id"])), catalog(), tables=["orders", pattern], exclude=[]
        )


def test_newer_columns_takes_the_first_pattern_that_matches() -> None:
    tables = catalog(orders=("id at", ["id"]), users=("id", ["id"]), logs=("id at on", ["id"]))
    pairs = pair_tables(tables, tables, tables=[], exclude=[])

    found = newer_columns(pairs, {"logs": "on", "*": "at"})

    assert found == {("public", "logs"): "on", ("public", "orders"): "at"}
