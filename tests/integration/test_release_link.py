"""A link that always leads somewhere, and what runs behind it."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule, start_module

pytestmark = pytest.mark.integration


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two releases, the newer one current."""
    for version in ("1.0.0", "1.1.0"):
        (tmp_path / "releases" / version).mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/1.1.0")
    return tmp_path


def _restart(root: Path, *, code: int = 0, seconds: float = 0) -> list[list[str]]:
    """A restart that writes down which release it saw, then ends with ``code``."""
    program = (
        f"import os, sys, time; time.sleep({seconds}); "
        f"open(r'{root}/restarts', 'a').write(os.readlink(r'{root}/current') + '\\n'); "
        f"sys.exit({code})"
    )
    return [[sys.executable, "-c", program]]


def _restarts(root: Path) -> list[str]:
    path = root / "restarts"
    return path.read_text(encoding="ascii").split() if path.exists() else []


def _run(run_module: RunModule, root: Path, version: str, **options: Any) -> dict[str, Any]:
    options.setdefault("restart", _restart(root))
    return run_module("release_link", {"root": str(root), "version": version, **options})


def test_release_link_points_at_the_version_and_restarts_what_runs_it(
    run_module: RunModule, root: Path
) -> None:
    result = _run(run_module, root, "1.0.0")

    assert result["changed"]
    assert (result["before"]["version"], result["after"]["version"]) == ("1.1.0", "1.0.0")
    assert (root / "current").readlink() == Path("releases/1.0.0")
    assert _restarts(root) == ["releases/1.0.0"]


def test_release_link_that_is_right_restarts_nothing(run_module: RunModule, root: Path) -> None:
    result = _run(run_module, root, "1.1.0")

    assert not result["changed"]
    assert result["undo"] is None
    assert _restarts(root) == []


def test_release_link_undo_runs_what_ran_before(run_module: RunModule, root: Path) -> None:
    undo = _run(run_module, root, "1.0.0")["undo"]

    run_module("release_link", undo["args"])

    assert _restarts(root) == ["releases/1.0.0", "releases/1.1.0"]


def test_release_link_whose_restart_failed_restarts_at_the_next_run(
    run_module: RunModule, root: Path
) -> None:
    failed = _run(run_module, root, "1.0.0", restart=_restart(root, code=3))
    again = _run(run_module, root, "1.0.0")

    assert "ended with 3" in failed["msg"]
    assert again["changed"]
    assert again["before"] == {"version": "1.0.0", "restart_due": True}
    assert not _run(run_module, root, "1.0.0")["changed"]


@pytest.mark.parametrize(
    ("restart", "why"),
    [
        (["sleep", "600"], "sleep 600 was not done after 1 s and was told to end"),
        (["/nowhere/systemctl"], "/nowhere/systemctl cannot be run: No such file or directory"),
    ],
    ids=["hangs", "is not there"],
)
def test_release_link_whose_restart_could_not_be_done_says_what_runs(
    run_module: RunModule, root: Path, restart: list[str], why: str
) -> None:
    args = {"root": str(root), "version": "1.0.0", "restart": [restart], "timeout": 1}

    failed = run_module("release_link", args)

    assert failed["msg"].startswith(f"the link points at 1.0.0, but {why}")
    assert "What ran before may still run" in failed["msg"]
    assert _run(run_module, root, "1.0.0")["changed"]


def test_release_link_in_check_mode_touches_nothing(run_module: RunModule, root: Path) -> None:
    args = {"root": str(root), "version": "1.0.0", "restart": _restart(root)}

    result = run_module("release_link", args, check=True, diff=True)

    assert result["changed"]
    assert result["diff"]["after"]["version"] == "1.0.0"
    assert (root / "current").readlink() == Path("releases/1.1.0")
    assert _restarts(root) == []


@pytest.mark.parametrize("version", ["9.9.9", "", ".", "..", "../releases/1.0.0"])
def test_release_link_refuses_what_is_no_release(
    run_module: RunModule, root: Path, version: str
) -> None:
    result = _run(run_module, root, version)

    assert "there is no release" in result["msg"]
    assert (root / "current").readlink() == Path("releases/1.1.0")


def test_release_link_refuses_a_folder_in_the_place_of_the_link(
    run_module: RunModule, root: Path
) -> None:
    (root / "current").unlink()
    (root / "current").mkdir()

    assert "is not a link" in _run(run_module, root, "1.0.0")["msg"]


def test_release_link_always_leads_to_a_release_while_it_changes(
    run_module: RunModule, root: Path
) -> None:
    missing: list[int] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            if not (root / "current" / ".").exists():
                missing.append(1)

    watcher = threading.Thread(target=look)
    watcher.start()
    for version in ["1.0.0", "1.1.0"] * 10:
        _run(run_module, root, version, restart=[])
    stop.set()
    watcher.join()

    assert missing == []


@pytest.mark.attack
def test_release_link_killed_at_any_moment_is_put_right_by_the_next_run(
    run_module: RunModule, root: Path
) -> None:
    for number in range(40):
        version = "1.1.0" if number % 2 else "1.0.0"
        args = {"root": str(root), "version": version, "restart": _restart(root, seconds=0.05)}
        process = start_module("release_link", args)
        time.sleep(0.1 + number * 0.01)
        process.kill()
        process.communicate()

        assert (root / "current").resolve().name in ("1.0.0", "1.1.0")
        _run(run_module, root, version)
        assert _restarts(root)[-1] == f"releases/{version}"
