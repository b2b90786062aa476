"""pg_restore_verified refuses in words what would fail later, before anything changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_lock import lock_key
from tests.pg_restoring import HAS_ROWS, Shop, content_of, damage, doctored
from tests.real_servers import PostgresServer

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"backup": "/nowhere"}, "there is no manifest", id="no backup"),
        pytest.param({"bin_dir": "/nowhere"}, "cannot be run", id="no pg_restore"),
        pytest.param({"login_port": 1}, "cannot connect", id="no server"),
        pytest.param({"database": "postgres"}, "set maintenance_db", id="maintenance database"),
        pytest.param({"keep_predecessors": 0}, "no way back", id="no predecessor"),
        pytest.param({"checks": HAS_ROWS * 2}, "two checks are named", id="checks of one name"),
    ],
)
def test_restore_refuses_in_words(shop: Shop, options: dict[str, Any], words: str) -> None:
    backup = shop.backup()

    result = shop.run_module(
        "pg_restore_verified", {**shop.args(backup=str(backup), restore_id="r1"), **options}
    )

    assert words in result["msg"]
    assert shop.names() == {shop.name}
    assert shop.server.password not in str(result)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(
            {"roles": ["nobody ü"]}, "needs roles that the server lacks: nobody ü", id="role"
        ),
        pytest.param(
            {"extensions": {"warp": "1"}}, "needs extensions that the server lacks: warp", id="ext"
        ),
        pytest.param({"tablespaces": ["fast"]}, "needs tablespaces", id="tablespace"),
        pytest.param({"client_version": 990000}, "was written by pg_dump 99", id="newer client"),
        pytest.param({"server_version": 990000}, "is of PostgreSQL 99", id="newer server"),
        pytest.param({"database_bytes": 1 << 60}, "make room", id="disk"),
    ],
)
def test_restore_refuses_what_the_server_cannot_hold(
    shop: Shop, changes: dict[str, Any], words: str
) -> None:
    backup = shop.backup()
    doctored(backup, **changes)

    for check in (True, False):
        result = shop.restore(backup=str(backup), restore_id="r1", check=check)
        assert words in result["msg"]
        assert "Nothing was changed" in result["msg"]
    assert shop.names() == {shop.name}


def test_restore_refuses_a_dump_of_a_newer_server(
    shop: Shop, old_postgres_server: PostgresServer
) -> None:
    backup = shop.backup()

    result = shop.run_module(
        "pg_restore_verified",
        {**old_postgres_server.login, "database": "other", "backup": str(backup)},
    )

    assert "the dump was written by pg_dump 18" in result["msg"]
    assert "the server is PostgreSQL 15" in result["msg"]


def test_restore_takes_a_dump_of_an_older_server(
    new_shop: Callable[..., Shop],
    old_postgres_server: PostgresServer,
    new_postgres_server: PostgresServer,
) -> None:
    old, new = new_shop(old_postgres_server), new_shop(new_postgres_server, "CREATE TABLE x ()")
    backup = old.backup()

    result = new.restored(backup=str(backup), restore_id="r1")

    assert result["tables"]["public.orders"]["rows"] == 500


@pytest.mark.parametrize(
    ("statement", "undo", "words", "kind"),
    [
        pytest.param(
            "SELECT pg_create_logical_replication_slot('sl', 'pgoutput')",
            "SELECT pg_drop_replication_slot('sl')",
            "logical replication slots that a swap would leave behind: sl",
            "replication_slots",
            id="slot",
        ),
        pytest.param(
            "CREATE PUBLICATION p FOR ALL TABLES",
            "DROP PUBLICATION p",
            "publications that a swap would leave behind: p",
            "publications",
            id="publication",
        ),
        pytest.param(
            "CREATE SUBSCRIPTION s CONNECTION 'host=nowhere' PUBLICATION p"
            " WITH (connect = false, slot_name = NONE)",
            "DROP SUBSCRIPTION s",
            "subscriptions that a swap would leave behind: s",
            "subscriptions",
            id="subscription",
        ),
    ],
)
def test_restore_refuses_to_strand_replication_unless_told_to(
    shop: Shop, statement: str, undo: str, words: str, kind: str
) -> None:
    backup = shop.backup()
    shop.write(statement)
    try:
        for state in ("staged", "live"):
            for check in (True, False):
                result = shop.restore(backup=str(backup), restore_id="r1", state=state, check=check)
                assert words in result["msg"]
                assert "Nothing was changed" in result["msg"]
        accepted = shop.restored(backup=str(backup), restore_id="r1", accept=[kind])
        shop.write(undo, accepted["predecessor"])
    except BaseException:
        shop.write(undo)
        raise


def test_restore_refuses_while_a_prepared_transaction_is_open(shop: Shop) -> None:
    backup = shop.backup()
    shop.write("BEGIN; UPDATE t SET v = 'p'; PREPARE TRANSACTION 'it''s'")

    for options in ({"state": "live"}, {"state": "staged"}, {"check": True}):
        result = shop.restore(backup=str(backup), restore_id="r1", **options)
        assert "prepared transactions, with which a database cannot be renamed" in result["msg"]
    shop.write("ROLLBACK PREPARED 'it''s'")
    assert shop.restored(backup=str(backup), restore_id="r1")["changed"]


def test_restore_refuses_while_another_one_runs(shop: Shop) -> None:
    backup = shop.backup()
    with shop.server.connect() as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", list(lock_key(shop.name)))
        holder = other.info.backend_pid

        foreseen = shop.restore(backup=str(backup), restore_id="r1", check=True)
        result = shop.restore(backup=str(backup), restore_id="r1", lock_timeout=0.2)

    assert "another restore of" in foreseen["msg"]
    assert f"session {holder} of postgres" in result["msg"]
    assert shop.names() == {shop.name}


def test_restore_refuses_a_role_that_may_not(shop: Shop) -> None:
    backup = shop.backup()
    with shop.server.connect() as connection:
        connection.execute("CREATE ROLE weak LOGIN PASSWORD 'weak-password'")
    login = {"login_user": "weak", "login_password": "weak-password"}
    try:
        result = shop.restore(backup=str(backup), restore_id="r1", **login)
    finally:
        with shop.server.connect() as connection:
            connection.execute("DROP ROLE weak")

    for words in ("may not create databases", "amcheck needs", "not a member of", "may not end"):
        assert words in result["msg"]


def test_restore_needs_no_superuser(shop: Shop) -> None:
    with shop.server.connect() as connection:
        connection.execute("CREATE ROLE owner LOGIN CREATEDB PASSWORD 'owner-password'")
        connection.execute("GRANT pg_signal_backend TO owner")
        connection.execute(f'ALTER DATABASE "{shop.name}" OWNER TO owner')
    shop.write("ALTER TABLE t OWNER TO owner; ALTER SCHEMA public OWNER TO owner")
    login = {"login_user": "owner", "login_password": "owner-password"}
    try:
        backup = shop.backup(**login)
        damage(shop)
        with shop.server.connect() as connection:
            connection.execute("CREATE ROLE customer LOGIN PASSWORD 'owner-password'")
        customer = {"user": "customer", "password": "owner-password", "dbname": shop.name}
        with psycopg.connect(host="127.0.0.1", port=shop.server.port, **customer) as session:
            shop.restored(backup=str(backup), restore_id="r1", amcheck="none", **login)
            with pytest.raises(psycopg.OperationalError):
                session.execute("SELECT 1")
        assert content_of(shop) == "a,b,c"
        shop.restored(restore_id="r1", state="previous", **login)
        assert content_of(shop) == "damaged,damaged"
    finally:
        shop.drop()
        with shop.server.connect() as connection:
            connection.execute("DROP ROLE owner")
            connection.execute("DROP ROLE IF EXISTS customer")


def test_restore_does_not_touch_a_foreign_database_in_its_place(shop: Shop) -> None:
    backup = shop.backup()
    name = shop.restored(backup=str(backup), state="staged")["staged"]
    with shop.server.connect() as connection:
        connection.execute(f"COMMENT ON DATABASE \"{name}\" IS 'mine'")

    result = shop.restore(backup=str(backup), restore_id="r1")

    assert "is not one that this module staged" in result["msg"]
    assert name in shop.names()
