"""A backup is proved by restoring it, and a restored database counts on from the displaced one."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_lock import lock_key
from tests.module_runner import RunModule
from tests.pg_restoring import Shop
from tests.real_servers import PostgresServer

pytestmark = pytest.mark.integration


def test_backup_is_proved_by_a_restore_that_leaves_nothing_but_the_note(
    new_shop: Callable[..., Shop], either_server: PostgresServer
) -> None:
    shop = new_shop(either_server)
    backup = shop.backup()
    before = shop.names()

    result = shop.restored(backup=str(backup), state="proved")

    noted = json.loads((backup / "proved.json").read_text())
    assert result["changed"]
    assert result["undo"] is None
    assert result["tables"]["public.orders"]["outcome"] == "passed"
    assert noted["times"]["restore"] >= 0
    assert shop.names() == before


def test_backup_that_is_staged_is_restored_anew_from_its_files_and_stays_staged(shop: Shop) -> None:
    backup = shop.backup()
    staged = shop.restored(backup=str(backup), state="staged")["staged"]

    result = shop.restored(backup=str(backup), state="proved")

    assert "restore" in result["times"]
    assert result["after"]["staged"] == [staged]
    assert shop.restored(backup=str(backup), state="staged")["changed"] is False


def test_backup_whose_rows_fail_a_check_is_not_called_proved_any_more(shop: Shop) -> None:
    backup = shop.backup()
    shop.restored(backup=str(backup), state="proved")
    check = {"name": "nobody is called b", "query": "SELECT count(*) FROM t WHERE v = 'b'"}

    result = shop.restore(backup=str(backup), state="proved", checks=[{**check, "expected": 0}])

    assert result["failed"]
    assert "nobody is called b: expected 0, found 1" in result["msg"]
    assert not (backup / "proved.json").exists()
    assert shop.names() == {shop.name}


def test_backup_with_a_flipped_bit_is_not_called_proved_any_more(shop: Shop) -> None:
    backup = shop.backup()
    shop.restored(backup=str(backup), state="proved")
    largest = max((backup / "dump").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(bytes(content))

    result = shop.restore(backup=str(backup), state="proved")

    assert result["failed"]
    assert "is damaged" in result["msg"]
    assert not (backup / "proved.json").exists()


def test_server_that_refuses_a_rehearsal_says_nothing_against_the_backup(shop: Shop) -> None:
    backup = shop.backup()
    shop.restored(backup=str(backup), state="proved")

    result = shop.restore(backup=str(backup), state="proved", login_port=1)

    assert result["failed"]
    assert (backup / "proved.json").exists()


def test_rehearsal_is_foretold_in_check_mode_and_does_nothing(shop: Shop) -> None:
    backup = shop.backup()

    result = shop.restore(backup=str(backup), state="proved", check=True)

    assert result["changed"]
    assert "restore it aside" in result["predicted"]["steps"]
    assert not (backup / "proved.json").exists()
    assert shop.names() == {shop.name}


def test_rollback_does_not_wait_for_a_rehearsal_of_the_same_backup(shop: Shop) -> None:
    backup = shop.backup()
    with shop.server.connect() as rehearsing:
        key = list(lock_key(f"{shop.name} proving {backup.name}"))
        rehearsing.execute("SELECT pg_advisory_lock(%s, %s)", key)
        again = shop.restore(backup=str(backup), state="proved", lock_timeout=0.1)
        live = shop.restore(backup=str(backup), restore_id="inc-1", lock_timeout=0.1)

    assert again["failed"]
    assert not live.get("failed"), live


def test_restored_database_counts_on_from_the_one_it_displaces(shop: Shop) -> None:
    backup = shop.backup()
    shop.write("INSERT INTO t (v) SELECT 'after the backup' FROM generate_series(1, 40)")

    shop.restored(backup=str(backup), restore_id="inc-1")
    first = shop.one("INSERT INTO t (v) VALUES ('after the restore') RETURNING id")
    shop.restored(restore_id="inc-1", state="previous")
    second = shop.one("INSERT INTO t (v) VALUES ('after the undo') RETURNING id")

    assert (first, second) == (44, 45)


def test_info_names_what_is_staged_live_and_kept(shop: Shop, run_module: RunModule) -> None:
    first, second = shop.backup(), shop.backup()
    displaced = shop.restored(backup=str(first), restore_id="inc-1")["predecessor"]
    staged = shop.restored(backup=str(second), state="staged")["staged"]

    info = run_module("pg_restore_info", shop.args())

    assert info["live"]["backup"] == first.name
    assert [(one["name"], one["backup"]) for one in info["staged"]] == [(staged, second.name)]
    assert [(one["name"], one["by"]) for one in info["predecessors"]] == [(displaced, "inc-1")]


def test_info_about_a_database_that_is_not_there_says_so(shop: Shop, run_module: RunModule) -> None:
    info = run_module("pg_restore_info", {**shop.args(), "database": "nowhere"})

    assert (info["live"], info["staged"], info["predecessors"]) == (None, [], [])
