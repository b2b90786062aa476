"""A backup is always made; whether the running release is good is decided by its gate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Operator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def _registry(operator: Operator) -> Path:
    return operator.lab.app / "good-releases.jsonl"


def _last_entry(operator: Operator) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(_registry(operator).read_text("utf-8").splitlines()[-1])
    return entry


def _backups(operator: Operator) -> set[str]:
    return {path.name for path in operator.lab.backups.iterdir()}


@pytest.mark.drill
def test_backup_of_a_release_that_is_not_healthy_is_kept_and_the_release_not_marked(
    broken: Operator,
) -> None:
    before, known = _backups(broken), _registry(broken).read_bytes()

    done = broken.types("backup", "-i", "lab", "-e", "verify_deadline=3")

    (made,) = _backups(broken) - before
    assert done.returncode == 5, done.stderr
    assert f"backup {made} was made and is kept; release 1.1.0 was NOT marked good" in done.stderr
    assert "nothing in production was changed" in done.stderr
    assert "stays locked" not in done.stderr
    assert _registry(broken).read_bytes() == known
    assert broken.last()["exit_code"] == 5


def test_backup_marks_the_release_good_together_with_the_backup_that_was_made(
    working: Operator,
) -> None:
    before = _backups(working)
    revision = working.lab.app / "releases" / "1.0.0" / "REVISION"
    revision.write_text("4f2a9c1\n", encoding="ascii")

    done = working.types("backups", "create", "-i", "lab")

    (made,) = _backups(working) - before
    assert done.returncode == 0, done.stderr
    entry = _last_entry(working)
    assert (entry["version"], entry["backup"]) == ("1.0.0", made)
    assert entry["git_revision"] == "4f2a9c1"
    assert entry["migration"]


@pytest.mark.drill
def test_backup_never_takes_back_that_a_release_was_marked_bad_and_mark_good_does(
    working: Operator,
) -> None:
    bad = working.types("releases", "mark-bad", "1.0.0", "-i", "lab", "--reason", "loses orders")
    before, known = _backups(working), _registry(working).read_bytes()

    done = working.types("backup", "-i", "lab")
    kept = _registry(working).read_bytes()
    good = working.types("releases", "mark-good", "-i", "lab")

    assert bad.returncode == 0, bad.stderr
    assert done.returncode == 0, done.stderr
    assert len(_backups(working) - before) == 1
    assert kept == known
    assert "release 1.0.0 was marked bad (loses orders) and stays so" in done.stderr
    assert good.returncode == 0, good.stderr
    assert _last_entry(working)["version"] == "1.0.0"


@pytest.mark.drill
def test_good_release_is_not_registered_with_a_backup_of_the_bad_one(broken: Operator) -> None:
    before = _backups(broken)
    red = broken.types("backup", "-i", "lab", "-e", "verify_deadline=3")
    (of_the_bad_one,) = _backups(broken) - before
    incident = broken.last()["id"]
    assert broken.types("full", "-i", "lab").returncode == 0

    gone_on = broken.types("continue", incident)
    first = _last_entry(broken)
    marked = broken.types("releases", "mark-good", "-i", "lab")

    assert (red.returncode, gone_on.returncode, marked.returncode) == (5, 0, 0), gone_on.stderr
    for entry in (first, _last_entry(broken)):
        assert entry["version"] == "1.0.0"
        assert entry["backup"] in before - {of_the_bad_one}


def test_plan_of_a_release_alone_says_that_the_schema_has_moved_on_since_it_was_good(
    broken: Operator,
) -> None:
    shown = broken.types("plan", "application", "-i", "lab")

    assert shown.returncode == 0, shown.stderr
    said = " ".join(shown.stdout.split())
    assert "the newest migration is 2, and 1.0.0 was good with 1: if it does not work" in said
