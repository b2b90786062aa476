"""Whole incidents, as the command line writes them."""

from __future__ import annotations

from typing import Any

from rollback_playbook.events.conversion import EventConverter
from rollback_playbook.record.process import this_process
from rollback_playbook.record.writer import RecordWriter
from tests.unit.wrapper.record.builders import Workplace, declared


class Story:
    """Appends job events at given seconds after the declaration at 03:12:00."""

    def __init__(self, writer: RecordWriter) -> None:
        self._writer = writer
        self._converter = EventConverter()
        self._counter = 0

    def at(self, second: float, kind: str, **data: Any) -> None:
        self._counter += 1
        event = {
            "event": kind,
            "counter": self._counter,
            "created": _time(second),
            "event_data": data,
        }
        for draft in self._converter.convert(event):
            self._writer.append_draft(draft)

    def play(self, second: float, name: str) -> None:
        self.at(second, "playbook_on_play_start", name=name, play_uuid=name, pattern="all")

    def task(
        self, second: float, host: str, task: str, module: str, *, took: float = 0.4, **res: Any
    ) -> None:
        action = f"sre.rollback.{module}"
        kind = "runner_on_failed" if res.pop("failed", False) else "runner_on_ok"
        common = {"host": host, "task": task, "resolved_action": action}
        self.at(second, kind, duration=took, res={"changed": True, **res}, **common)

    def gate_begins(self, second: float, host: str, task: str) -> None:
        action = "sre.rollback.health_gate"
        self.at(second, "runner_on_start", host=host, task=task, resolved_action=action)

    def sampled(self, second: float, **data: Any) -> None:
        """What the gate says meanwhile, which Ansible does not count."""
        event = {"event": "gate_sampled", "created": _time(second), "event_data": data}
        for draft in self._converter.convert(event):
            self._writer.append_draft(draft)

    @property
    def count(self) -> int:
        return self._counter


def _time(second: float) -> str:
    return f"2026-11-22T03:{12 + int(second) // 60:02d}:{second % 60:09.6f}+00:00"


def _until_switch(writer: RecordWriter) -> Story:
    declared(writer)
    step = {"phase": "Pause", "task": "Users wait", "on": "edge1", "undo": "yes"}
    swap = {"phase": "Switch", "task": "Databases are swapped", "on": "db1", "undo": "yes"}
    plan = {
        "hosts": ["edge1", "db1"],
        "phases": [{"phase": "Pause", "predicted_seconds": 2.0}],
        "steps": [{**step, "predicted_seconds": 1.5}, swap],
        "last_drill": {"when": "2026-11-20T10:00:00Z", "version": "0.1.0"},
    }
    writer.append("plan.made", plan, time=_time(0.5))
    writer.append("approval.granted", {"by": "sam", "how": "typed the name"}, time=_time(1))
    writer.append("run.started", {"scenario": "full"}, time=_time(1))
    story = Story(writer)
    story.play(2, "Assess")
    reasons = ["data are damaged: totals"]
    writer.append("decision.made", {"level": "full", "reasons": reasons}, time=_time(4))
    story.play(5, "Prepare")
    story.task(
        8,
        "db1",
        "Backup is restored aside",
        "pg_restore_verified",
        took=3.0,
        tables=12,
        warnings=["collation version differs"],
        undo=None,
    )
    story.task(9, "db1", "Rows are salvaged", "pg_salvage", **_SALVAGED)
    story.play(10, "Pause")
    undo = {"module": "sre.rollback.traffic", "args": {"state": "resumed"}}
    change = {"before": {"state": "up"}, "after": {"state": "paused"}}
    story.task(11.5, "edge1", "Users wait", "traffic", undo=undo, **change)
    story.play(12, "Switch")
    return story


def full_rollback(workplace: Workplace) -> RecordWriter:
    """A rollback that went well, with an outage of two seconds."""
    with workplace.create() as writer:
        story = _until_switch(writer)
        undo = {"module": "sre.rollback.pg_restore_verified", "args": {"state": "previous"}}
        story.task(12.8, "db1", "Databases are swapped", "pg_restore_verified", undo=undo)
        story.play(13, "Verify")
        story.gate_begins(13.1, "edge1", "Shop is healthy")
        for second, state in ((13.2, "failed"), (15.0, "passed")):
            story.sampled(second, checks=[{"name": "shop answers", "state": state}])
        story.task(20, "edge1", "Shop is healthy", "health_gate", took=7.0, changed=False, **_GATE)
        story.play(21, "Close")
        story.at(22, "playbook_on_stats", processed={"edge1": 1, "db1": 1}, ok={"edge1": 2})
        run = {"rc": 0, "expected": story.count, "recorded": story.count}
        writer.append("run.finished", run, time=_time(22))
        writer.append("outage.measured", _OUTAGE, time=_time(41))
        writer.evidence("nginx.log", "GET /")
        closing = {"outcome": "healthy", "exit_code": 0, "summary": "rolled back and healthy"}
        writer.append("incident.closed", closing, time=_time(42))
        writer.append("note.added", {"author": "sam", "text": "it was the migration"})
    return writer


_SALVAGED = {
    "summary": "1,284 orders written since",
    "total": {"added": 1284},
    "undo": None,
}

_GATE = {
    "outcome": "passed",
    "elapsed": 7.0,
    "checks": [
        {
            "name": "shop answers",
            "state": "passed",
            "attempts": 3,
            "last_error": "HTTP status 503",
            "latency": {"p50": 0.002, "p95": 0.0123, "max": 0.0123},
            "samples": [{"outcome": "failed"}, {"outcome": "passed"}, {"outcome": "passed"}],
        }
    ],
}

_OUTAGE = {
    "requests": 1200,
    "failed": 37,
    "seconds": 2.0,
    "windows": [{"started": _time(12), "ended": _time(14), "seconds": 2.0}],
}


def interrupted_rollback(workplace: Workplace) -> RecordWriter:
    """The process was killed while it switched; nobody wrote an end."""
    writer = workplace.create()
    _until_switch(writer)
    gone = {**this_process(), "started": "1"}
    writer.append(
        "record.continued", {"schema": 1, "key": workplace.keys.active().id, "writer": gone}
    )
    writer.append("phase.started", {"name": "Switch"}, time=_time(14))
    return writer
