"""pg_restore_verified on real servers: what is proved, refused, swapped, kept and brought back."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ansible_collections.sre.rollback.plugins.module_utils._pg_dump_files import verify_files
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import (
    Manifest,
    manifest_text,
    read_manifest,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_lock import lock_key
from tests.pg_restoring import AWKWARD, Shop
from tests.real_servers import PostgresServer

pytestmark = pytest.mark.integration

_ID = "2026-11-22T04-40-12Z-full-lab-3f2a"
_ONE = [{"name": "there are rows", "query": "SELECT count(*) > 0 FROM t", "expected": True}]


def _damage(shop: Shop) -> None:
    shop.write("DELETE FROM t WHERE id = 1; UPDATE t SET v = 'damaged'")


def _content(shop: Shop, database: str | None = None) -> str:
    value: str = shop.one("SELECT string_agg(v, ',' ORDER BY id) FROM t", database)
    return value


# --- the way through -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_restore_brings_everything_back_and_says_so(
    new_shop: Callable[..., Shop], either_server: PostgresServer, form: str
) -> None:
    shop = new_shop(either_server, prefix=AWKWARD)
    backup = shop.backup(format=form)
    shop.write('DROP TABLE orders CASCADE; TRUNCATE "Ord""er\'s"; DROP SCHEMA "Ünder" CASCADE')
    damaged = shop.one("SELECT oid FROM pg_database WHERE datname = current_database()")

    result = shop.restored(backup=str(backup), restore_id=_ID, amcheck="heapallindexed")

    manifest = read_manifest(backup)
    assert result["changed"]
    assert {name: table["rows"] for name, table in result["tables"].items()} == {
        name: table["rows"] for name, table in manifest.tables.items()
    }
    assert {table["outcome"] for table in result["tables"].values()} == {"passed"}
    assert result["indexes_checked"] > 100
    assert result["downtime_ms"] < 1000
    assert set(result["times"]) == {
        *("read", "restore", "analyze", "prove", "amcheck", "swap"),
    }
    assert shop.one("SELECT count(*) FROM orders WHERE with_tax = total * 1.2") == 500
    assert shop.one("""SELECT nextval('"Ünder"."Nö"')""") == -7
    kept = result["predecessor"]
    assert kept in shop.names()
    assert len(kept.encode()) <= 63
    assert (
        shop.one("SELECT oid FROM pg_database WHERE datname = current_database()", kept) == damaged
    )


def test_restore_swaps_what_was_staged_before(shop: Shop) -> None:
    backup = shop.backup()
    _damage(shop)

    staged = shop.restored(backup=str(backup), restore_id="r1", state="staged", checks=_ONE)
    content = _content(shop)
    again = shop.restored(backup=str(backup), restore_id="r1", state="staged", checks=_ONE)
    live = shop.restored(backup=str(backup), restore_id="r1", checks=_ONE)

    assert staged["changed"]
    assert content == "damaged,damaged"
    assert not again["changed"]
    assert again["before"] == again["after"] == staged["after"]
    assert set(live["times"]) == {"swap"}
    assert live["elapsed"] < 2
    assert live["tables"] == staged["tables"]
    assert _content(shop) == "a,b,c"
    assert _content(shop, live["predecessor"]) == "damaged,damaged"
    assert live["staged"] is None
    assert live["after"] == {
        "live": {
            "oid": shop.one("SELECT oid::int8 FROM pg_database WHERE datname = current_database()"),
            "backup": backup.name,
            "restore_id": "r1",
        },
        "staged": [],
        "predecessors": [live["predecessor"]],
    }


def test_restore_of_one_id_happens_once(shop: Shop) -> None:
    backup = shop.backup()
    first = shop.restored(backup=str(backup), restore_id=_ID)
    shop.write("INSERT INTO t (v) VALUES ('new')")

    for state in ("live", "staged"):
        for check in (False, True):
            again = shop.restored(backup=str(backup), restore_id=_ID, state=state, check=check)
            assert not again["changed"]
            assert again["undo"] == first["undo"]
    assert _content(shop) == "a,b,c,new"

    shutil.rmtree(backup)
    assert not shop.restored(backup=str(backup), restore_id=_ID)["changed"]


def test_restore_refuses_an_id_that_was_of_another_backup(shop: Shop) -> None:
    first, second = shop.backup(), shop.backup()
    shop.restored(backup=str(first), restore_id="r1")

    result = shop.restore(backup=str(second), restore_id="r1")

    assert f"has already brought backup {first.name} live" in result["msg"]


def test_restore_without_an_id_restores_each_time(shop: Shop) -> None:
    backup = shop.backup()

    first, second = (shop.restored(backup=str(backup)) for _ in range(2))

    assert first["changed"]
    assert second["changed"]
    assert first["restore_id"] != second["restore_id"]


def test_restore_makes_a_database_that_is_gone(shop: Shop) -> None:
    shop.write(
        f"ALTER DATABASE \"{shop.name}\" SET work_mem = '7MB';"
        f"COMMENT ON DATABASE \"{shop.name}\" IS 'the shop'"
    )
    backup = shop.backup()
    with shop.server.connect() as connection:
        connection.execute(f'DROP DATABASE "{shop.name}"')

    result = shop.restored(backup=str(backup), restore_id="r1")

    assert (result["predecessor"], result["undo"]) == (None, None)
    assert result["undo_reason"] == "there was no database of this name before"
    assert _content(shop) == "a,b,c"
    assert shop.one("SHOW work_mem") == "7MB"


def test_restore_carries_over_what_belongs_to_the_live_database(
    new_shop: Callable[..., Shop], either_server: PostgresServer
) -> None:
    shop = new_shop(either_server, "CREATE TABLE t (id int, v text)", prefix=AWKWARD)
    backup = shop.backup()
    with shop.server.connect() as connection:
        name = '"' + shop.name.replace('"', '""') + '"'
        for statement in (
            f"ALTER DATABASE {name} OWNER TO app",
            f"ALTER DATABASE {name} CONNECTION LIMIT 77",
            f'ALTER DATABASE {name} SET search_path = "$user", public, "Ünder"',
            f"ALTER DATABASE {name} SET DateStyle = 'SQL, DMY'",
            f"ALTER DATABASE {name} SET my.own = 'it''s \\ so'",
            f"ALTER ROLE app IN DATABASE {name} SET work_mem = '9MB'",
            f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC",
            f'GRANT CREATE ON DATABASE {name} TO "Röle ""x""" WITH GRANT OPTION',
            f"COMMENT ON DATABASE {name} IS 'rückwärts: it''s\nours'",
        ):
            connection.execute(statement)
    query = """
        SELECT pg_get_userbyid(datdba), datconnlimit, datcollate, pg_encoding_to_char(encoding),
          (SELECT array_agg(x::text ORDER BY x::text) FROM unnest(datacl) x), (SELECT array_agg(
            concat_ws(' ', setrole::regrole, setconfig::text) ORDER BY setrole)
            FROM pg_db_role_setting s WHERE s.setdatabase = d.oid),
          split_part(shobj_description(oid, 'pg_database'), E'\nrollback-playbook', 1)
        FROM pg_database d WHERE datname = %s"""

    def properties() -> Any:
        with shop.server.connect() as connection:
            return connection.execute(query, [shop.name]).fetchone()

    before = properties()
    shop.restored(backup=str(backup), restore_id="r1", state="staged")
    shop.restored(backup=str(backup), restore_id="r1")

    assert properties() == before
    shop.restored(restore_id="r1", state="previous")
    assert properties() == before


