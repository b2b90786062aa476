"""The disk of the host fills up: before anything, in the middle, and the Engine's own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.compose.conftest import MakeEnvironment
from tests.compose.environment import Environment, Run
from tests.compose.stack import Stack

pytestmark = [
    pytest.mark.compose,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small tmpfs"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one, on which the host keeps everything of ours."""
    folder = tmp_path / "host"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """To the last byte; the file that does it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 512):
            with suppress(OSError):
                while file.write(b"\0" * size):
                    pass
    return filler


@pytest.fixture
def shop(stack: Stack, environment: MakeEnvironment, disk: Path) -> Environment:
    made = environment(stack, release_services=["web"], release_compose_trial=False)
    assert made.state == disk
    stack.deploy(web="2.0.0")
    stack.wait_for(500)
    return made


_SAY = ("application", "--reason", "orders fail", "--yes", "--to", "1.0.0")


def test_disk_that_is_full_refuses_the_rollback_and_changes_nothing(
    shop: Environment, disk: Path
) -> None:
    before = shop.stack.everything()
    filler = fill(disk)

    refused = shop.run(*_SAY)

    assert refused.code == 3, refused.output
    assert "No space left on device" in refused.output
    assert "nothing was changed" in refused.output
    assert shop.stack.everything() == before

    filler.unlink()
    done = shop.run(*_SAY)
    assert done.code == 0, done.output
    assert shop.stack.get() == (200, "1.0.0")


def test_disk_that_fills_up_before_the_switch_leaves_what_runs_and_it_goes_on_with_room(
    shop: Environment, disk: Path
) -> None:
    before = shop.stack.everything()

    stopped = run_until(shop, "Prepare", lambda: fill(disk))

    assert stopped.code == 3, stopped.output
    assert "No space left on device" in stopped.output
    assert shop.stack.everything() == before

    (disk / "filler").unlink()
    done = shop.run("continue", stopped.incident, "--yes")
    assert done.code == 0, done.output
    assert shop.stack.get() == (200, "1.0.0")


@pytest.fixture
def engine_disk(stack: Stack) -> Iterator[Path]:  # noqa: ARG001
    """That of the Engine, which is not to stay full."""
    folder = os.environ.get("ROLLBACK_TESTS_ENGINE")
    if folder is None:
        pytest.skip("the Engine is somebody's own, and so is its disk")
    disk = Path(folder)
    yield disk
    (disk / "filler").unlink(missing_ok=True)


@pytest.mark.attack
@pytest.mark.parametrize(("phase", "code"), [("Declare", 3), ("Prepare", 3), ("Switch", 4)])
def test_disk_of_the_engine_that_fills_up_leaves_users_what_they_have_and_it_goes_on_with_room(
    stack: Stack, environment: MakeEnvironment, engine_disk: Path, phase: str, code: int
) -> None:
    shop = environment(stack, release_services=["web"])
    stack.deploy(web="2.1.0")
    stack.wait_for(500)

    stopped = run_until(shop, phase, lambda: fill(engine_disk))

    assert stopped.code == code, stopped.output
    assert "no space left on device" in stopped.output
    assert stack.get("/")[0] == 200
    if code == 3:
        assert "nothing was changed" in stopped.output
        assert stack.images("web") == {"shop/web:2.1.0"}

    (engine_disk / "filler").unlink()
    done = shop.run("continue", stopped.incident, "--yes")
    assert done.code == 0, done.output
    assert stack.get() == (200, "1.0.0")
    assert len(stack.containers()["web"]) == 2


def run_until(shop: Environment, phase: str, act: Callable[[], object]) -> Run:
    """``application``, with something that happens as soon as the phase has begun."""
    process = shop.start(*_SAY)
    deadline = time.monotonic() + 300
    while not shop.has_begun(phase):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # Filling a disk takes as long as a phase.
    with standing_still(process.pid):
        act()
    output, _ = process.communicate(timeout=300)
    return Run(process.returncode, output)


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """A process, and all that it has started."""
    first = psutil.Process(pid)
    stopped = [first, *first.children(recursive=True)]
    for process in stopped:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    yield
    for process in stopped:
        with suppress(psutil.NoSuchProcess):
            process.resume()
