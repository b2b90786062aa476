"""A work tree in which another tag is checked out, with what runs from it stopped meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.module_runner import RunModule, start_module
from tests.work_tree import check_out, noting, said_of

pytestmark = pytest.mark.integration


def test_what_runs_is_stopped_before_the_checkout_and_started_after_it(
    run_module: RunModule, tree: Path
) -> None:
    result = check_out(run_module, tree, "1.0.0")

    assert result["changed"]
    assert (result["before"]["version"], result["after"]["version"]) == ("1.1.0", "1.0.0")
    assert said_of(tree) == ["stop 1.1.0", "start 1.0.0"]


def test_a_tag_that_is_checked_out_stops_nothing(run_module: RunModule, tree: Path) -> None:
    result = check_out(run_module, tree, "1.1.0")

    assert (result["changed"], result["undo"], said_of(tree)) == (False, None, [])


def test_check_mode_foretells_and_changes_nothing(run_module: RunModule, tree: Path) -> None:
    result = check_out(run_module, tree, "1.0.0", check=True)

    assert result["after"]["version"] == "1.0.0"
    assert result["undo"]["args"]["version"] == "1.1.0"
    assert ((tree / "release").read_text(), said_of(tree)) == ("1.1.0", [])


def test_undo_brings_back_the_tag_and_the_link(run_module: RunModule, tree: Path) -> None:
    (tree / "venv").symlink_to("environments/new")
    done = check_out(run_module, tree, "1.0.0", links={"venv": "environments/old"})
    assert (tree / "venv").readlink() == Path("environments/old")

    undone = run_module("release_checkout", done["undo"]["args"])

    assert undone["after"]["version"] == "1.1.0"
    assert (tree / "venv").readlink() == Path("environments/new")
    assert said_of(tree) == ["stop 1.1.0", "start 1.0.0", "stop 1.0.0", "start 1.1.0"]


def test_files_changed_by_hand_are_named_and_kept(run_module: RunModule, tree: Path) -> None:
    (tree / "release").write_text("mended at night")

    result = check_out(run_module, tree, "1.0.0")

    assert "release" in result["msg"]
    assert "changed by hand" in result["msg"]
    assert ((tree / "release").read_text(), said_of(tree)) == ("mended at night", [])


@pytest.mark.parametrize("version", ["2.0.0", "--orphan", "", "1.0.0; id"])
def test_a_tag_that_is_not_there_ends_it_before_anything_is_stopped(
    run_module: RunModule, tree: Path, version: str
) -> None:
    result = check_out(run_module, tree, version)

    assert "there is no tag" in result["msg"]
    assert said_of(tree) == []


def test_a_checkout_that_fails_starts_again_what_was_stopped(
    run_module: RunModule, tree: Path
) -> None:
    lock = [["touch", str(tree / ".git" / "index.lock")]]

    result = check_out(run_module, tree, "1.0.0", stop=[*noting(tree, "stop"), *lock])

    assert "What ran before was started again" in result["msg"]
    assert said_of(tree) == ["stop 1.1.0", "start 1.1.0"]


def test_a_lock_that_somebody_elses_git_left_when_it_was_killed_is_in_nobodys_way(
    run_module: RunModule, tree: Path
) -> None:
    (tree / ".git" / "index.lock").write_text("")

    assert check_out(run_module, tree, "1.0.0", check=True)["changed"]
    result = check_out(run_module, tree, "1.0.0")

    assert result["after"]["version"] == "1.0.0"
    assert said_of(tree) == ["stop 1.1.0", "start 1.0.0"]


@pytest.mark.parametrize("check", [True, False])
def test_somebody_elses_git_at_work_ends_it_before_anything_is_stopped(
    run_module: RunModule, tree: Path, check: bool
) -> None:
    (tree / ".git" / "index.lock").write_text("")
    words = ["git", "-C", str(tree), "cat-file", "--batch"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as git:
        result = check_out(run_module, tree, "1.0.0", check=check)

    assert f"git still works in {tree}, as process {git.pid}" in result["msg"]
    assert (tree / ".git" / "index.lock").exists()
    assert said_of(tree) == []


def test_a_stop_that_hangs_is_waited_for_no_longer_than_was_said(
    run_module: RunModule, tree: Path
) -> None:
    result = check_out(run_module, tree, "1.0.0", stop=[["sleep", "600"]], timeout=1)

    assert "1.1.0 is checked out, but sleep 600 was not done after 1 s" in result["msg"]
    assert ((tree / "release").read_text(), said_of(tree)) == ("1.1.0", [])
    assert check_out(run_module, tree, "1.0.0")["after"]["version"] == "1.0.0"


def test_a_start_that_failed_is_made_up_for_by_the_next_run(
    run_module: RunModule, tree: Path
) -> None:
    failed = check_out(run_module, tree, "1.0.0", start=noting(tree, "start", code=3))
    again = check_out(run_module, tree, "1.0.0")

    assert "1.0.0 is checked out, but" in failed["msg"]
    assert "ended with 3" in failed["msg"]
    assert failed["undo"]["args"]["version"] == "1.1.0"
    assert again["changed"]
    assert said_of(tree)[-1] == "start 1.0.0"
    # Where the first attempt came from, although 1.0.0 was checked out when the second began.
    assert again["before"]["version"] == "1.1.0"
    assert again["undo"]["args"]["version"] == "1.1.0"


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

    result = check_out(run_module, tree, "1.0.0")

    assert result["changed"]
    assert result["before"]["start_due"]
    assert not result["after"]["start_due"]
    assert said_of(tree)[-1] == "start 1.0.0"


def test_a_folder_that_is_no_work_tree_is_said(run_module: RunModule, tmp_path: Path) -> None:
    result = run_module("release_checkout", {"root": str(tmp_path), "version": "1.0.0"})

    assert "not a git repository" in result["msg"]
