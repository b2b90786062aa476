"""One sentence for whoever decides."""

from __future__ import annotations

import datetime as dt

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import Key, Table
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_compare import Counts
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_pairs import Pair
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_words import (
    Compared,
    loss_summary,
    parse_moment,
    since_words,
)

_NOW = dt.datetime(2026, 3, 4, 5, 0, tzinfo=dt.UTC)


def table(name: str, *counts: int, keyed: bool = True, schema: str = "public") -> Compared:
    """A table that differs by ``counts``: added, changed, removed."""
    key = Key(("id",), ("=",)) if keyed else None
    found = Table((schema, name), False, 0, (), () if key is None else (key,))
    return Compared(Pair((schema, name), found, found, (), key), Counts(*counts))


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        pytest.param([], "loses nothing: no row was written since 02:00 UTC", id="nothing"),
        pytest.param(
            [table("orders", 1284)], "loses 1,284 orders written since 02:00 UTC", id="one table"
        ),
        pytest.param(
            [table("orders", 1), table("refunds", 2, schema="billing")],
            "loses 2 billing.refunds and 1 row of orders written since 02:00 UTC",
            id="schema, and one row",
        ),
        pytest.param(
            [table(name, number) for number, name in enumerate("abcdef", 1)],
            "loses 6 f, 5 e, 4 d and 6 rows of 3 more tables written since 02:00 UTC",
            id="many tables",
        ),
        pytest.param(
            [table("a", 9, 1, 1), table("b", 8)],
            "loses 9 a and 8 b written since 02:00 UTC, takes back changes to 1 row of a and "
            "brings back 1 row of a deleted",
            id="all kinds",
        ),
        pytest.param(
            [table("a", 0, 2)], "takes back changes to 2 a since 02:00 UTC", id="changes alone"
        ),
        pytest.param(
            [table("a", 0, 0, 2)], "brings back 2 a deleted since 02:00 UTC", id="deleted alone"
        ),
    ],
)
def test_loss_summary_says_what_a_restore_would_do(tables: list[Compared], words: str) -> None:
    assert loss_summary(tables, "since 02:00 UTC") == f"restoring {words}"


def test_loss_summary_guesses_nothing_about_a_table_without_a_key() -> None:
    words = loss_summary([table("audit", 3, 0, 1, keyed=False)], "since 02:00 UTC")

    assert words == (
        "audit has no key: 3 rows that would be lost and 1 row that would come back cannot be "
        "matched to each other"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("2026-03-04T02:00:00Z", "since 02:00 UTC", id="today"),
        pytest.param("2026-03-04T03:30:00+01:00", "since 02:30 UTC", id="another offset"),
        pytest.param("2026-03-03 02:00", "since 2026-03-03 02:00 UTC", id="yesterday, no offset"),
    ],
)
def test_since_words_names_the_hour_and_on_another_day_the_date(text: str, words: str) -> None:
    assert since_words(parse_moment(text), now=_NOW) == words


def test_since_words_without_a_moment_names_the_backup() -> None:
    assert since_words(None, now=_NOW) == "since the backup"


@pytest.mark.parametrize("text", ["", "yesterday", "02:00", "2026-13-01"])
def test_parse_moment_refuses_what_is_no_time(text: str) -> None:
    with pytest.raises(RollbackError, match="no ISO 8601 time"):
        parse_moment(text)