def test_restore_ends_sessions_and_leaves_others_alone(shop: Shop) -> None:
    backup = shop.backup()
    with shop.server.connect(shop.name) as user, shop.server.connect() as other:
        shop.restored(backup=str(backup), restore_id="r1")

        with pytest.raises(psycopg.OperationalError):
            user.execute("SELECT 1")
        other.execute("SELECT 1")


# --- the way back --------------------------------------------------------------------------------


def test_previous_brings_the_predecessor_back_once_and_its_undo_the_restored_one(
    shop: Shop,
) -> None:
    backup = shop.backup()
    _damage(shop)
    restored = shop.restored(backup=str(backup), restore_id=_ID)
    shop.write("INSERT INTO t (v) VALUES ('since')")

    back = shop.restored(restore_id=_ID, state="previous")
    assert _content(shop) == "damaged,damaged"
    again = shop.restored(restore_id=_ID, state="previous")
    assert (again["changed"], again["after"]) == (False, back["after"])
    assert _content(shop, back["predecessor"]) == "a,b,c,since"

    redone = shop.restored(**_undo(back))
    assert redone["changed"]
    assert _content(shop) == "a,b,c,since"
    assert not shop.restored(**_undo(back))["changed"]
    assert not shop.restored(backup=str(backup), restore_id=_ID)["changed"]

    assert shop.restored(restore_id=_ID, state="previous")["changed"]
    assert _content(shop) == "damaged,damaged"
    assert restored["undo"]["module"] == back["undo"]["module"]


