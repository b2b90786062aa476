"""What earlier incidents say of the next one: its times, its drill, and whether it may begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.errors import RefusedError
from rollback_playbook.plan.history import History, history_of
from rollback_playbook.plan.unfinished import refuse_unfinished
from rollback_playbook.record.drill_log import Drill, append_drill
from rollback_playbook.record.incidents import create_incident
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.redaction import Redactor

_STATES = {0: "healthy", 4: "failed", 5: "not proved", 130: "interrupted"}


class _Archive:
    """Incidents of one state directory, each written as a run writes it."""

    def __init__(self, path: Path) -> None:
        self.state_dir = path
        self.root = path / "incidents"
        self._keys = Keyring(path / "keys")

    def add(
        self,
        code: int | None,
        *,
        seconds: int = 10,
        environment: str = "lab",
        phases: tuple[str, ...] = ("Declare", "Switch"),
        **declared: Any,
    ) -> str:
        """``code`` is None for one that was killed: this process stands for the dead one."""
        writer = create_incident(
            self.root,
            scenario="full",
            environment=environment,
            keys=self._keys,
            redaction=Redactor(),
        )
        about = {"scenario": "full", "environment": environment, "operator": "ann", "version": "1"}
        writer.append("incident.declared", {"id": writer.incident, **about, **declared})
        writer.append("run.started", {"scenario": "full"})
        for minute, name in enumerate(phases):
            at = f"2026-11-22T03:{minute:02d}:"
            writer.append("phase.started", {"name": name}, time=f"{at}00.000000Z")
            self._task(writer, name, seconds)
            writer.append(
                "phase.finished",
                {"name": name, "status": "ok"},
                time=f"{at}{seconds:02d}.000000Z",
            )
        if code is not None:
            closing = {"outcome": _STATES[code], "exit_code": code, "summary": ""}
            writer.append("incident.closed", closing)
        writer.close()
        return writer.incident

    def drill(self, time: str, code: int) -> None:
        incident = f"{time[:10]}T10-00-00Z-full-lab-0001"
        append_drill(self.state_dir, Drill(time, "full", "lab", incident, code, version="1"))

    def history(self, environment: str = "lab") -> History:
        return history_of(self.root, "full", environment, state_dir=self.state_dir)

    def _task(self, writer: Any, phase: str, seconds: int) -> None:
        task = {"task": f"It does {phase}", "phase": phase}
        writer.append("task.started", {**task, "role": "sre.rollback.release"})
        writer.append(
            "task.finished", {**task, "status": "changed", "action": "x.y.z", "seconds": seconds}
        )


@pytest.fixture
def archive(tmp_path: Path) -> _Archive:
    return _Archive(tmp_path)


def test_times_are_the_medians_of_the_runs_that_ended_well(archive: _Archive) -> None:
    for seconds in (10, 20, 50):
        archive.add(0, seconds=seconds)
    archive.add(4, seconds=59)
    archive.add(0, seconds=1, check=True)

    history = archive.history()

    assert history.runs == 3
    assert history.phases == {"Declare": 20.0, "Switch": 20.0}
    assert history.steps["Switch", "sre.rollback.release"] == 20.0


def test_environment_without_runs_learns_from_another_and_says_from_which(
    archive: _Archive,
) -> None:
    archive.add(0, seconds=30, environment="staging")

    history = archive.history("prod")

    assert (history.environment, history.phases["Switch"]) == ("staging", 30.0)


def test_last_drill_that_passed_is_known_with_its_versions(archive: _Archive) -> None:
    archive.drill("2026-11-20T10:00:00Z", 0)
    archive.drill("2026-11-21T10:00:00Z", 0)
    archive.drill("2026-11-22T10:00:00Z", 4)

    drill = archive.history().drill

    assert drill is not None
    assert (drill.time, drill.environment, drill.version) == ("2026-11-21T10:00:00Z", "lab", "1")


def test_drill_after_which_the_fault_was_still_felt_has_not_passed(archive: _Archive) -> None:
    archive.add(0, kind="drill")
    archive.drill("2026-11-20T10:00:00Z", 5)

    assert archive.history().drill is None


def test_drill_whose_incident_was_removed_is_still_known(archive: _Archive) -> None:
    archive.drill("2026-11-20T10:00:00Z", 0)

    assert archive.history().runs == 0
    assert archive.history().drill is not None


def test_drill_log_that_cannot_be_read_stops_nobody(archive: _Archive) -> None:
    archive.add(0)
    (archive.state_dir / "drills.jsonl").mkdir()

    assert (archive.history().runs, archive.history().drill) == (1, None)


def test_nothing_is_known_where_nothing_has_run(archive: _Archive) -> None:
    assert archive.history().runs == 0


def test_second_run_is_refused_while_one_runs(archive: _Archive) -> None:
    running = archive.add(None)
    with pytest.raises(RefusedError, match=f"{running} runs on lab right now"):
        refuse_unfinished(archive.root, "lab")


def test_run_beside_everything_else_stands_in_nobodys_way(archive: _Archive) -> None:
    archive.add(None)
    refuse_unfinished(archive.root, "lab", is_beside=lambda name: name == "full")


def test_run_on_another_environment_stands_in_nobodys_way(archive: _Archive) -> None:
    archive.add(None, environment="staging")
    refuse_unfinished(archive.root, "lab")


def test_interrupted_one_is_to_be_continued_or_undone_first(archive: _Archive) -> None:
    interrupted = archive.add(130)
    with pytest.raises(RefusedError) as refused:
        refuse_unfinished(archive.root, "lab")
    assert f"rollback-playbook continue {interrupted}" in refused.value.hint


@pytest.mark.parametrize("code", [0, 5])
def test_interrupted_one_that_was_undone_stands_in_nobodys_way(
    archive: _Archive, code: int
) -> None:
    interrupted = archive.add(130)
    archive.add(code, undoes=interrupted)
    refuse_unfinished(archive.root, "lab")


def test_interrupted_one_that_changed_nothing_stands_in_nobodys_way(archive: _Archive) -> None:
    archive.add(130, phases=("Declare", "Assess"))
    refuse_unfinished(archive.root, "lab")
