"""The summary of an incident: derived from its record, event by event, and from nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rollback_playbook.events.canonical import canonical
from rollback_playbook.events.model import RecordEvent, seconds_between
from rollback_playbook.record.keys import Key
from rollback_playbook.record.undo import changes_back

SCHEMA = 1

_MAX_LISTED = 200

_DECLARED = (
    "scenario",
    "environment",
    "operator",
    "reason",
    "target_seconds",
    "version",
    "hosts",
    "kind",
    "check",
    "continues",
    "undoes",
)


class SummaryBuilder:
    """Takes a record's events in order; ``as_dict`` is the summary so far.

    Bounded: a record of a million events has a summary of a few kilobytes.
    """

    def __init__(self) -> None:
        self._about: dict[str, Any] = {}
        self._phases: list[dict[str, Any]] = []
        self._gates: list[dict[str, Any]] = []
        self._approvals: list[dict[str, Any]] = []
        self._runs: list[dict[str, Any]] = []
        self._decision: dict[str, Any] | None = None
        self._outage: dict[str, Any] | None = None
        self._closed: dict[str, Any] | None = None
        self._counts: Counter[str] = Counter()
        self._tasks: dict[str, int] = {}
        self._events = 0
        self._last_time = ""

    def apply(self, event: RecordEvent) -> None:
        self._events = event.sequence
        self._last_time = event.time
        apply = _APPLY.get(event.type)
        if apply is not None:
            apply(self, event)

    @property
    def is_closed(self) -> bool:
        return self._closed is not None

    def as_dict(self) -> dict[str, Any]:
        declared = self._about.get("declared") or self._about.get("opened") or ""
        until = self._closed["time"] if self._closed else self._last_time
        return {
            "schema": SCHEMA,
            **self._about,
            "state": "closed" if self._closed else "open",
            "outcome": self._closed["outcome"] if self._closed else None,
            "exit_code": self._closed["exit_code"] if self._closed else None,
            "summary": self._closed["summary"] if self._closed else "",
            "closed": self._closed["time"] if self._closed else None,
            "seconds": seconds_between(declared, until),
            "phase": next((p["name"] for p in self._phases if p["status"] == "running"), None),
            "phases": self._phases,
            "decision": self._decision,
            "approvals": self._approvals,
            "gates": self._gates,
            "outage": self._outage,
            "runs": self._runs,
            "tasks": {name: self._tasks.get(name, 0) for name in _STATUSES},
            "undo_steps": self._counts["undo.recorded"],
            "notes": self._counts["note.added"] + self._counts["correction.added"],
            "warnings": self._counts["warning"],
            "blanked": self._counts["blanked"],
            "handler_failures": self._counts["handler.failed"],
            "events": self._events,
            "last_event": self._last_time,
        }

    def _opened(self, event: RecordEvent) -> None:
        """A record that goes on is open again, and owned by the process that goes on with it."""
        self._about.setdefault("opened", event.time)
        self._about["id"] = event.source.rpartition("/")[2]
        for name in ("writer", "key", "imported_from"):
            if name in event.data:
                self._about[name] = event.data[name]
        for name in ("scenario", "environment"):
            self._about.setdefault(name, event.data.get(name, ""))
        self._closed = None

    def _declared(self, event: RecordEvent) -> None:
        self._about["declared"] = event.time
        self._about.update({name: event.data[name] for name in _DECLARED if name in event.data})

    def _phase_started(self, event: RecordEvent) -> None:
        self._end_running(event, "interrupted")
        phase = {"name": event.data.get("name", ""), "started": event.time, "status": "running"}
        self._phases = [*self._phases, phase][-_MAX_LISTED:]

    def _phase_finished(self, event: RecordEvent) -> None:
        self._end_running(event, str(event.data.get("status", "ok")))

    def _end_running(self, event: RecordEvent, status: str) -> None:
        for phase in self._phases:
            if phase["status"] == "running":
                phase["status"] = status
                phase["finished"] = event.time
                phase["seconds"] = seconds_between(phase["started"], event.time)

    def _task_finished(self, event: RecordEvent) -> None:
        data = event.data
        status = "ignored" if data.get("ignored") else str(data.get("status"))
        self._tasks[status] = self._tasks.get(status, 0) + 1
        if "warnings" in data and isinstance(data["warnings"], list):
            self._counts["warning"] += len(data["warnings"])
        if data.get("blanked"):
            self._counts["blanked"] += 1

    def _gate(self, event: RecordEvent) -> None:
        gate = {
            "name": event.data.get("gate", ""),
            "phase": event.data.get("phase", ""),
            "passed": event.type == "gate.passed",
            "time": event.time,
        }
        self._gates = [*self._gates, gate][-_MAX_LISTED:]

    def _line(self, event: RecordEvent) -> None:
        self._counts["warning"] += event.data.get("level") in ("warning", "error")

    def _run_started(self, event: RecordEvent) -> None:
        self._runs = [*self._runs, {"started": event.time}][-_MAX_LISTED:]

    def _run_finished(self, event: RecordEvent) -> None:
        if not self._runs:
            self._runs = [{}]
        fields = ("rc", "expected", "recorded", "status")
        known = {name: event.data[name] for name in fields if name in event.data}
        self._runs[-1].update({"finished": event.time, **known})

    def _take_decision(self, event: RecordEvent) -> None:
        self._decision = {**event.data, "time": event.time}

    def _approved(self, event: RecordEvent) -> None:
        self._approvals = [*self._approvals, {**event.data, "time": event.time}][-_MAX_LISTED:]

    def _measured(self, event: RecordEvent) -> None:
        self._outage = {**event.data, "time": event.time}

    def _closing(self, event: RecordEvent) -> None:
        self._end_running(event, "interrupted")
        self._closed = {
            "time": event.time,
            "outcome": event.data.get("outcome"),
            "exit_code": event.data.get("exit_code"),
            "summary": event.data.get("summary", ""),
        }

    def _undo(self, event: RecordEvent) -> None:
        """What is only announced may never be done."""
        self._counts[event.type] += changes_back(event) and not event.data.get("predicted")

    def _counted(self, event: RecordEvent) -> None:
        self._counts[event.type] += 1


_STATUSES = ("ok", "changed", "skipped", "failed", "unreachable", "ignored")

_APPLY: dict[str, Callable[[SummaryBuilder, RecordEvent], None]] = {
    "record.opened": SummaryBuilder._opened,
    "record.continued": SummaryBuilder._opened,
    "incident.declared": SummaryBuilder._declared,
    "incident.closed": SummaryBuilder._closing,
    "phase.started": SummaryBuilder._phase_started,
    "phase.finished": SummaryBuilder._phase_finished,
    "task.finished": SummaryBuilder._task_finished,
    "gate.passed": SummaryBuilder._gate,
    "gate.failed": SummaryBuilder._gate,
    "line.printed": SummaryBuilder._line,
    "run.started": SummaryBuilder._run_started,
    "run.finished": SummaryBuilder._run_finished,
    "decision.made": SummaryBuilder._take_decision,
    "approval.granted": SummaryBuilder._approved,
    "outage.measured": SummaryBuilder._measured,
    "undo.recorded": SummaryBuilder._undo,
    "note.added": SummaryBuilder._counted,
    "correction.added": SummaryBuilder._counted,
    "handler.failed": SummaryBuilder._counted,
}


def sealed_summary(content: Mapping[str, Any], key: Key) -> dict[str, Any]:
    """``content`` with the key's id and a MAC over everything else."""
    unsealed = {**content, "sealed_with": key.id}
    return {**unsealed, "mac": key.mac(canonical(unsealed))}


def is_sealed(content: Mapping[str, Any], key: Key) -> bool:
    """Whether a summary is as a holder of the key wrote it."""
    unsealed = {name: value for name, value in content.items() if name != "mac"}
    return key.is_of(canonical(unsealed), str(content.get("mac", "")))


def summary_of(events: Iterable[RecordEvent]) -> dict[str, Any]:
    """The summary of a whole record."""
    builder = SummaryBuilder()
    for event in events:
        builder.apply(event)
    return builder.as_dict()
