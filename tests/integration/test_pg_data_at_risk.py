"""pg_data_at_risk on a real server: what a rollback costs, before it is approved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.module_runner import RunModule
from tests.pg_restoring import Shop
from tests.real_servers import PostgresServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

_TABLES = """
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, total int);
CREATE TABLE baskets (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), n int);
CREATE TABLE audit (what text);
CREATE TABLE events (id bigserial, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE old (id serial PRIMARY KEY);
CREATE TABLE schema_migrations (version int PRIMARY KEY);
INSERT INTO orders (total) SELECT n FROM generate_series(1, 100) n;
INSERT INTO baskets (n) SELECT n FROM generate_series(1, 10) n;
INSERT INTO audit SELECT 'x' FROM generate_series(1, 5);
INSERT INTO events (day) SELECT '2026-01-05' FROM generate_series(1, 5);
INSERT INTO old DEFAULT VALUES;
INSERT INTO schema_migrations VALUES (1);
"""

Look = Callable[..., dict[str, Any]]


@pytest.fixture
def shop(new_shop: Callable[..., Shop], new_postgres_server: PostgresServer) -> Shop:
    """Tables with a numbered key, a random one, none; one partitioned."""
    return new_shop(new_postgres_server, _TABLES)


@pytest.fixture
def look(shop: Shop, run_module: RunModule) -> Look:
    """``look(statements)``: back up, let users write, ask what a restore would lose."""

    def look(statements: str, **options: Any) -> dict[str, Any]:
        backup = shop.backup()
        if statements:
            shop.write(statements)
        return run_module("pg_data_at_risk", shop.args(backup=str(backup), **options))

    return look


def _counts(result: dict[str, Any]) -> dict[str, tuple[str, int | None, int | None, int | None]]:
    return {
        each["table"]: (each["known"], each["added"], each["changed"], each["removed"])
        for each in result["tables"]
    }


def test_rows_written_since_the_backup_are_counted_by_their_numbers(look: Look) -> None:
    result = look("INSERT INTO orders (total) SELECT n FROM generate_series(1, 1284) n")

    assert not result["changed"]
    assert not result["exact"]
    assert _counts(result) == {"public.orders": ("by_key", 1284, None, 0)}
    assert result["summary"].startswith("restoring this backup loses 1,284 orders written since ")
    assert result["basis"].startswith("an estimate, because this backup is not staged: ")
    assert "changed rows are counted when" in result["basis"]


def test_new_rows_are_told_from_missing_ones_although_their_number_is_equal(look: Look) -> None:
    result = look(
        "INSERT INTO orders (total) SELECT n FROM generate_series(1, 30) n;"
        "DELETE FROM orders WHERE id <= 30"
    )

    assert _counts(result) == {"public.orders": ("by_key", 30, None, 30)}
    assert "loses 30 orders written since" in result["summary"]
    assert "brings back 30 orders deleted" in result["summary"]


def test_table_without_a_numbered_key_is_told_by_how_many_rows_there_are(look: Look) -> None:
    result = look(
        "INSERT INTO baskets (n) VALUES (1), (2); DELETE FROM audit;"
        "INSERT INTO events (day) VALUES ('2026-01-07'), ('2026-01-08'), ('2026-01-09')"
    )

    assert _counts(result) == {
        "public.audit": ("by_rows", 0, None, 5),
        "public.baskets": ("by_rows", 2, None, 0),
        "public.events": ("by_rows", 3, None, 0),
    }
    assert "baskets has 2 rows more than the backup" in result["summary"]
    assert "audit has 5 rows less than the backup, and has no key" in result["summary"]
    assert result["total"] == {"added": 5, "changed": None, "removed": 5}


def test_tables_that_came_or_went_since_are_named(look: Look) -> None:
    result = look("DROP TABLE old; CREATE TABLE new AS SELECT 1 FROM generate_series(1, 7)")

    assert _counts(result) == {
        "public.new": ("by_rows", 7, 0, 0),
        "public.old": ("by_rows", 0, 0, 1),
    }
    assert "table public.old, which is gone, comes back with 1 row" in result["summary"]


def test_rows_that_a_restore_kept_are_no_rows_that_users_wrote(
    shop: Shop, run_module: RunModule
) -> None:
    backup = shop.backup()
    shop.write("UPDATE orders SET total = 0 WHERE id <= 7")
    restored = shop.restored(
        backup=str(backup), restore_id="r1", scope="rows", table="orders", predicate="id < 50"
    )
    asked = shop.args(backup=str(backup))

    estimated = run_module("pg_data_at_risk", asked)
    shop.restored(backup=str(backup), restore_id="r2", state="staged")
    compared = run_module("pg_data_at_risk", asked)

    kept = restored["rows"]["kept"].split(".", 1)[1].strip('"')
    assert shop.one(f'SELECT count(*) FROM "{kept}"') == 7
    assert estimated["tables"] == compared["tables"] == []
    assert compared["exact"]


def test_nothing_written_is_said_as_far_as_it_is_known(look: Look) -> None:
    result = look("")

    assert result["tables"] == []
    assert "loses no new row: none was written since" in result["summary"]


def test_older_server_is_counted_alike(
    new_shop: Callable[..., Shop], old_postgres_server: PostgresServer, run_module: RunModule
) -> None:
    shop = new_shop(old_postgres_server, _TABLES)
    backup = shop.backup()
    shop.write("INSERT INTO orders (total) VALUES (1); DELETE FROM baskets")

    result = run_module("pg_data_at_risk", shop.args(backup=str(backup)))

    assert _counts(result) == {
        "public.baskets": ("by_rows", 0, None, 10),
        "public.orders": ("by_key", 1, None, 0),
    }


def test_locked_table_is_named_and_not_guessed(shop: Shop, run_module: RunModule) -> None:
    backup = shop.backup()
    with shop.server.connect(shop.name) as holder, holder.transaction():
        holder.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        result = run_module(
            "pg_data_at_risk", shop.args(backup=str(backup), exclude=["baskets", "audit"])
        )

    assert _counts(result) == {"public.orders": ("unknown", None, None, None)}
    assert "not known of orders (somebody holds it locked)" in result["summary"]
    assert result["total"]["added"] is None


def test_table_that_is_not_counted_in_time_is_named_and_not_guessed(look: Look) -> None:
    result = look("", timeout=0.001)

    assert _counts(result)["public.audit"] == ("unknown", None, None, None)
    assert "audit (not counted within 0.001 s)" in result["summary"]


def test_staged_backup_gives_exact_figures_of_changed_rows_too(
    shop: Shop, run_module: RunModule
) -> None:
    backup = shop.backup()
    shop.restored(backup=str(backup), state="staged")
    shop.write(
        "INSERT INTO orders (total) VALUES (1); UPDATE orders SET total = 0 WHERE id <= 7;"
        "INSERT INTO audit VALUES ('y'); INSERT INTO schema_migrations VALUES (2)"
    )

    result = run_module(
        "pg_data_at_risk", shop.args(backup=str(backup), exclude=["schema_migrations"])
    )

    assert result["exact"]
    assert _counts(result) == {
        "public.audit": ("exact", 1, 0, 0),
        "public.orders": ("exact", 1, 7, 0),
    }
    assert result["summary"].startswith("restoring this backup loses 1 row of orders written since")
    assert "takes back changes to 7 orders" in result["summary"]
    assert "audit has no key" in result["summary"]


def test_staged_backup_that_cannot_be_compared_is_counted_the_other_way(
    shop: Shop, run_module: RunModule
) -> None:
    backup = shop.backup()
    shop.restored(backup=str(backup), state="staged")
    shop.write("INSERT INTO orders (total) VALUES (1)")
    with shop.server.connect(shop.name) as holder, holder.transaction():
        holder.execute("LOCK TABLE audit IN ACCESS EXCLUSIVE MODE")
        result = run_module("pg_data_at_risk", shop.args(backup=str(backup)))

    assert not result["exact"]
    assert result["basis"].startswith("an estimate, because this backup is staged and could not be")
    assert _counts(result)["public.orders"] == ("by_key", 1, None, 0)
    assert _counts(result)["public.audit"][0] == "unknown"


def test_staged_backup_that_takes_too_long_to_compare_gives_an_estimate_and_says_so(
    shop: Shop, run_module: RunModule
) -> None:
    backup = shop.backup()
    shop.restored(backup=str(backup), state="staged")

    result = run_module("pg_data_at_risk", shop.args(backup=str(backup), timeout=0.001))

    assert not result["exact"]
    assert result["basis"].startswith(
        "an estimate, because this backup is staged and comparing every row with it takes longer "
        "than 0.001 s: "
    )


def test_backup_that_is_not_there_is_refused_in_words(shop: Shop, run_module: RunModule) -> None:
    result = run_module("pg_data_at_risk", shop.args(backup="/nowhere"))

    assert result["failed"]
    assert "there is no manifest" in result["msg"]
