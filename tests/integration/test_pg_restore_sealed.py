"""Between the proof of a staged database and the swap nobody gets in; the caller's own checks."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import psycopg
import pytest

from tests.pg_restoring import HAS_ROWS, Shop, content_of, damage
from tests.real_servers import PostgresServer

pytestmark = pytest.mark.integration


def test_staged_database_lets_nobody_in(shop: Shop) -> None:
    staged = shop.restored(backup=str(shop.backup()), restore_id="r1", state="staged")["staged"]

    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        shop.server.connect(staged)


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("INSERT INTO t (v) VALUES ('x')", id="row"),
        pytest.param("UPDATE t SET v = v || '!' WHERE id = 1", id="changed row"),
        pytest.param("TRUNCATE t", id="truncated"),
        pytest.param("ALTER TABLE t ADD w int", id="column"),
        pytest.param("CREATE TABLE u ()", id="table"),
        pytest.param("SELECT setval('t_id_seq', 99)", id="sequence"),
        pytest.param("SELECT lo_put(7, 0, 'X')", id="large object"),
    ],
)
def test_restore_does_not_make_live_what_was_opened_and_written_to_after_the_proof(
    new_shop: Callable[..., Shop], either_server: PostgresServer, statement: str
) -> None:
    shop = new_shop(
        either_server,
        "CREATE TABLE t (id serial, v text); INSERT INTO t (v) VALUES ('a'), ('b');"
        "SELECT lo_from_bytea(7, 'large')",
    )
    backup = shop.backup()
    staged = shop.restored(backup=str(backup), restore_id="r1", state="staged")["staged"]
    _opened(shop, staged, statement)

    result = shop.restored(backup=str(backup), restore_id="r1")

    assert "restore" in result["times"]
    assert content_of(shop) == "a,b"
    assert shop.one("SELECT last_value FROM t_id_seq") == 2
    assert shop.one("SELECT encode(lo_get(7), 'escape')") == "large"


def _opened(shop: Shop, staged: str, statement: str) -> None:
    """What a superuser can do who means it: open the database, write, and close it again."""
    with shop.server.connect() as connection:
        connection.execute(f'ALTER DATABASE "{staged}" ALLOW_CONNECTIONS true')
        shop.write(statement, staged)
        connection.execute(f'ALTER DATABASE "{staged}" ALLOW_CONNECTIONS false')


def test_restore_proves_again_what_somebody_may_have_been_in(shop: Shop) -> None:
    backup = shop.backup()
    staged = shop.restored(backup=str(backup), restore_id="r1", state="staged")["staged"]
    _opened(shop, staged, "SELECT 1")

    result = shop.restored(backup=str(backup), restore_id="r1")

    assert {"prove", "swap"} <= set(result["times"])
    assert "restore" not in result["times"]


def test_other_checks_are_asked_of_a_staged_database_without_proving_it_again(
    new_shop: Callable[..., Shop], new_postgres_server: PostgresServer
) -> None:
    shop = new_shop(new_postgres_server, "CREATE TABLE t (id int, v text)")
    backup = shop.backup()
    none = [{"name": "no rows", "query": "SELECT count(*) FROM t", "expected": 0}]
    shop.restored(backup=str(backup), restore_id="r1", state="staged")

    asked = shop.restored(backup=str(backup), restore_id="r1", state="staged", checks=none)
    live = shop.restored(backup=str(backup), restore_id="r1", checks=none)

    assert set(asked["times"]) == {"check"}
    assert set(live["times"]) == {"swap"}
    assert live["checks"][0]["outcome"] == "passed"


def test_visitor_who_slips_in_while_checks_are_asked_costs_another_proof(shop: Shop) -> None:
    """The database is open for a moment then; the server's count of sessions tells."""
    backup = shop.backup()
    staged = shop.restored(backup=str(backup), restore_id="r1", state="staged")["staged"]
    ended, got_in = threading.Event(), []

    def knock() -> None:
        while not ended.is_set():
            with contextlib.suppress(psycopg.OperationalError):
                shop.server.connect(staged).close()
                got_in.append(staged)

    crowd = [threading.Thread(target=knock) for _ in range(4)]
    for one in crowd:
        one.start()
    try:
        for number in range(20):
            checks = [{"name": f"{number}", "query": "SELECT count(*) FROM t", "expected": 3}]
            before = len(got_in)
            result = shop.restored(
                backup=str(backup), restore_id="r1", state="staged", checks=checks
            )
            assert "prove" in result["times"] or len(got_in) == before
            if got_in:
                break
    finally:
        ended.set()
        for one in crowd:
            one.join()
    assert content_of(shop) == "a,b,c"


@pytest.mark.parametrize(
    "query", ["SELECT count(*) FROM t", "SELECT 1 FROM nowhere", "SELECT NULL"]
)
def test_restore_stops_at_a_check_that_does_not_pass_and_keeps_what_it_staged(
    shop: Shop, query: str
) -> None:
    backup = shop.backup()
    damage(shop)
    checks = [*HAS_ROWS, {"name": "wrong", "query": query, "expected": 99}]

    result = shop.restore(backup=str(backup), restore_id="r1", checks=checks)

    assert "does not pass 1 of 2 checks: wrong:" in result["msg"]
    assert [check["outcome"] == "passed" for check in result["checks"]] == [True, False]
    assert content_of(shop) == "damaged,damaged"
    corrected = shop.restored(backup=str(backup), restore_id="r1", checks=HAS_ROWS)
    assert {"check", "swap"} <= set(corrected["times"])
    assert "restore" not in corrected["times"]
    assert corrected["checks"][0]["outcome"] == "passed"
