"""A work tree in which another tag is checked out, with what runs from it stopped meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule, start_module

pytestmark = pytest.mark.integration


def _git(tree: Path, *words: str) -> str:
    argv = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(tree), *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two releases as tags, the newer one checked out; git ignores the link."""
    tree = tmp_path / "shop"
    tree.mkdir()
    _git(tree, "init", "--quiet")
    for version in ("1.0.0", "1.1.0"):
        (tree / "release").write_text(version)
        (tree / ".gitignore").write_text("venv\n")
        _git(tree, "add", ".")
        _git(tree, "commit", "--quiet", "--message", version)
        _git(tree, "tag", version)
    _git(tree, "checkout", "--quiet", "--detach", "1.1.0")
    return tree


def _note(tree: Path, word: str, *, code: int = 0) -> list[list[str]]:
    """A command that writes down what it is and which release it saw."""
    program = (
        f"import sys; "
        f"release = open(r'{tree}/release').read(); "
        f"open(r'{tree.parent}/said', 'a').write('{word} ' + release + '\\n'); "
        f"sys.exit({code})"
    )
    return [[sys.executable, "-c", program]]


def _said(tree: Path) -> list[str]:
    path = tree.parent / "said"
    return path.read_text().splitlines() if path.exists() else []


def _run(run_module: RunModule, tree: Path, version: str, **options: Any) -> dict[str, Any]:
    check = options.pop("check", False)
    options.setdefault("stop", _note(tree, "stop"))
    options.setdefault("start", _note(tree, "start"))
    args = {"root": str(tree), "version": version, **options}
    return run_module("release_checkout", args, check=check)


def test_what_runs_is_stopped_before_the_checkout_and_started_after_it(
    run_module: RunModule, tree: Path
) -> None:
    result = _run(run_module, tree, "1.0.0")

    assert result["changed"]
    assert (result["before"]["version"], result["after"]["version"]) == ("1.1.0", "1.0.0")
    assert _said(tree) == ["stop 1.1.0", "start 1.0.0"]


def test_a_tag_that_is_checked_out_stops_nothing(run_module: RunModule, tree: Path) -> None:
    result = _run(run_module, tree, "1.1.0")

    assert (result["changed"], result["undo"], _said(tree)) == (False, None, [])


def test_check_mode_foretells_and_changes_nothing(run_module: RunModule, tree: Path) -> None:
    result = _run(run_module, tree, "1.0.0", check=True)

    assert result["after"]["version"] == "1.0.0"
    assert result["undo"]["args"]["version"] == "1.1.0"
    assert ((tree / "release").read_text(), _said(tree)) == ("1.1.0", [])


def test_undo_brings_back_the_tag_and_the_link(run_module: RunModule, tree: Path) -> None:
    (tree / "venv").symlink_to("environments/new")
    done = _run(run_module, tree, "1.0.0", links={"venv": "environments/old"})
    assert (tree / "venv").readlink() == Path("environments/old")

    undone = run_module("release_checkout", done["undo"]["args"])

    assert undone["after"]["version"] == "1.1.0"
    assert (tree / "venv").readlink() == Path("environments/new")
    assert _said(tree) == ["stop 1.1.0", "start 1.0.0", "stop 1.0.0", "start 1.1.0"]


def test_files_changed_by_hand_are_named_and_kept(run_module: RunModule, tree: Path) -> None:
    (tree / "release").write_text("mended at night")

    result = _run(run_module, tree, "1.0.0")

    assert "release" in result["msg"]
    assert "changed by hand" in result["msg"]
    assert ((tree / "release").read_text(), _said(tree)) == ("mended at night", [])


@pytest.mark.parametrize("version", ["2.0.0", "--orphan", "", "1.0.0; id"])
def test_a_tag_that_is_not_there_ends_it_before_anything_is_stopped(
    run_module: RunModule, tree: Path, version: str
) -> None:
    result = _run(run_module, tree, version)

    assert "there is no tag" in result["msg"]
    assert _said(tree) == []


def test_a_checkout_that_fails_starts_again_what_was_stopped(
    run_module: RunModule, tree: Path
) -> None:
    (tree / ".git" / "index.lock").write_text("")

    result = _run(run_module, tree, "1.0.0")

    assert "What ran before was started again" in result["msg"]
    assert _said(tree) == ["stop 1.1.0", "start 1.1.0"]


def test_a_start_that_failed_is_made_up_for_by_the_next_run(
    run_module: RunModule, tree: Path
) -> None:
    failed = _run(run_module, tree, "1.0.0", start=_note(tree, "start", code=3))
    again = _run(run_module, tree, "1.0.0")

    assert "1.0.0 is checked out, but" in failed["msg"]
    assert "ended with 3" in failed["msg"]
    assert again["changed"]
    assert _said(tree)[-1] == "start 1.0.0"


def test_a_run_killed_between_stop_and_start_is_finished_by_the_next(
    run_module: RunModule, tree: Path
) -> None:
    starting = tree.parent / "starting"
    program = f"import time; open(r'{starting}', 'w'); time.sleep(600)"
    args = {"root": str(tree), "version": "1.0.0", "start": [[sys.executable, "-c", program]]}
    with start_module("release_checkout", args, start_new_session=True) as process:
        while not starting.exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)

    result = _run(run_module, tree, "1.0.0")

    assert result["changed"]
    assert result["before"]["start_due"]
    assert not result["after"]["start_due"]
    assert _said(tree)[-1] == "start 1.0.0"


def test_a_folder_that_is_no_work_tree_is_said(run_module: RunModule, tmp_path: Path) -> None:
    result = run_module("release_checkout", {"root": str(tmp_path), "version": "1.0.0"})

    assert "not a git repository" in result["msg"]
