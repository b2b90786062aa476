"""What a unit was and what it said last is kept on its host, before it is restarted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.module_runner import RunModule

pytestmark = pytest.mark.integration


@pytest.fixture
def dest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs of systemd that say how they were called; the drills ask real ones."""
    for name in ("journalctl", "systemctl"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "restore-points" / "evidence"


def test_state_and_journal_of_every_unit_are_kept_for_their_owner_alone(
    run_module: RunModule, dest: Path
) -> None:
    units = ["shop.service", "worker@1.service"]

    result = run_module("systemd_evidence", {"units": units, "dest": str(dest), "lines": 7})

    assert result["files"] == ["units.txt", "shop.service.log", "worker@1.service.log"]
    assert "--lines=7 --unit=worker@1.service" in (dest / "worker@1.service.log").read_text()
    assert "-- shop.service worker@1.service" in (dest / "units.txt").read_text()
    assert dest.stat().st_mode & 0o777 == 0o700
    assert (dest / "units.txt").stat().st_mode & 0o777 == 0o600


def test_evidence_of_an_earlier_attempt_is_left_as_it_is(run_module: RunModule, dest: Path) -> None:
    args = {"units": ["shop.service"], "dest": str(dest)}
    run_module("systemd_evidence", args)
    (dest / "shop.service.log").write_text("the first attempt")

    result = run_module("systemd_evidence", args)

    assert not result["changed"]
    assert (dest / "shop.service.log").read_text() == "the first attempt"


def test_check_mode_writes_nothing(run_module: RunModule, dest: Path) -> None:
    args = {"units": ["shop.service"], "dest": str(dest)}

    assert run_module("systemd_evidence", args, check=True)["changed"]
    assert not dest.exists()


def test_a_journal_that_cannot_be_read_is_said_and_costs_nothing_else(
    run_module: RunModule, dest: Path, tmp_path: Path
) -> None:
    (tmp_path / "journalctl").write_text("#!/bin/sh\necho 'No journal files' >&2\nexit 1\n")

    result = run_module("systemd_evidence", {"units": ["shop.service"], "dest": str(dest)})

    assert result["files"] == ["units.txt"]
    assert result["missing"] == [
        {"file": "shop.service.log", "error": "journalctl ended with 1: No journal files"}
    ]
    assert [path.name for path in dest.iterdir()] == ["units.txt"]


def test_a_journal_that_hangs_is_waited_for_no_longer_than_was_said(
    run_module: RunModule, dest: Path, tmp_path: Path
) -> None:
    (tmp_path / "journalctl").write_text('#!/bin/sh\ntrap "" TERM\nexec sleep 600\n')
    units = [f"worker@{number}.service" for number in range(9)]

    began = time.monotonic()
    result = run_module("systemd_evidence", {"units": units, "dest": str(dest), "timeout": 1})

    assert time.monotonic() - began < 60
    assert result["files"] == ["units.txt"]
    assert [each["error"] for each in result["missing"]] == [
        "journalctl did not answer in time"
    ] * len(units)


def test_a_host_that_does_not_even_say_its_state_is_left_without_a_mark(
    run_module: RunModule, dest: Path, tmp_path: Path
) -> None:
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho 'Connection timed out' >&2\nexit 1\n")

    result = run_module("systemd_evidence", {"units": ["shop.service"], "dest": str(dest)})

    assert "systemctl ended with 1: Connection timed out" in result["msg"]
    assert not dest.exists()
