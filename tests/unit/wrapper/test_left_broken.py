"""Whether a drill has left an environment broken, and what counts as having brought it back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.plan.left_broken import left_broken
from rollback_playbook.record.drill_log import Drill, append_drill
from rollback_playbook.record.incidents import create_incident
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.redaction import Redactor

_COMMAND = "rollback-playbook full -i staging"


class _Archive:
    """The incidents and the drill log of one state folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def drill(self, *, broken: bool, environment: str = "staging") -> None:
        left: Mapping[str, Any] = {"left_broken": broken, "command": _COMMAND}
        append_drill(self.path, Drill("2026-01-01T00:00:00Z", "full", environment, "", 130, **left))

    def incident(self, scenario: str, *phases: str, code: int | None = 0, **declared: Any) -> str:
        writer = create_incident(
            self.path / "incidents",
            scenario=scenario,
            environment="staging",
            keys=Keyring(self.path / "keys"),
            redaction=Redactor(),
        )
        about = {"id": writer.incident, "scenario": scenario, "environment": "staging"}
        writer.append("incident.declared", {**about, **declared})
        for name in phases:
            writer.append("phase.started", {"name": name})
        if code is not None:
            outcome = "interrupted" if code == 130 else "healthy" if code == 0 else "not proved"
            writer.append("incident.closed", {"outcome": outcome, "exit_code": code})
        writer.close()
        return writer.incident

    @property
    def left(self) -> Drill | None:
        return left_broken(self.path / "incidents", "staging", state_dir=self.path)


@pytest.fixture
def archive(tmp_path: Path) -> _Archive:
    return _Archive(tmp_path)


def test_drill_that_came_to_no_end_has_left_it_broken_with_what_brings_it_back(
    archive: _Archive,
) -> None:
    archive.drill(broken=True)

    assert archive.left is not None
    assert archive.left.command == _COMMAND


def test_drill_that_ended_well_or_was_elsewhere_has_left_nothing(archive: _Archive) -> None:
    archive.drill(broken=False)
    archive.drill(broken=True, environment="other")

    assert archive.left is None


@pytest.mark.parametrize(
    ("scenario", "phases"),
    [
        pytest.param("full", ("Switch", "Verify"), id="its own scenario"),
        pytest.param("gradual", ("Protect", "Verify"), id="another with a gate"),
        pytest.param("mark-good", ("Verify",), id="somebody says that it is well"),
    ],
)
def test_what_ended_healthy_since_has_brought_it_back(
    archive: _Archive, scenario: str, phases: tuple[str, ...]
) -> None:
    archive.drill(broken=True)
    archive.incident(scenario, "Declare", *phases)

    assert archive.left is None


@pytest.mark.parametrize(
    ("scenario", "phases", "code", "declared"),
    [
        pytest.param("full", ("Switch", "Verify"), 5, {}, id="not proved"),
        pytest.param("full", ("Switch", "Verify"), 0, {"check": True}, id="check mode"),
        pytest.param("traffic-resume", ("Resume",), 0, {}, id="no gate"),
        pytest.param("backup", ("Preserve", "Verify"), 0, {}, id="nightly backup"),
    ],
)
def test_what_proves_nothing_has_not_brought_it_back(
    archive: _Archive,
    scenario: str,
    phases: tuple[str, ...],
    code: int,
    declared: Mapping[str, Any],
) -> None:
    archive.drill(broken=True)
    archive.incident(scenario, "Declare", *phases, code=code, **declared)

    assert archive.left is not None


def test_rollback_that_was_interrupted_half_way_is_what_has_to_go_on(archive: _Archive) -> None:
    archive.drill(broken=True)
    interrupted = archive.incident("full", "Declare", "Switch", code=130)

    assert archive.left is not None
    assert archive.left.command == f"rollback-playbook continue {interrupted}"


def test_records_that_cannot_be_read_stop_nobody(archive: _Archive) -> None:
    (archive.path / "drills.jsonl").mkdir(parents=True)

    assert archive.left is None