def _undo(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result["undo"]["args"].items() if name != "database"}


def test_previous_undoes_restores_one_after_the_other(shop: Shop) -> None:
    backup = shop.backup()
    shop.write("INSERT INTO t (v) VALUES ('0')")
    shop.restored(backup=str(backup), restore_id="r1")
    shop.write("INSERT INTO t (v) VALUES ('1')")
    shop.restored(backup=str(backup), restore_id="r2")

    shop.restored(restore_id="r2", state="previous")
    assert _content(shop) == "a,b,c,1"
    shop.restored(restore_id="r1", state="previous")
    assert _content(shop) == "a,b,c,0"


def test_previous_without_a_name_takes_what_was_displaced_last(shop: Shop) -> None:
    backup = shop.backup()
    _damage(shop)
    shop.restored(backup=str(backup), restore_id="r1")

    assert shop.restored(state="previous")["changed"]
    assert _content(shop) == "damaged,damaged"
    assert not shop.restored(state="previous")["changed"]


@pytest.mark.parametrize("options", [{}, {"restore_id": "r9"}, {"predecessor": "nowhere"}])
def test_previous_refuses_when_there_is_none(shop: Shop, options: dict[str, str]) -> None:
    result = shop.restore(state="previous", **options)

    assert "to go back to" in result["msg"] or "nothing to go" in result["msg"]
    assert "Nothing was changed" in result["msg"]


def test_live_after_previous_restores_the_backup_again(shop: Shop) -> None:
    backup = shop.backup()
    _damage(shop)
    shop.restored(backup=str(backup), restore_id="r1")
    shop.write("INSERT INTO t (v) VALUES ('since')")
    shop.restored(restore_id="r1", state="previous")

    result = shop.restored(backup=str(backup), restore_id="r1")

    assert result["changed"]
    assert _content(shop) == "a,b,c"
    assert shop.restored(restore_id="r1", state="previous")["changed"]
    assert _content(shop) == "damaged,damaged"


# --- what is kept and what is dropped ------------------------------------------------------------


def test_restore_keeps_as_many_predecessors_as_it_is_told(shop: Shop) -> None:
    backup = shop.backup()
    kept = [
        shop.restored(backup=str(backup), restore_id=f"r{n}", keep_predecessors=2)["predecessor"]
        for n in range(3)
    ]
    with shop.server.connect(kept[1]):
        busy = shop.restored(backup=str(backup), restore_id="r3", keep_predecessors=2)
        assert busy["removed"] == []

    last = shop.restored(backup=str(backup), restore_id="r4", keep_predecessors=1)

    assert set(last["removed"]) == {kept[1], kept[2], busy["predecessor"]}
    assert shop.names() == {shop.name, last["predecessor"]}


def test_stage_keeps_as_many_as_it_is_told(shop: Shop) -> None:
    names = [
        shop.restored(backup=str(shop.backup()), state="staged", keep_staged=2)["staged"]
        for _ in range(3)
    ]

    assert shop.names() == {shop.name, *names[1:]}


# --- damaged, swapped and doctored backups -------------------------------------------------------


def _all_files(backup: Path) -> list[Path]:
    return sorted(path for path in backup.rglob("*") if path.is_file())


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_restore_finds_a_flipped_bit_wherever_it_is(shop: Shop, form: str) -> None:
    backup = shop.backup(format=form)
    names = shop.names()
    chance = random.Random(20261122)  # noqa: S311
    for path in _all_files(backup):
        whole = path.read_bytes()
        for _ in range(3):
            at = chance.randrange(len(whole))
            flipped = bytearray(whole)
            flipped[at] ^= 1 << chance.randrange(8)
            path.write_bytes(flipped)
            for check in (True, False):
                result = shop.restore(backup=str(backup), restore_id="r1", check=check)
                assert result.get("failed"), (path, at)
                assert "Nothing was changed" in result["msg"]
        path.write_bytes(whole)
    assert shop.names() == names
    shop.restored(backup=str(backup), restore_id="r1", check=True)


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_restore_finds_a_file_that_was_cut_or_lost(shop: Shop, form: str) -> None:
    backup = shop.backup(format=form)
    chance = random.Random(7)  # noqa: S311
    for path in _all_files(backup):
        whole = path.read_bytes()
        for length in {0, 1, len(whole) - 1, chance.randrange(len(whole))}:
            path.write_bytes(whole[:length])
            assert shop.restore(backup=str(backup), restore_id="r1").get("failed"), (path, length)
        path.unlink()
        assert shop.restore(backup=str(backup), restore_id="r1").get("failed"), path
        path.write_bytes(whole)
    assert shop.names() == {shop.name}


