"""What the record says can be taken back, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rollback_playbook.events.model import RecordEvent
from rollback_playbook.record.undo import UndoStep, steps_without_undo, undo_steps

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


def _events(*events: tuple[str, dict[str, Any]]) -> Iterator[RecordEvent]:
    for number, (kind, data) in enumerate(events, start=1):
        yield RecordEvent(
            id=f"x.{number}",
            source="/incidents/x",
            type=kind,
            time=_TIME,
            subject=data.pop("host", "app1"),
            data={"phase": "Switch", "status": "changed", **data},
            counter=number,
            sequence=number,
            prevhash="",
            hash="",
        )


_PROMISE = ("undo.recorded", {"module": "m", "args": {}, "of": "ansible.builtin.set_fact"})


def _done(task: str, action: str, **data: Any) -> tuple[str, dict[str, Any]]:
    return "task.finished", {"task": task, "action": action, **data}


def test_a_role_that_tells_its_undo_answers_for_the_modules_of_others() -> None:
    events = _events(
        _PROMISE,
        _done("Values are set", "ansible.builtin.lineinfile"),
        _done("Keys are gone", "sre.rollback.redis_flush"),
        _done("Values are set", "ansible.builtin.lineinfile", host="app2"),
        _done("Something is sent", "ansible.builtin.uri", phase="Resume"),
    )
    assert steps_without_undo(events) == [
        "app1: Keys are gone",
        "app2: Values are set",
        "app1: Something is sent",
    ]
