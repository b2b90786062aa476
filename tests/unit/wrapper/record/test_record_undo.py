"""What the record says can be taken back, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rollback_playbook.events.model import RecordEvent
from rollback_playbook.record.undo import UndoStep, undo_steps

_TIME = "2026-11-22T03:12:00.000000Z"


def _record(*undos: dict[str, Any]) -> Iterator[RecordEvent]:
    for sequence, data in enumerate(undos, start=1):
        yield RecordEvent(
            id=f"x.{sequence}",
            source="/incidents/x",
            type="undo.recorded",
            time=_TIME,
            subject="edge1",
            data=data,
            sequence=sequence,
            prevhash="",
            hash="",
        )


def _undo(state: str, phase: str, *, module: str = "traffic", predicted: bool = False) -> Any:
    data = {"module": f"sre.rollback.{module}", "args": {"state": state}, "phase": phase}
    return {**data, "predicted": True} if predicted else data


def _said(steps: list[UndoStep]) -> list[tuple[object, str, bool]]:
    return [(step.args["state"], step.acts_in, step.certain) for step in steps]


def test_steps_come_latest_first_and_each_as_often_as_it_was_done() -> None:
    steps = undo_steps(
        _record(_undo("resumed", "Pause"), _undo("paused", "Resume"), _undo("resumed", "Pause"))
    )
    assert _said(steps) == [
        ("resumed", "Pause", True),
        ("paused", "Resume", True),
        ("resumed", "Pause", True),
    ]


def test_announced_step_that_was_done_counts_once() -> None:
    steps = undo_steps(
        _record(_undo("resumed", "Prepare", predicted=True), _undo("resumed", "Pause"))
    )
    assert _said(steps) == [("resumed", "Pause", True)]


def test_announced_step_whose_end_is_not_recorded_may_have_been_done() -> None:
    steps = undo_steps(
        _record(
            _undo("previous", "Assess", module="pg_restore_verified", predicted=True),
            _undo("previous", "Prepare", module="pg_restore_verified", predicted=True),
            _undo("resumed", "Prepare", predicted=True),
        )
    )
    assert _said(steps) == [("resumed", "Pause", False), ("previous", "Switch", False)]


def test_lock_of_the_environment_is_not_taken_back() -> None:
    assert undo_steps(_record(_undo("released", "Declare", module="environment_lock"))) == []