def test_restore_finds_swapped_manifests(shop: Shop) -> None:
    first = shop.backup()
    shop.write("INSERT INTO t (v) VALUES ('d')")
    second = shop.backup()
    texts = [(one / "manifest.json").read_text() for one in (first, second)]
    for one, text in zip((first, second), reversed(texts), strict=True):
        (one / "manifest.json").write_text(text)

    for one in (first, second):
        result = shop.restore(backup=str(one), restore_id="r1")
        assert "manifest belongs to another dump" in result["msg"]
    assert shop.names() == {shop.name}


def test_restore_finds_a_file_that_the_manifest_does_not_know(shop: Shop) -> None:
    backup = shop.backup()
    (backup / "dump" / "9999.dat").write_text("1\n")

    assert "not in the manifest" in shop.restore(backup=str(backup))["msg"]


def _doctored(backup: Path, **changes: Any) -> None:
    """Write a manifest whose own checksum is right."""
    manifest = read_manifest(backup)
    changed = Manifest(
        **{**{name: getattr(manifest, name) for name in Manifest.__dataclass_fields__}, **changes}
    )
    (backup / "manifest.json").write_text(manifest_text(changed))
    verify_files(backup, changed)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        pytest.param("INSERT INTO t (v) VALUES ('d')", "has 4 rows instead of 3", id="added"),
        pytest.param("DELETE FROM t WHERE id = 2", "has 2 rows instead of 3", id="removed"),
        pytest.param("UPDATE t SET v = 'B' WHERE id = 2", "but others", id="changed"),
        pytest.param("CREATE TABLE u ()", "not in the backup's manifest", id="a table more"),
        pytest.param("SELECT nextval('t_id_seq')", "sequence public.t_id_seq is at 4", id="drawn"),
        pytest.param("GRANT SELECT ON t TO app", "has grants", id="granted"),
        pytest.param("ALTER TABLE t OWNER TO app", "belongs to app", id="owner"),
        pytest.param("CREATE INDEX i ON t (v)", "index public.i is not in the", id="an index more"),
        pytest.param("ALTER TABLE t DROP CONSTRAINT t_pkey", "t_pkey is missing", id="no key"),
        pytest.param(
            "ALTER TABLE t ALTER v SET DEFAULT 'x'", "is defined otherwise", id="another default"
        ),
        pytest.param(
            "SELECT lo_create(1)", "large objects has 1 rows instead of 0", id="an object"
        ),
    ],
)
def test_restore_finds_what_a_dump_has_behind_its_manifests_back(
    shop: Shop, statement: str, words: str
) -> None:
    told = read_manifest(shop.backup())
    shop.write(statement)
    backup = shop.backup()
    _doctored(
        backup,
        tables=told.tables,
        sequences=told.sequences,
        objects=told.objects,
        large_objects=told.large_objects,
    )
    live = shop.one("SELECT oid FROM pg_database WHERE datname = current_database()")

    result = shop.restore(backup=str(backup), restore_id="r1")

    assert words in result["msg"]
    assert "The live database was not touched" in result["msg"]
    assert shop.names() == {shop.name}
    assert shop.one("SELECT oid FROM pg_database WHERE datname = current_database()") == live


# --- nobody in between ----------------------------------------------------------------------------


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
    assert _content(shop) == "a,b"
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
    assert _content(shop) == "a,b,c"


# --- the caller's checks -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query", ["SELECT count(*) FROM t", "SELECT 1 FROM nowhere", "SELECT NULL"]
)
def test_restore_stops_at_a_check_that_does_not_pass_and_keeps_what_it_staged(
    shop: Shop, query: str
) -> None:
    backup = shop.backup()
    _damage(shop)
    checks = [*_ONE, {"name": "wrong", "query": query, "expected": 99}]

    result = shop.restore(backup=str(backup), restore_id="r1", checks=checks)

    assert "does not pass 1 of 2 checks: wrong:" in result["msg"]
    assert [check["outcome"] == "passed" for check in result["checks"]] == [True, False]
    assert _content(shop) == "damaged,damaged"
    corrected = shop.restored(backup=str(backup), restore_id="r1", checks=_ONE)
    assert {"check", "swap"} <= set(corrected["times"])
    assert "restore" not in corrected["times"]
    assert corrected["checks"][0]["outcome"] == "passed"


