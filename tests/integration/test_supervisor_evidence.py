"""What a program was and what it said last is kept, before supervisor restarts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule

pytestmark = pytest.mark.integration

_SAYS = """#!/bin/sh
case "$*" in
  *status*) echo "shop  FATAL  Exited too quickly"; exit 3;;
  *tail*stderr) echo "shop: ERROR (no log file)"; exit 1;;
  *) echo "$*";;
esac
"""


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, Any]:
    """A supervisorctl that says what a real one does of a program that has failed."""
    control = tmp_path / "supervisorctl"
    control.write_text(_SAYS)
    control.chmod(0o755)
    return {
        "programs": ["shop"],
        "config": "/etc/shop/supervisord.conf",
        "supervisorctl_path": str(control),
        "dest": str(tmp_path / "evidence"),
        "lines": 7,
    }


def test_a_program_that_has_failed_leaves_its_state_and_what_it_said(
    run_module: RunModule, asked: dict[str, Any]
) -> None:
    result = run_module("supervisor_evidence", asked)

    dest = Path(asked["dest"])
    assert result["files"] == ["services.txt", "shop.stdout.log", "shop.stderr.log"]
    # It goes to stdout: nothing is missing.
    assert result["missing"] == []
    assert (dest / "shop.stderr.log").read_text() == "shop: ERROR (no log file)\n"
    assert "FATAL" in (dest / "services.txt").read_text()
    said = (dest / "shop.stdout.log").read_text()
    assert said == "--configuration=/etc/shop/supervisord.conf tail -700 shop stdout\n"
    assert (dest / "services.txt").stat().st_mode & 0o777 == 0o600


def test_a_supervisor_that_hangs_is_asked_once(
    run_module: RunModule, asked: dict[str, Any], tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    hangs = f'#!/bin/sh\necho call >> {calls}\ntrap "" TERM\nexec sleep 600\n'
    Path(asked["supervisorctl_path"]).write_text(hangs)

    result = run_module("supervisor_evidence", {**asked, "timeout": 1})

    assert "did not answer in time" in result["msg"]
    assert calls.read_text().splitlines() == ["call"]
    assert not Path(asked["dest"]).exists()


def test_a_log_that_hangs_is_left_out_and_named(
    run_module: RunModule, asked: dict[str, Any]
) -> None:
    control = Path(asked["supervisorctl_path"])
    control.write_text(_SAYS.replace('echo "shop: ERROR (no log file)"; exit 1', "exec sleep 600"))

    result = run_module("supervisor_evidence", {**asked, "timeout": 2})

    assert result["files"] == ["services.txt", "shop.stdout.log"]
    (missing,) = result["missing"]
    assert missing == {"file": "shop.stderr.log", "error": f"{control} did not answer in time"}


def test_second_attempt_and_check_mode_ask_nothing(
    run_module: RunModule, asked: dict[str, Any]
) -> None:
    assert run_module("supervisor_evidence", asked, check=True)["changed"]
    assert not Path(asked["dest"]).exists()
    run_module("supervisor_evidence", asked)
    Path(asked["supervisorctl_path"]).unlink()

    again = run_module("supervisor_evidence", asked)

    assert not again["changed"]
    assert again["files"] == []
