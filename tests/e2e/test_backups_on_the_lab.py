"""Backups that are proved and staged, what a rollback costs, and rows that come back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from rollback_playbook.lab import lifecycle, seeding
from rollback_playbook.lab.orders import WITHOUT_DISCOUNT, place_orders
from tests.e2e.conftest import Operator
from tests.e2e.killing import processes_left

pytestmark = [pytest.mark.e2e, pytest.mark.drill, pytest.mark.timeout(600)]


def _backups(operator: Operator) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        operator.types("backups", "list", "-i", "lab", "--json").stdout
    )
    return found


def _databases(operator: Operator) -> set[str]:
    with seeding.connect(operator.lab.state(), "postgres") as connection:
        rows = connection.execute("SELECT datname FROM pg_database").fetchall()
    return {str(row[0]) for row in rows}


def _totals(operator: Operator) -> list[tuple[object, ...]]:
    with seeding.connect(operator.lab.state(), "shop") as connection:
        return connection.execute("SELECT id, total FROM orders ORDER BY id").fetchall()


def _restored_without_orders(operator: Operator) -> tuple[list[Any], list[Any]]:
    """Four orders are placed behind a backup, which is restored: all orders then, and now."""
    assert operator.types("backups", "create", "-i", "lab").returncode == 0
    place_orders(operator.lab.state().url, 4, customers=WITHOUT_DISCOUNT)
    placed = _totals(operator)
    assert operator.types("database-restore", "-i", "lab").returncode == 0
    return placed, _totals(operator)


def test_backup_is_listed_as_proved_once_a_restore_proved_it_and_nothing_is_left(
    working: Operator,
) -> None:
    assert working.types("backups", "create", "-i", "lab").returncode == 0
    newest = _backups(working)[0]
    before = _databases(working)

    done = working.types("backups", "verify", newest["id"], "-i", "lab")

    assert newest["proved"] is None
    assert done.returncode == 0, done.stderr
    assert "can be restored" in done.stderr
    assert _backups(working)[0]["proved"]["at"]
    assert _databases(working) == before
    assert working.types("incidents", "verify", "last").returncode == 0
    listed = working.types("backups", "list", "-i", "lab").stdout
    assert "never" not in listed.splitlines()[1]


def test_backup_that_is_not_there_is_refused_in_words(working: Operator) -> None:
    for verb in ("verify", "stage"):
        done = working.types("backups", verb, "nope", "-i", "lab")

        assert done.returncode == 3, done.stderr
        assert "There is no backup nope in" in done.stderr
        assert "nothing was changed" in done.stderr


def test_staged_backup_is_only_swapped_in_and_its_cost_is_known_to_the_row(
    working: Operator,
) -> None:
    assert working.types("backups", "create", "-i", "lab").returncode == 0
    newest = _backups(working)[0]["id"]
    staged = working.types("backups", "stage", newest, "-i", "lab")
    place_orders(working.lab.state().url, 3, customers=WITHOUT_DISCOUNT)
    lifecycle.break_release(working.lab.directory)

    done = working.types("full", "-i", "lab", "--json", "-e", "database_count_timeout=60")

    events = [json.loads(line) for line in done.stdout.splitlines()]
    restores = [
        event["data"]["result"]
        for event in events
        if event["type"] == "task.finished"
        and event["data"]["action"] == "sre.rollback.pg_restore_verified"
        and event["data"]["phase"] == "Prepare"
        and event["data"]["status"] != "skipped"
    ]
    at_risk = working.last()["decision"]["data_at_risk"]
    assert staged.returncode == 0, staged.stderr
    assert "is ready" in staged.stderr
    assert done.returncode == 0, done.stderr
    assert [("restore" in result["times"], result["changed"]) for result in restores] == [
        (False, False)
    ]
    assert at_risk["exact"]
    assert at_risk["total"]["added"] == 6
    assert at_risk["total"]["changed"] > 0


def test_cost_of_a_rollback_is_known_before_it_and_the_rows_come_back_afterwards(
    working: Operator,
) -> None:
    assert working.types("backups", "create", "-i", "lab").returncode == 0
    before = _totals(working)
    place_orders(working.lab.state().url, 4, customers=WITHOUT_DISCOUNT)
    placed = _totals(working)
    lifecycle.break_release(working.lab.directory)

    full = working.types("full", "-i", "lab")
    decision = working.last()["decision"]
    restored = _totals(working)
    merged = working.types("data-merge", "-i", "lab")
    after = _totals(working)
    again = working.types("data-merge", "-i", "lab")

    assert full.returncode == 0, full.stderr
    assert "restoring this backup loses 4 order_lines and 4 orders written since" in full.stderr
    assert "counted: an estimate, because this backup is not staged" in full.stderr
    assert "they will be kept in" in full.stderr
    orders = {each["table"]: each for each in decision["data_at_risk"]["tables"]}["public.orders"]
    assert orders["added"] == 4
    assert restored == before
    assert merged.returncode == 0, merged.stderr
    assert after == placed
    assert again.returncode == 0, again.stderr
    assert _totals(working) == placed


def test_undo_of_a_merge_takes_out_what_it_brought_back_and_nothing_else(
    working: Operator,
) -> None:
    placed, restored = _restored_without_orders(working)
    assert working.types("data-merge", "-i", "lab").returncode == 0
    place_orders(working.lab.state().url, 2, customers=WITHOUT_DISCOUNT)
    bought = _totals(working)[len(placed) :]

    undone = working.types("undo", "last")

    assert undone.returncode == 0, undone.stderr
    assert len(bought) == 2
    assert _totals(working) == [*restored, *bought]
    again = working.types("data-merge", "-i", "lab")
    assert again.returncode == 0, again.stderr
    assert _totals(working) == [*placed, *bought]


@pytest.mark.attack
def test_merge_that_was_killed_before_it_could_be_recorded_is_taken_back(
    working: Operator,
) -> None:
    placed, restored = _restored_without_orders(working)

    _kill_once(working, ["data-merge", "-i", "lab"], lambda: _totals(working) == placed)

    assert working.last()["state"] == "open"
    assert processes_left(working) == []
    undone = working.types("undo", "last", "--yes")
    assert undone.returncode == 0, undone.stderr
    assert _totals(working) == restored


def _kill_once(operator: Operator, argv: list[str], seen: Callable[[], bool]) -> None:
    """Kill the command line in the moment in which others see what it did."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rollback_playbook", *argv],
        env=operator.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not seen():
            assert process.poll() is None, "it ended before"
    finally:
        process.kill()
        process.wait()