# --- preflight -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"backup": "/nowhere"}, "there is no manifest", id="no backup"),
        pytest.param({"bin_dir": "/nowhere"}, "cannot be run", id="no pg_restore"),
        pytest.param({"login_port": 1}, "cannot connect", id="no server"),
        pytest.param({"database": "postgres"}, "set maintenance_db", id="maintenance database"),
        pytest.param({"keep_predecessors": 0}, "no way back", id="no predecessor"),
        pytest.param({"checks": _ONE * 2}, "two checks are named", id="checks of one name"),
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
    _doctored(backup, **changes)

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
        _damage(shop)
        with shop.server.connect(shop.name):
            shop.write("ALTER TABLE t ADD x int")
        shop.restored(backup=str(backup), restore_id="r1", amcheck="none", **login)
        assert _content(shop) == "a,b,c"
        shop.restored(restore_id="r1", state="previous", **login)
        assert _content(shop) == "damaged,damaged"
    finally:
        shop.drop()
        with shop.server.connect() as connection:
            connection.execute("DROP ROLE owner")


def test_restore_does_not_touch_a_foreign_database_in_its_place(shop: Shop) -> None:
    backup = shop.backup()
    name = shop.restored(backup=str(backup), state="staged")["staged"]
    with shop.server.connect() as connection:
        connection.execute(f"COMMENT ON DATABASE \"{name}\" IS 'mine'")

    result = shop.restore(backup=str(backup), restore_id="r1")

    assert "is not one that this module staged" in result["msg"]
    assert name in shop.names()


# --- check mode, progress, output ----------------------------------------------------------------


def test_restore_in_check_mode_foresees_what_happens(shop: Shop) -> None:
    backup = shop.backup()
    names = shop.names()

    foreseen = shop.restored(backup=str(backup), restore_id="r1", check=True, diff=True)
    assert shop.names() == names
    staging = shop.restored(backup=str(backup), restore_id="r1", state="staged", check=True)
    staged = shop.restored(backup=str(backup), restore_id="r1", state="staged")
    ready = shop.restored(backup=str(backup), restore_id="r1", check=True)
    live = shop.restored(backup=str(backup), restore_id="r1")
    undoing = shop.restored(restore_id="r1", state="previous", check=True)
    undone = shop.restored(restore_id="r1", state="previous")

    assert staging["after"] == staged["after"]
    assert foreseen["predicted"]["basis"].startswith("its size alone")
    assert foreseen["predicted"]["seconds"] > ready["predicted"]["seconds"]
    assert ready["predicted"]["basis"].startswith("the restore of ")
    assert ready["predicted"]["steps"][-1] == (
        f"swap {staged['staged']} in as {shop.name}, keep what is live as {live['predecessor']}"
    )
    for before in (foreseen, ready):
        expected = {**live["after"], "live": {**live["after"]["live"], "oid": None}}
        assert before["after"] == expected
        assert before["undo"] == live["undo"]
    assert foreseen["diff"]["after"] == foreseen["after"]
    assert undoing["after"]["live"] == undone["after"]["live"]
    assert undoing["predecessor"] == undone["predecessor"]


def test_restore_says_how_far_it_is(shop: Shop, tmp_path: Path) -> None:
    shop.write("INSERT INTO t (v) SELECT repeat('x', 900) FROM generate_series(1, 60000)")
    backup = shop.backup()
    path = tmp_path / "progress.json"
    seen: list[dict[str, Any]] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            if path.exists():
                seen.append(json.loads(path.read_text()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        shop.restored(backup=str(backup), restore_id="r1", progress_path=str(path))
    finally:
        stop.set()
        watcher.join()

    percents = [one["percent"] for one in seen]
    assert percents == sorted(percents)
    assert {"restore", "prove"} <= {one["phase"] for one in seen}
    restoring = [one for one in seen if one["phase"] == "restore"]
    assert max(one["bytes"] for one in restoring) > 5_000_000
    assert restoring[-1]["total_bytes"] == read_manifest(backup).database_bytes
    assert json.loads(path.read_text())["percent"] == 100


def test_restore_notes_its_proof_beside_the_backup(shop: Shop) -> None:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_backups import describe

    backup = shop.backup()
    assert describe(backup).proved is None

    shop.restored(backup=str(backup), restore_id="r1", state="staged")

    proved = describe(backup).proved
    assert proved is not None
    assert proved["times"]["restore"] > 0
    assert describe(backup).complete
