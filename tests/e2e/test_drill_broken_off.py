"""A drill that is broken off: what it has left is told, remembered, and brought back.

``ROLLBACK_DRILL_CASES`` and ``ROLLBACK_DRILL_SEED`` choose how many cases the attack has and which.
"""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.plan.left_broken import left_broken
from rollback_playbook.record.drill_log import Drill
from tests.e2e.small_shop import SCENARIO, Done, Hit, SmallShop, small_shop, write_flags

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

#: A whole drill of the small shop takes about so many seconds.
_LENGTH = 11.0
#: What is said last: a second signal may come when only the end of the process is left.
_SAID = re.compile("the drill was stopped|  report: ")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[SmallShop]:
    with small_shop(tmp_path / "shop", tmp_path / "state") as place:
        yield place


def test_drill_that_is_stopped_before_its_fault_has_broken_nothing(shop: SmallShop) -> None:
    done = shop.drill(Hit("SIGTERM", "changed .*Environment is locked"))

    assert done.code == 130, done.output
    assert "the drill was stopped; nothing of staging was broken" in done.output
    assert not (shop.folder / "begun").exists()
    assert shop.log() == []
    assert _holder(shop) == ""


def test_drill_that_is_stopped_while_its_fault_is_caused_says_what_brings_it_back(
    shop: SmallShop,
) -> None:
    shop.is_deployed(seconds=60)

    done = shop.drill(Hit("SIGINT", "staging is broken: ", after=3, times=2))

    assert done.code == 130, done.output
    assert "while the fault was caused; staging may be broken in part" in done.output
    assert f"Next: {shop.command} brings it back" in done.output
    (drill,) = shop.log()
    assert (drill.exit_code, drill.left_broken, drill.command) == (130, True, shop.command)
    assert (shop.folder / "begun").exists()
    _is_brought_back(shop)


@pytest.mark.drill
def test_drill_that_is_stopped_between_fault_and_rollback_is_not_said_to_have_changed_nothing(
    shop: SmallShop,
) -> None:
    # Nobody uses what is broken, so the drill waits for users to see it.
    write_flags(shop.folder, search="off")

    done = shop.drill(Hit("SIGINT", "staging is broken: ", after=4))

    assert done.code == 130, done.output
    assert "the drill was stopped before the rollback; staging is broken" in done.output
    assert "nothing" not in done.output.partition("Error:")[2]
    assert _holder(shop) == ""


@pytest.mark.drill
def test_drill_whose_rollback_is_stopped_is_continued(shop: SmallShop) -> None:
    done = shop.drill(Hit("SIGTERM", "changed .*Flags are in their safe state"))

    assert done.code == 130, done.output
    assert "✗ staging is still broken by this drill" in done.output
    assert "target met" not in done.output
    (drill,) = shop.log()
    assert drill.command == f"rollback-playbook continue {drill.incident}"
    _is_brought_back(shop)


@pytest.mark.drill
def test_signal_that_comes_when_the_rollback_has_ended_changes_nothing_of_the_drill(
    shop: SmallShop,
) -> None:
    done = shop.drill(Hit("SIGINT", "rolled back and healthy", times=1))

    assert done.code in (0, 130), done.output
    (drill,) = shop.log()
    assert (drill.exit_code, drill.left_broken) == (0, False)


@pytest.mark.drill
def test_drill_that_was_killed_is_remembered_with_what_it_left(shop: SmallShop) -> None:
    done = shop.drill(Hit("SIGKILL", "users see it"))

    assert done.code == -signal.SIGKILL
    assert shop.is_broken
    (drill,) = shop.log()
    assert drill.broken_off == "killed after it began to break the environment"
    # Its lease is not waited for.
    assert _holder(shop) != ""
    _is_brought_back(shop)
    again = shop.drill()
    assert again.code == 0, again.output


@pytest.mark.drill
def test_environment_that_was_left_broken_and_is_well_is_drilled_once_somebody_says_so(
    shop: SmallShop,
) -> None:
    shop.drill(Hit("SIGKILL", "users see it"))
    shop.mend()

    refused = shop.drill()
    said = shop.types("releases", "mark-good", "-i", str(shop.inventory))

    assert refused.code == 3, refused.output
    assert f"rollback-playbook releases mark-good -i {shop.inventory}" in refused.output
    assert said.code == 0, said.output
    assert _attention(shop) == ""