@pytest.mark.attack
def test_rows_that_the_bad_release_damaged_are_not_merged_into_good_data(
    working: Operator,
) -> None:
    assert working.types("backups", "create", "-i", "lab").returncode == 0
    before = _totals(working)
    place_orders(working.lab.state().url, 4, customers=[1, 2])
    lifecycle.break_release(working.lab.directory)
    assert working.types("full", "-i", "lab").returncode == 0

    done = working.types("data-merge", "-i", "lab")

    assert done.returncode == 4, done.stderr
    assert "every total is the sum of its lines" in done.stderr
    assert "They were taken out again" in done.stderr
    assert _totals(working) == before
    working.types("traffic-resume", "-i", "lab", "--take-over")


@pytest.mark.attack
def test_rows_are_merged_before_users_are_let_in_when_that_was_asked(working: Operator) -> None:
    assert working.types("backups", "create", "-i", "lab").returncode == 0
    place_orders(working.lab.state().url, 4, customers=WITHOUT_DISCOUNT)
    placed = _totals(working)
    lifecycle.break_release(working.lab.directory)

    done = working.types("full", "-i", "lab", "-e", "database_merge=true")

    assert done.returncode == 0, done.stderr
    assert _totals(working) == placed


@pytest.mark.attack
def test_database_that_was_dropped_is_restored(working: Operator) -> None:
    assert working.types("backups", "create", "-i", "lab").returncode == 0
    before = _totals(working)
    with seeding.connect(working.lab.state(), "postgres") as connection:
        connection.execute("DROP DATABASE shop WITH (FORCE)")

    done = working.types("full", "-i", "lab")

    assert done.returncode == 0, done.stderr
    assert "there is a database shop" in done.stderr
    assert _totals(working) == before


@pytest.mark.attack
def test_long_restore_says_how_far_it_is(working: Operator) -> None:
    newest = _backups(working)[0]["id"]
    always = '{"database_watch_from": 0, "database_poll": 1}'

    done = working.types("backup-verify", "-i", "lab", "--backup", newest, "-e", always, "--json")

    events = [json.loads(line) for line in done.stdout.splitlines()]
    progress = [event["data"] for event in events if event["type"] == "progress.reported"]
    assert done.returncode == 0, done.stderr
    assert progress
    assert all(0 <= each["percent"] <= 100 for each in progress)
    assert {"host", "task", "bytes_done", "bytes_total"} <= progress[0].keys()
    assert working.types("incidents", "verify", "last").returncode == 0


@pytest.mark.attack
def test_drill_full_staged_proves_that_orders_are_counted_kept_and_merged_back(
    working: Operator,
) -> None:
    done = working.types("drill", "full", "--staged")

    assert done.returncode == 0, done.stderr[-3000:]
    for words in (
        "counted beforehand: the decision said that 60 orders were written",
        "kept: these 60 orders stand in",
        "merged back: these 60 orders are live again",
    ):
        assert words in done.stderr
