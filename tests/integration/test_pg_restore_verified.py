"""pg_restore_verified on real servers: restored, swapped in, told, and what stays beside it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import (
    read_manifest,
)
from tests.pg_restoring import AWKWARD, HAS_ROWS, RESTORE_ID, Shop, content_of, damage
from tests.real_servers import PostgresServer

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_restore_brings_everything_back_and_says_so(
    new_shop: Callable[..., Shop], either_server: PostgresServer, form: str
) -> None:
    shop = new_shop(either_server, prefix=AWKWARD)
    backup = shop.backup(format=form)
    shop.write('DROP TABLE orders CASCADE; TRUNCATE "Ord""er\'s"; DROP SCHEMA "Ünder" CASCADE')
    damaged = shop.one("SELECT oid FROM pg_database WHERE datname = current_database()")

    result = shop.restored(backup=str(backup), restore_id=RESTORE_ID, amcheck="heapallindexed")

    manifest = read_manifest(backup)
    assert result["changed"]
    assert {name: table["rows"] for name, table in result["tables"].items()} == {
        name: table["rows"] for name, table in manifest.tables.items()
    }
    assert {table["outcome"] for table in result["tables"].values()} == {"passed"}
    assert result["indexes_checked"] > 100
    assert result["downtime_ms"] > 0
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
    damage(shop)

    staged = shop.restored(backup=str(backup), restore_id="r1", state="staged", checks=HAS_ROWS)
    content = content_of(shop)
    again = shop.restored(backup=str(backup), restore_id="r1", state="staged", checks=HAS_ROWS)
    live = shop.restored(backup=str(backup), restore_id="r1", checks=HAS_ROWS)

    assert staged["changed"]
    assert content == "damaged,damaged"
    assert not again["changed"]
    assert again["before"] == again["after"] == staged["after"]
    assert set(live["times"]) == {"swap"}
    assert live["tables"] == staged["tables"]
    assert content_of(shop) == "a,b,c"
    assert content_of(shop, live["predecessor"]) == "damaged,damaged"
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
    first = shop.restored(backup=str(backup), restore_id=RESTORE_ID)
    shop.write("INSERT INTO t (v) VALUES ('new')")

    for state in ("live", "staged"):
        for check in (False, True):
            again = shop.restored(
                backup=str(backup), restore_id=RESTORE_ID, state=state, check=check
            )
            assert not again["changed"]
            assert again["undo"] == first["undo"]
    assert content_of(shop) == "a,b,c,new"

    shutil.rmtree(backup)
    assert not shop.restored(backup=str(backup), restore_id=RESTORE_ID)["changed"]


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
    assert content_of(shop) == "a,b,c"
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