def test_round_of_drills_ends_when_one_of_them_is_stopped(shop: SmallShop) -> None:
    fault = {"playbook": "../../deploys.yml"}
    shop.says(drill_faults={SCENARIO: fault, "application": fault})

    done = shop.drill(Hit("SIGINT", "users of staging"), "--all")

    assert done.code == 130, done.output
    assert "not begun: it was stopped" in done.output


@pytest.mark.drill
def test_drill_goes_on_when_its_terminal_is_lost(shop: SmallShop) -> None:
    done = shop.drill(Hit("SIGHUP", f"^rollback-playbook {SCENARIO} -i staging", after=0.1))

    assert done.code == 0, done.output
    assert [drill.exit_code for drill in shop.log()] == [0]


def _random_hits(count: int, seed: int) -> list[Any]:
    hits = []
    for number in range(count):
        chooser = random.Random(seed * 1000 + number)  # noqa: S311 - which cases, not a secret
        name = chooser.choice(("SIGINT", "SIGTERM", "SIGKILL"))
        hit = Hit(
            name,
            "users of staging",
            after=chooser.uniform(0, _LENGTH),
            times=1 if name == "SIGKILL" else chooser.choice((1, 2)),
            between=chooser.uniform(0, 0.5),
        )
        hits.append(pytest.param(hit, id=f"{number}: {hit}"))
    return hits


@pytest.mark.attack
@pytest.mark.parametrize(
    "hit",
    _random_hits(
        int(os.environ.get("ROLLBACK_DRILL_CASES", "30")),
        int(os.environ.get("ROLLBACK_DRILL_SEED", "1")),
    ),
)
def test_drill_that_is_hit_at_any_moment_leaves_nothing_that_is_not_told(
    shop: SmallShop, hit: Hit
) -> None:
    shop.is_deployed(seconds=1)

    done = shop.drill(hit)

    killed = done.code == -signal.SIGKILL
    late = done.code == -signal.SIGTERM and hit.times == 2 and _SAID.search(done.output)
    assert killed or late or done.code in (0, 130), done.output
    assert "Traceback" not in done.output
    broken, drills = shop.is_broken, shop.log()
    assert not (broken and any(drill.exit_code == 0 for drill in drills)), drills
    if broken:
        assert _attention(shop), done.output
        assert killed or "broken" in done.output.partition("staging is broken: ")[2], done.output
    if _left(shop) is not None:
        _is_brought_back(shop)
    shop.mend()
    again = _drills_again(shop)
    assert again.code == 0, again.output
    history = shop.types("drill", "history")
    assert history.code == 0, history.output
    assert "cannot be read" not in history.output


def _drills_again(shop: SmallShop) -> Done:
    """Once what stands in the way is gone: an incident that was killed keeps its lease a while."""
    held = _holder(shop)
    if held:
        free = shop.types(
            "mark-good", "-i", str(shop.inventory), "--take-over", "--reason", f"{held} is dead"
        )
        assert free.code == 0, free.output
    return shop.drill()


def _is_brought_back(shop: SmallShop) -> None:
    """By what the next drill, the plan and the log say, and by nothing else."""
    refused = shop.drill()
    assert refused.code == 3, refused.output
    assert "may have left staging broken" in refused.output
    drill = _left(shop)
    assert drill is not None
    assert f"Next: {drill.command}; or" in refused.output
    assert drill.command in _attention(shop)
    _, *argv = shlex.split(drill.command)
    done = shop.types(*argv)
    assert done.code == 0, done.output
    assert not shop.is_broken
    assert _attention(shop) == ""


def _left(shop: SmallShop) -> Drill | None:
    return left_broken(shop.state_dir / "incidents", "staging", state_dir=shop.state_dir)


def _attention(shop: SmallShop) -> str:
    """What a plan says of a drill that has left the shop broken."""
    plan = shop.types("plan", SCENARIO, "--no-assess", "-i", str(shop.inventory)).output
    return "".join(line for line in plan.splitlines() if line.startswith("  attention:"))


def _holder(shop: SmallShop) -> str:
    """Who has the environment; nobody where it was never locked."""
    path = shop.folder / "locks" / "staging.json"
    return str(json.loads(path.read_text(encoding="utf-8"))["holder"]) if path.exists() else ""
