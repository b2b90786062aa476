"""release_checkout: checkouts that were cut short or failed, and what the next one does."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.module_runner import RunModule, start_module
from tests.work_tree import check_out, git_in, noting, said_of

pytestmark = pytest.mark.integration


def _files(tree: Path) -> dict[str, str]:
    """All of the work tree, whether git knows of it or not."""
    return {
        str(path.relative_to(tree)): path.read_text()
        for path in sorted(tree.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(tree).parts
    }


@pytest.fixture
def long_tree(tree: Path) -> Path:
    """Twenty files more, some in one of the releases only; git takes its time for each."""
    for version in ("1.0.0", "1.1.0"):
        git_in(tree, "checkout", "--quiet", "--detach", version)
        folder = tree / f"only-{version}"
        folder.mkdir()
        (folder / "file").write_text(f"of {version}\n")
        for number in range(20):
            (tree / f"file-{number:02}").write_text(f"{number} of {version}\n" * 50)
        git_in(tree, "add", ".")
        git_in(tree, "commit", "--quiet", "--message", f"{version} with files")
        git_in(tree, "tag", "--force", version)
    (tree / ".git" / "info" / "attributes").write_text("* filter=slow\n")
    git_in(tree, "config", "filter.slow.smudge", "sleep 0.02; cat")
    git_in(tree, "config", "filter.slow.clean", "cat")
    return tree


def _killed_half_way(tree: Path, *, files: int = 10, with_git: bool = True) -> None:
    """A run to 1.0.0 that is killed while git checks out, as by a power cut or an operator."""
    args = {"root": str(tree), "version": "1.0.0", "stop": noting(tree, "stop"), "start": []}
    seen = tree / f"file-{files:02}"
    with start_module("release_checkout", args, start_new_session=True) as process:
        while "of 1.0.0" not in (seen.read_text() if seen.exists() else ""):
            assert process.poll() is None
            time.sleep(0.002)
        if with_git:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


@pytest.fixture
def whole(long_tree: Path) -> dict[str, str]:
    """The files of 1.0.0, as git has them."""
    listed = git_in(long_tree, "ls-tree", "-r", "--name-only", "1.0.0").splitlines()
    return {name: _shown(long_tree, name) for name in listed}


def _shown(tree: Path, name: str) -> str:
    argv = ["git", "-C", str(tree), "show", f"1.0.0:{name}"]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("files", [0, 7, 15])
def test_a_checkout_that_was_killed_is_finished_by_the_next_run(
    run_module: RunModule, long_tree: Path, whole: dict[str, str], files: int
) -> None:
    _killed_half_way(long_tree, files=files)
    assert (long_tree / ".git" / "index.lock").exists()
    assert git_in(long_tree, "rev-parse", "HEAD") == git_in(long_tree, "rev-parse", "1.1.0")
    # As far as it was written when the machine went away.
    (long_tree / "file-00").write_text("0 of 1.0")

    looked = check_out(run_module, long_tree, "HEAD", check=True)
    foreseen = check_out(run_module, long_tree, "1.0.0", check=True)
    result = check_out(run_module, long_tree, "1.0.0")

    assert looked["before"]["version"] == "1.1.0", looked
    assert foreseen["after"]["version"] == "1.0.0", foreseen
    assert (result["before"]["version"], result["after"]["version"]) == ("1.1.0", "1.0.0"), result
    assert _files(long_tree) == whole
    assert git_in(long_tree, "status", "--porcelain") == ""
    assert said_of(long_tree) == ["stop 1.1.0", "stop 1.1.0", "start 1.0.0"]
    assert result["undo"]["args"]["version"] == "1.1.0"
    assert not check_out(run_module, long_tree, "1.0.0")["changed"]


def test_a_checkout_that_was_killed_can_be_taken_back_and_leaves_nothing(
    run_module: RunModule, long_tree: Path
) -> None:
    found = _files(long_tree)
    _killed_half_way(long_tree, files=15)
    (long_tree / "only-1.0.0").mkdir()
    (long_tree / "only-1.0.0" / "file").write_text("of 1.0.0\n")

    result = check_out(run_module, long_tree, "1.1.0")

    assert result["changed"], result
    assert result["undo"] is None
    assert _files(long_tree) == found
    assert not (long_tree / "only-1.0.0").exists()


@pytest.mark.parametrize("name", ["file-03", "file-15", "only-1.0.0/file"])
def test_a_file_changed_by_hand_after_a_killed_checkout_is_refused_and_kept(
    run_module: RunModule, long_tree: Path, name: str
) -> None:
    _killed_half_way(long_tree)
    (long_tree / name).parent.mkdir(exist_ok=True)
    (long_tree / name).write_text("mended at night")

    foreseen = check_out(run_module, long_tree, "1.0.0", check=True)
    result = check_out(run_module, long_tree, "1.0.0")

    for each in (foreseen, result):
        assert f"would be lost: {name}. Nothing was changed" in each["msg"]
        assert "may be stopped" in each["msg"]
    assert (long_tree / name).read_text() == "mended at night"
    assert said_of(long_tree) == ["stop 1.1.0"]


def test_a_folder_of_somebody_in_the_way_of_a_killed_checkout_is_refused_and_kept(
    run_module: RunModule, long_tree: Path
) -> None:
    _killed_half_way(long_tree)
    (long_tree / "file-15").unlink()
    (long_tree / "file-15").mkdir()
    (long_tree / "file-15" / "notes").write_text("of the night")

    result = check_out(run_module, long_tree, "1.0.0")

    assert "would be lost: file-15" in result["msg"]
    assert (long_tree / "file-15" / "notes").read_text() == "of the night"


def test_a_git_that_outlived_its_run_is_waited_for(
    run_module: RunModule, long_tree: Path, whole: dict[str, str]
) -> None:
    git_in(long_tree, "config", "filter.slow.smudge", "sleep 0.15; cat")
    _killed_half_way(long_tree, files=3, with_git=False)
    git_in(long_tree, "config", "filter.slow.smudge", "cat")

    early = check_out(run_module, long_tree, "1.0.0")
    lock = long_tree / ".git" / "index.lock"
    while lock.exists():
        time.sleep(0.02)
    # Its last act, HEAD, comes after the lock.
    time.sleep(0.2)
    result = check_out(run_module, long_tree, "1.0.0")

    assert "git still works in" in early["msg"]
    assert result["after"]["version"] == "1.0.0", result
    assert result["before"]["version"] == "1.1.0"
    assert _files(long_tree) == whole


def test_a_note_of_0_1_0_is_understood(
    run_module: RunModule, long_tree: Path, whole: dict[str, str]
) -> None:
    _killed_half_way(long_tree)
    note = long_tree / ".git" / "rollback-start-due"
    note.write_text(git_in(long_tree, "rev-parse", "1.0.0^{commit}"))

    result = check_out(run_module, long_tree, "1.0.0")

    assert (result["before"]["version"], result["after"]["version"]) == ("1.1.0", "1.0.0"), result
    assert _files(long_tree) == whole


def _filter_that_fails(tree: Path, of_versions: str) -> None:
    """Git cannot write this file half-way through, as on a disk that is full."""
    found = f"content=$(cat; echo .); case $content in 12*{of_versions}*) exit 1;; esac"
    git_in(tree, "config", "filter.slow.smudge", f'{found}; printf %s "${{content%.}}"')
    git_in(tree, "config", "filter.slow.required", "true")


def test_a_checkout_that_fails_half_way_is_taken_back_before_the_start(
    run_module: RunModule, long_tree: Path
) -> None:
    found = _files(long_tree)
    _filter_that_fails(long_tree, "1.0.0")

    result = check_out(run_module, long_tree, "1.0.0")

    assert "What ran before was started again" in result["msg"]
    assert _files(long_tree) == found
    assert git_in(long_tree, "status", "--porcelain") == ""
    assert said_of(long_tree) == ["stop 1.1.0", "start 1.1.0"]
    assert not check_out(run_module, long_tree, "1.1.0")["changed"]


def test_files_that_cannot_be_put_back_are_called_a_mixture_and_nothing_is_started(
    run_module: RunModule, long_tree: Path, whole: dict[str, str]
) -> None:
    _filter_that_fails(long_tree, "1.")

    failed = check_out(run_module, long_tree, "1.0.0")
    still = check_out(run_module, long_tree, "1.0.0")
    git_in(long_tree, "config", "filter.slow.smudge", "cat")
    result = check_out(run_module, long_tree, "1.0.0")

    for each in (failed, still):
        assert "are a mixture of releases" in each["msg"]
        assert "was stopped and stays so" in each["msg"]
        assert each["undo"]["args"]["version"] == "1.1.0"
    assert result["before"]["version"] == "1.1.0", result
    assert _files(long_tree) == whole
    assert [word for word in said_of(long_tree) if word.startswith("start")] == ["start 1.0.0"]


def test_links_are_pointed_back_when_one_of_them_fails(run_module: RunModule, tree: Path) -> None:
    (tree / "venv").symlink_to("environments/new")
    links = {"venv": "environments/old", "nowhere/venv": "environments/old"}

    result = check_out(run_module, tree, "1.0.0", links=links)

    assert "What ran before was started again" in result["msg"]
    assert (tree / "venv").readlink() == Path("environments/new")
    assert (tree / "release").read_text() == "1.1.0"
    assert said_of(tree) == ["stop 1.1.0", "start 1.1.0"]


def test_links_of_before_a_killed_run_are_what_undo_brings_back(
    run_module: RunModule, tree: Path
) -> None:
    (tree / "venv").symlink_to("environments/new")
    links = {"venv": "environments/old"}
    check_out(run_module, tree, "1.0.0", links=links, start=noting(tree, "start", code=3))

    again = check_out(run_module, tree, "1.0.0", links=links)

    assert again["before"]["links"] == {"venv": "environments/new"}
    assert again["undo"]["args"]["links"] == {"venv": "environments/new"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.attack
@pytest.mark.parametrize("greedy", [False, True], ids=["room to go back", "no room at all"])
def test_on_a_full_disk_what_runs_is_whole_or_stopped(
    run_module: RunModule, long_tree: Path, small_disk: Path, greedy: bool
) -> None:
    """The repository is elsewhere, as with ``git worktree``, so that only files need the room."""
    git_in(long_tree, "config", "filter.slow.smudge", "cat")
    (long_tree / "file-10").write_text("0123456789abcdef" * 200_000)
    git_in(long_tree, "commit", "--quiet", "--all", "--message", "large")
    git_in(long_tree, "tag", "2.0.0")
    (long_tree / "file-00").write_text("small")
    place = small_disk / "shop"
    git_in(long_tree, "worktree", "add", "--quiet", "--detach", str(place), "1.0.0")
    found = _files(place)
    if greedy:
        # Somebody's log takes what git has freed.
        eats = f"cat; head -c 2000000 /dev/zero 2>/dev/null >>{small_disk}/log; true"
        git_in(long_tree, "config", "filter.slow.smudge", eats)

    result = check_out(run_module, place, "2.0.0")

    assert result["failed"], result
    started = [word for word in said_of(place) if word.startswith("start")]
    if greedy:
        assert "are a mixture of releases" in result["msg"]
        assert started == []
        (small_disk / "log").unlink()
        git_in(long_tree, "config", "filter.slow.smudge", "cat")
        assert check_out(run_module, place, "1.1.0")["before"]["version"] == "1.0.0"
        assert git_in(place, "status", "--porcelain") == ""
    else:
        assert "What ran before was started again" in result["msg"]
        assert _files(place) == found
        assert started == ["start 1.0.0"]


def test_a_file_in_the_way_of_the_checkout_is_kept_even_if_it_is_empty(
    run_module: RunModule, long_tree: Path
) -> None:
    (long_tree / "only-1.0.0").mkdir()
    (long_tree / "only-1.0.0" / "file").touch()

    result = check_out(run_module, long_tree, "1.0.0")

    assert "What ran before was started again" in result["msg"]
    assert (long_tree / "only-1.0.0" / "file").exists()
    assert (long_tree / "release").read_text() == "1.1.0"


def test_a_look_leaves_the_index_alone_so_that_none_leaves_a_lock(
    run_module: RunModule, tree: Path
) -> None:
    """Git writes down, under its lock, that a file which was only touched is as it was."""
    os.utime(tree / "release", (1, 1))
    found = (tree / ".git" / "index").read_bytes()

    result = check_out(run_module, tree, "1.0.0", check=True)

    assert result["changed"], result
    assert (tree / ".git" / "index").read_bytes() == found
