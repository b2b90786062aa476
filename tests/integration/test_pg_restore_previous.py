"""pg_restore_verified goes back: the predecessor is live again, and so is what it displaced."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.sre.rollback.plugins.module_utils import _pg_restore_swap
from tests.pg_restoring import RESTORE_ID, Shop, content_of, damage

pytestmark = pytest.mark.integration


def test_previous_brings_the_predecessor_back_once_and_its_undo_the_restored_one(
    shop: Shop,
) -> None:
    backup = shop.backup()
    damage(shop)
    restored = shop.restored(backup=str(backup), restore_id=RESTORE_ID)
    shop.write("INSERT INTO t (v) VALUES ('since')")

    back = shop.restored(restore_id=RESTORE_ID, state="previous")
    assert content_of(shop) == "damaged,damaged"
    again = shop.restored(restore_id=RESTORE_ID, state="previous")
    assert (again["changed"], again["after"]) == (False, back["after"])
    assert content_of(shop, back["predecessor"]) == "a,b,c,since"

    redone = shop.restored(**_undo(back))
    assert redone["changed"]
    assert content_of(shop) == "a,b,c,since"
    assert not shop.restored(**_undo(back))["changed"]
    assert not shop.restored(backup=str(backup), restore_id=RESTORE_ID)["changed"]

    assert shop.restored(restore_id=RESTORE_ID, state="previous")["changed"]
    assert content_of(shop) == "damaged,damaged"
    assert restored["undo"]["module"] == back["undo"]["module"]


def _undo(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result["undo"]["args"].items() if name != "database"}


def test_what_was_displaced_last_is_never_dropped_even_if_the_clock_stands_still(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pg_restore_swap, "moment", lambda: "2026-11-22T03:00:00.000000Z")
    backup = shop.backup()
    damage(shop)
    once = {"backup": str(backup), "restore_id": RESTORE_ID, "keep_predecessors": 1}
    shop.restored(**once)
    shop.restored(restore_id=RESTORE_ID, state="previous")

    again = shop.restored(**once)

    assert shop.names() == {shop.name, again["predecessor"]}
    assert content_of(shop, again["predecessor"]) == "damaged,damaged"


def test_predecessor_whose_removal_was_cut_off_is_no_way_back_and_the_next_restore_removes_it(
    shop: Shop,
) -> None:
    backup = shop.backup()
    lost = shop.restored(backup=str(backup), restore_id="r1")["predecessor"]
    with shop.server.connect() as connection:
        # What DROP DATABASE leaves when the server ends meanwhile.
        connection.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = %s", [lost])

    refused = shop.restore(restore_id="r1", state="previous")
    again = shop.restored(backup=str(backup), restore_id="r2")

    assert refused["failed"]
    assert "no predecessor of restore 'r1' to go back to" in refused["msg"]
    assert again["removed"] == [lost]
    assert shop.names() == {shop.name, again["predecessor"]}


def test_previous_undoes_restores_one_after_the_other(shop: Shop) -> None:
    backup = shop.backup()
    shop.write("INSERT INTO t (v) VALUES ('0')")
    shop.restored(backup=str(backup), restore_id="r1")
    shop.write("INSERT INTO t (v) VALUES ('1')")
    shop.restored(backup=str(backup), restore_id="r2")

    shop.restored(restore_id="r2", state="previous")
    assert content_of(shop) == "a,b,c,1"
    shop.restored(restore_id="r1", state="previous")
    assert content_of(shop) == "a,b,c,0"


def test_previous_without_a_name_takes_what_was_displaced_last(shop: Shop) -> None:
    backup = shop.backup()
    damage(shop)
    shop.restored(backup=str(backup), restore_id="r1")

    assert shop.restored(state="previous")["changed"]
    assert content_of(shop) == "damaged,damaged"
    assert not shop.restored(state="previous")["changed"]


@pytest.mark.parametrize("options", [{}, {"restore_id": "r9"}, {"predecessor": "nowhere"}])
def test_previous_refuses_when_there_is_none(shop: Shop, options: dict[str, str]) -> None:
    result = shop.restore(state="previous", **options)

    assert "to go back to" in result["msg"] or "nothing to go" in result["msg"]
    assert "Nothing was changed" in result["msg"]


def test_live_after_previous_restores_the_backup_again(shop: Shop) -> None:
    backup = shop.backup()
    damage(shop)
    shop.restored(backup=str(backup), restore_id="r1")
    shop.write("INSERT INTO t (v) VALUES ('since')")
    shop.restored(restore_id="r1", state="previous")

    result = shop.restored(backup=str(backup), restore_id="r1")

    assert result["changed"]
    assert content_of(shop) == "a,b,c"
    assert shop.restored(restore_id="r1", state="previous")["changed"]
    assert content_of(shop) == "damaged,damaged"
