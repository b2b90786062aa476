"""The disk of the records fills up during a rollback: it is said, and the rollback ends."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.conftest import Operator

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.drill,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small tmpfs"),
]


@pytest.fixture
def cramped(broken: Operator, tmp_path: Path) -> Iterator[Operator]:
    """Somebody whose records have 256 KiB, which a run of full does not fit into."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "none", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount a tmpfs")
    yield replace(broken, state_dir=folder)
    subprocess.run(["umount", str(folder)], check=True)


def test_disk_that_fills_up_during_a_run_is_said_and_the_rollback_ends_healthy(
    cramped: Operator,
) -> None:
    done = cramped.types("full", "-i", "lab", "--take-over", "--reason", "a small disk")

    assert done.returncode == 6, done.stderr[-3000:]
    assert "rolled back and healthy; but the record is incomplete" in done.stderr
    assert "No space left on device" in done.stderr
    assert cramped.health() == {"status": "ok", "release": "1.0.0", "schema": 1}
    assert cramped.users_get() == "ok"
    verified = cramped.types("incidents", "verify", "last")
    assert verified.returncode == 6
    assert "integrity: as it was written" in verified.stdout, verified.stdout
    assert "incomplete" in verified.stdout


def test_disk_that_is_full_already_refuses_the_run_and_changes_nothing(cramped: Operator) -> None:
    before = cramped.fingerprint()
    filler = cramped.state_dir / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(b"\0" * (1 << 20))

    done = cramped.types("full", "-i", "lab", "--take-over", "--reason", "a small disk")

    assert done.returncode == 3, done.stderr[-3000:]
    assert "nothing was changed" in done.stderr
    assert "Traceback" not in done.stderr
    assert cramped.fingerprint() == before
