"""The disk of the host fills up: before anything, in the middle, and the Engine's own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.compose.conftest import MakeEnvironment
from tests.compose.stack import Environment, Run, Stack

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
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"\0" * 512):
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
    process = shop.start(*_SAY)
    deadline = time.monotonic() + 300
    while not shop.has_begun("Prepare"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    filler = fill(disk)
    output, _ = process.communicate(timeout=300)
    stopped = Run(process.returncode, output)

    assert stopped.code == 3, stopped.output
    assert "No space left on device" in stopped.output
    assert shop.stack.everything() == before

    filler.unlink()
    done = shop.run("continue", stopped.incident, "--yes")
    assert done.code == 0, done.output
    assert shop.stack.get() == (200, "1.0.0")
