"""What is missing or misspelt is refused with the right code, and nothing is changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rollback_playbook.lab import processes
from tests.e2e.conftest import Operator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def _stop_database(operator: Operator) -> Callable[[], None]:
    processes.control(operator.lab, "stop", "postgres")

    def start() -> None:
        processes.control(operator.lab, "start", "postgres")
        processes.wait_until("the shop is back", lambda: operator.health().get("status") == "ok")

    return start


def _hide_backups(operator: Operator) -> Callable[[], None]:
    hidden = operator.lab.directory / "hidden"
    operator.lab.backups.rename(hidden)
    operator.lab.backups.mkdir()

    def show() -> None:
        operator.lab.backups.rmdir()
        hidden.rename(operator.lab.backups)

    return show


def _cut_backups(operator: Operator) -> Callable[[], None]:
    """One byte less at the end of the largest file of every backup."""
    cut = {}
    for backup in operator.lab.backups.iterdir():
        largest = max(backup.rglob("*.gz"), key=lambda path: path.stat().st_size)
        cut[largest] = largest.read_bytes()
        largest.write_bytes(cut[largest][:-1])

    def put_back() -> None:
        for path, content in cut.items():
            path.write_bytes(content)

    return put_back


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(_stop_database, "cannot connect to database", id="database stopped"),
        pytest.param(
            _hide_backups,
            "There is no whole backup of shop",
            id="dump missing",
            marks=pytest.mark.attack,
        ),
        pytest.param(
            _cut_backups,
            "There is no whole backup of shop",
            id="dump cut short",
            marks=pytest.mark.attack,
        ),
    ],
)
def test_full_without_what_it_needs_is_refused_before_anything_changes(
    broken: Operator, damage: Callable[[Operator], Callable[[], None]], words: str
) -> None:
    mend = damage(broken)
    before = broken.fingerprint()
    try:
        done = broken.types("full", "-i", "lab")

        assert done.returncode == 3, done.stderr
        assert words in done.stderr
        assert "nothing was changed" in done.stderr
        assert broken.fingerprint() == before
    finally:
        mend()


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        pytest.param(["full", "-i", "lba"], 2, "no environment named", id="unknown inventory"),
        pytest.param(["fulll", "-i", "lab"], 2, "did you mean full", id="unknown scenario"),
        pytest.param(["full", "-i", "lab", "-l", "shop-ap"], 2, "'shop-ap' matches no host",
                     id="misspelt limit"),
        pytest.param(["full", "-i", "lab", "--to", "9.9.9"], 3, "Release 9.9.9 is not on",
                     id="unknown release"),
        pytest.param(["full", "-i", "lab", "--backup", "nope"], 3, "There is no backup nope",
                     id="unknown backup"),
    ],
)  # fmt: skip
def test_full_misspelt_is_refused_with_the_right_code(
    broken: Operator, argv: list[str], code: int, words: str
) -> None:
    before = broken.fingerprint()

    done = broken.types(*argv)

    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert broken.fingerprint() == before


def test_full_is_refused_where_nobody_can_be_asked_and_nobody_said_that_nobody_need_be(
    broken: Operator, tmp_path: Path
) -> None:
    silent = tmp_path / "silent"
    shutil.copytree(broken.lab.inventory, silent)
    told = silent / "group_vars" / "all" / "rollback.yml"
    text = told.read_text(encoding="utf-8").replace("rollback_protected: false\n", "")
    told.write_text(text, encoding="utf-8")
    before = broken.fingerprint()

    done = broken.types("full", "-i", str(silent))

    assert done.returncode == 3, done.stderr
    assert "this changes production on silent and nobody can be asked here" in done.stderr
    assert "--yes silent" in done.stderr
    assert broken.fingerprint() == before
    assert broken.last()["phases"] == []
