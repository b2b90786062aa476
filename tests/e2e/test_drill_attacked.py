"""Drills of an environment under a full disk, beside others, and as a hostile inventory says."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.small_shop import SCENARIO, Done, SmallShop, followed, small_shop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_NEEDS_MOUNT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small tmpfs")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[SmallShop]:
    with small_shop(tmp_path / "shop", tmp_path / "state") as place:
        yield place


@pytest.fixture
def cramped(shop: SmallShop) -> Iterator[SmallShop]:
    """The records have a disk of their own, of 24 MiB."""
    shop.state_dir.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "none", str(shop.state_dir)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount a tmpfs")
    yield shop
    subprocess.run(["umount", str(shop.state_dir)], check=True)


def _fills(shop: SmallShop, *, but: str = "0") -> str:
    """A command that takes the whole disk of the records, but for so many bytes."""
    return (
        f"head -c 100M /dev/zero > {shop.state_dir}/filler; "
        f"truncate -s -{but} {shop.state_dir}/filler; true"
    )


@_NEEDS_MOUNT
def test_drill_without_room_for_its_rollback_breaks_nothing(cramped: SmallShop) -> None:
    cramped.mend()
    subprocess.run(["/bin/sh", "-c", _fills(cramped, but="4M")], check=True, capture_output=True)

    done = cramped.drill()

    assert done.code == 3, done.output
    assert "there is no room for the record of a rollback" in done.output
    assert "nothing was broken" in done.output
    assert "  Next: free space in" in done.output
    assert not (cramped.folder / "begun").exists()
    assert cramped.log() == []


@pytest.mark.drill
@_NEEDS_MOUNT
def test_disk_that_fills_up_while_the_fault_is_caused_hinders_no_rollback(
    cramped: SmallShop,
) -> None:
    cramped.is_deployed(also=_fills(cramped))

    done = cramped.drill()

    assert done.code == 0, done.output
    assert not cramped.is_broken
    (drill,) = cramped.log()
    assert (drill.exit_code, drill.left_broken) == (0, False)


@pytest.mark.drill
@_NEEDS_MOUNT
def test_disk_that_fills_up_during_the_rollback_is_told_and_the_shop_is_back(
    cramped: SmallShop,
) -> None:
    filling = f"(while [ ! -e {cramped.folder}/enough ]; do {_fills(cramped)}; sleep 0.05; done)"
    cramped.is_deployed(also=f"setsid sh -c '{filling}' </dev/null >/dev/null 2>&1 &")
    try:
        done = cramped.drill()
    finally:
        (cramped.folder / "enough").touch()

    assert done.code in (4, 6), done.output
    assert "No space left on device" in done.output
    if done.code == 6:
        assert not cramped.is_broken
    else:
        assert f"Next: {cramped.command} brings it back" in done.output


@pytest.mark.drill
def test_second_drill_of_an_environment_breaks_nothing(shop: SmallShop) -> None:
    shop.is_deployed(seconds=8)
    first = shop.starts("drill", SCENARIO, "-i", str(shop.inventory))
    _wait_for(shop.folder / "begun")

    second = shop.drill()
    other = shop.comes_back()
    done = followed(first, None)

    assert second.code == 3, second.output
    assert f"staging is locked: held by root (drill of {SCENARIO})" in second.output
    assert "so nothing was broken" in second.output
    assert other.code == 3, other.output
    assert f"(drill of {SCENARIO})" in other.output
    assert done.code == 0, done.output
    assert [drill.exit_code for drill in shop.log()] == [0]


@pytest.mark.drill
def test_environment_that_declares_that_it_has_no_database_is_drilled_without(
    shop: SmallShop,
) -> None:
    path = shop.inventory / "hosts.yml"
    hosts = json.loads(path.read_text())
    children = hosts["all"]["children"]
    children |= {
        "database": {"hosts": {}},
        "cache": {"hosts": {}},
        "proxy": {"hosts": {"shop1": {}}},
    }
    path.write_text(json.dumps(hosts))
    fault = {"playbook": "../../deploys.yml"}
    shop.says(drill_faults={"emergency": fault}, traffic_provider="none", backup_database=False)
    # It comes as far as its fault, which reaches nobody.
    shop.is_deployed(hosts="spare")

    done = shop.drill(what="emergency")

    assert "staging is broken: " in done.output
    assert done.code == 3, done.output
    assert "nothing was broken" in done.output


@pytest.mark.drill
def test_history_of_an_environment_is_found_by_its_path_and_by_its_name(shop: SmallShop) -> None:
    assert shop.drill().code == 0

    by_path = shop.types("drill", "history", "-i", str(shop.inventory), "--json")
    by_name = shop.types("drill", "history", "-i", "staging", "--json")

    assert by_path.output == by_name.output
    assert SCENARIO in by_path.output


@pytest.mark.drill
def test_drill_does_not_take_back_that_the_running_release_was_marked_bad(shop: SmallShop) -> None:
    where = ("-i", str(shop.inventory))
    bad = shop.types("releases", "mark-bad", "1.0.0", *where, "--reason", "loses orders")
    assert bad.code == 0, bad.output

    done = shop.drill()
    forgiven = shop.types("releases", "mark-good", *where)

    assert done.code == 3, done.output
    assert "release 1.0.0 was marked bad (loses orders) and stays so" in done.output
    assert "so nothing was broken" in done.output
    assert not (shop.folder / "begun").exists()
    assert forgiven.code == 0, forgiven.output


@pytest.mark.drill
def test_two_drills_that_begin_at_once_are_one(shop: SmallShop) -> None:
    shop.is_deployed(seconds=2)
    both = [shop.starts("drill", SCENARIO, "-i", str(shop.inventory)) for _ in range(2)]

    done = [followed(each, None) for each in both]

    codes = sorted(each.code for each in done)
    assert codes in ([0, 3], [3, 3]), [each.output for each in done]
    assert not shop.is_broken
    assert [drill.exit_code for drill in shop.log()] == [0] * codes.count(0)


@pytest.mark.drill
def test_drill_beside_a_rollback_breaks_nothing(shop: SmallShop) -> None:
    shop.says(verify_success_threshold=100, verify_deadline=30)
    rollback = shop.starts(SCENARIO, "-i", str(shop.inventory))
    _wait_for(shop.folder / "locks" / "staging.json")

    beside = shop.drill()
    done = followed(rollback, None)

    assert beside.code == 3, beside.output
    assert "runs on staging right now" in beside.output
    assert not (shop.folder / "begun").exists()
    assert done.code == 0, done.output


_URL_GIVES = "Error: staging is not well before anything was broken"


@pytest.mark.parametrize(
    ("says", "words"),
    [
        pytest.param({"drill_url": "http://127.0.0.1:99999/"}, "has to be an address", id="port"),
        pytest.param({"drill_url": "ftp://127.0.0.1/"}, "has to be an address", id="not http"),
        pytest.param(
            {"drill_faults": {SCENARIO: {"playbook": "../../missing.yml"}}},
            "there is no playbook at",
            id="missing",
        ),
        pytest.param(
            {"drill_faults": {SCENARIO: {"playbook": "../../deploys.yml", "seconds": 0}}},
            "seconds has to be a number above 0",
            id="no time",
        ),
    ],
)  # fmt: skip
def test_inventory_that_cannot_be_meant_is_wrong_usage(
    shop: SmallShop, says: dict[str, Any], words: str
) -> None:
    shop.says(**says)

    done = shop.drill()

    assert done.code == 2, done.output
    assert words in done.output
    assert not (shop.folder / "begun").exists()


@pytest.mark.drill
def test_secret_in_an_address_is_not_shown(shop: SmallShop) -> None:
    shop.says(drill_url=shop.url.replace("http://", "http://shop:c4nary@") + "x\x7f")

    done = shop.drill()

    assert done.code == 3, done.output
    assert _URL_GIVES in done.output
    assert "c4nary" not in done.output


@pytest.mark.drill
@pytest.mark.parametrize(
    ("playbook", "words"),
    [
        pytest.param("\x00\x01 garbage: [", "could not be played", id="garbage"),
        pytest.param(
            "- hosts: spare\n  tasks: [{debug: {}}]\n", "reached no host of staging", id="no host"
        ),
    ],
)
def test_fault_that_is_none_leaves_an_environment_that_can_be_drilled_again(
    shop: SmallShop, playbook: str, words: str
) -> None:
    (shop.folder / "deploys.yml").write_text(playbook)

    done = shop.drill()
    shop.is_deployed()
    again = shop.drill()

    assert done.code == 3, done.output
    assert words in done.output
    assert "nothing was broken" in done.output
    assert again.code == 0, again.output


@pytest.mark.drill
def test_fault_that_does_not_end_is_stopped_and_says_what_brings_it_back(shop: SmallShop) -> None:
    fault = {"playbook": "../../deploys.yml", "seconds": 4}
    shop.says(drill_faults={SCENARIO: fault})
    shop.is_deployed(seconds=600)

    done = shop.drill()
    back = shop.comes_back()

    assert done.code == 4, done.output
    assert "deploys.yml had not ended after 4 s and was stopped" in done.output
    assert f"Next: {shop.command} brings it back" in done.output
    assert back.code == 0, back.output


def test_history_that_is_garbage_hides_no_drill(shop: SmallShop) -> None:
    line = {"time": "2026-03-01T03:00:00Z", "scenario": "full", "environment": "[/x]",
            "incident": "i", "exit_code": 0, "seconds": 5.0, "weather": "fine"}  # fmt: skip
    shop.state_dir.mkdir(exist_ok=True)
    (shop.state_dir / "drills.jsonl").write_bytes(
        b"\xff\xfe\n" + b"[" * 50_000 + b"\n" + json.dumps(line).encode() + b'\n{"time": "20'
    )

    shown: Done = shop.types("drill", "history")
    plan = shop.types("plan", SCENARIO, "--no-assess", "-i", str(shop.inventory))

    assert shown.code == 0, shown.output
    assert "[/x]" in shown.output
    assert "3 lines of the drill log cannot be read and are left out" in shown.output
    assert plan.code == 0, plan.output


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
