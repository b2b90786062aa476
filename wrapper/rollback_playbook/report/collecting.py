"""From the events of a record to what a report shows. One pass; bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rollback_playbook.events.model import RecordEvent, seconds_between
from rollback_playbook.record.state import state_of
from rollback_playbook.record.summary import SummaryBuilder
from rollback_playbook.report.view import (
    Bar,
    Change,
    Gate,
    IncidentView,
    Note,
    Row,
    UndoStep,
    Window,
)

_MOST_CHANGES = 2_000
_MOST_ROWS = 5_000
_MOST_WARNINGS = 50
_MOST_GATES = 500
#: Of one host; what comes after is drawn into the last one.
_MOST_BARS = 300
_MESSAGE = 300


def collect(events: Iterable[RecordEvent]) -> IncidentView:
    """The view of a record, finished or not."""
    return _Collector().of(events)


class _Collector:
    def __init__(self) -> None:
        self._summary = SummaryBuilder()
        self._view = IncidentView(id="", summary={}, state="")
        self._origin = ""
        self._last = ""
        self._phase: Bar | None = None
        self._phase_begun: RecordEvent | None = None
        self._changes = 0
        self._failures: list[tuple[int | None, Row]] = []
        self._rescued: set[int] = set()

    def of(self, events: Iterable[RecordEvent]) -> IncidentView:
        for event in events:
            self._summary.apply(event)
            self._origin = self._origin or event.time
            self._last = event.time
            collect_event = _COLLECT.get(event.type)
            if collect_event is not None:
                collect_event(self, event)
        return self._finished()

    def _finished(self) -> IncidentView:
        view, summary = self._view, self._summary.as_dict()
        view.summary = summary
        view.id = str(summary.get("id", ""))
        view.state = state_of(summary)
        view.seconds = summary["seconds"]
        target = summary.get("target_seconds")
        view.target = float(target) if isinstance(target, (int, float)) else None
        view.decision = _untimed(summary["decision"])
        view.approvals = [_untimed(each) or {} for each in summary["approvals"]]
        self._end_phase(self._last, "interrupted" if view.state == "interrupted" else "running")
        view.rows += [
            row if counter not in self._rescued else _rescued(row)
            for counter, row in self._failures
        ]
        view.rows.sort(key=lambda row: (row.time, row.sequence))
        view.undo.reverse()
        return view

    def _offset(self, time: str) -> float | None:
        return seconds_between(self._origin, time)

    def _row(
        self,
        event: RecordEvent,
        what: str,
        *,
        phase: str | None = None,
        seconds: float | None = None,
        tone: str = "",
    ) -> Row:
        return Row(
            offset=self._offset(event.time),
            time=event.time,
            phase=self._phase_name if phase is None else phase,
            what=_short(what),
            seconds=seconds,
            tone=tone,
            sequence=event.sequence,
        )

    def _add(self, event: RecordEvent, what: str, **about: Any) -> None:
        if len(self._view.rows) < _MOST_ROWS:
            self._view.rows.append(self._row(event, what, **about))

    @property
    def _phase_name(self) -> str:
        return self._phase.name if self._phase else ""

    def _declared(self, event: RecordEvent) -> None:
        """T+0 is the declaration, not the moment the directory was made."""
        self._origin = event.time
        operator, reason = event.data.get("operator", ""), event.data.get("reason", "")
        by = f" by {operator}" if operator else ""
        self._add(event, f"incident declared{by}: {reason}".rstrip(": "))

    def _continued(self, event: RecordEvent) -> None:
        self._end_phase(event.time, "interrupted")
        self._add(event, "taken up again by another process", tone="warning")

    def _planned(self, event: RecordEvent) -> None:
        self._view.plan = event.data
        self._add(event, "plan made")

    def _approved(self, event: RecordEvent) -> None:
        by = event.data.get("by") or event.data.get("role") or "somebody"
        how = f" ({event.data['how']})" if event.data.get("how") else ""
        self._add(event, f"approved by {by}{how}")

    def _decided(self, event: RecordEvent) -> None:
        reasons = event.data.get("reasons") or ()
        because = "; ".join(map(str, reasons)) if isinstance(reasons, list) else str(reasons)
        level = event.data.get("level", "")
        self._add(event, f"decided: {level}" + (f" ({because})" if because else ""))

    def _phase_started(self, event: RecordEvent) -> None:
        self._end_phase(event.time, "interrupted")
        start = self._offset(event.time) or 0.0
        self._phase = Bar(str(event.data.get("name", "")), start, start, "running")
        self._phase_begun = event
        self._view.bars.append(self._phase)

    def _phase_finished(self, event: RecordEvent) -> None:
        self._end_phase(event.time, str(event.data.get("status", "ok")))

    def _end_phase(self, time: str, status: str) -> None:
        """One row for a phase, at its beginning, with how it ended and how long it took."""
        if self._phase is None or self._phase_begun is None:
            return
        self._phase.end = self._offset(time) or self._phase.start
        self._phase.status = status
        word, tone = _PHASE_ENDS.get(status, (status, "bad"))
        seconds = self._phase.end - self._phase.start
        what = f"{self._phase.name}: {word}"
        self._add(self._phase_begun, what, seconds=seconds, tone=tone)
        self._phase = self._phase_begun = None

    def _task(self, event: RecordEvent) -> None:
        status = str(event.data.get("status", ""))
        self._host_bar(event, status)
        self._warn(event)
        ignored = bool(event.data.get("ignored"))
        if status in _BAD and not ignored and len(self._failures) < _MOST_ROWS:
            what = f"{event.subject}: {event.data.get('task')} {status}: {_message(event)}"
            self._failures.append((event.counter, self._row(event, what, tone="bad")))
        if status == "changed" or status in _BAD:
            self._change(event, "ignored" if ignored else status)
        if event.data.get("action") in _DATA_MODULES and status != "skipped":
            self._data_facts(event)

    def _host_bar(self, event: RecordEvent, status: str) -> None:
        end, seconds = self._offset(event.time), event.data.get("seconds")
        if end is None or not isinstance(seconds, (int, float)) or status == "skipped":
            return
        bars = self._view.hosts.setdefault(event.subject, [])
        start = end - seconds
        same = bars and bars[-1].name == self._phase_name and bars[-1].status == status
        if same or len(bars) >= _MOST_BARS:
            bars[-1].end = max(bars[-1].end, end)
        else:
            bars.append(Bar(self._phase_name, start, end, status))

    def _warn(self, event: RecordEvent) -> None:
        for text in event.data.get("warnings") or ():
            self._warning(f"{event.subject}: {text}")

    def _warning(self, text: str) -> None:
        if len(self._view.warnings) < _MOST_WARNINGS and text not in self._view.warnings:
            self._view.warnings.append(_short(text))

    def _change(self, event: RecordEvent, status: str) -> None:
        if self._changes >= _MOST_CHANGES:
            self._view.omitted_changes += 1
            return
        self._changes += 1
        changes = self._view.changes.setdefault(event.subject, [])
        result = event.data.get("result") or {}
        changes.append(
            Change(
                host=event.subject,
                phase=str(event.data.get("phase", "")),
                task=str(event.data.get("task", "")),
                action=str(event.data.get("action", "")),
                status=status,
                offset=self._offset(event.time),
                seconds=event.data.get("seconds"),
                message=_message(event),
                before=result.get("before"),
                after=result.get("after"),
            )
        )

    def _data_facts(self, event: RecordEvent) -> None:
        result = event.data.get("result") or {}
        facts = {key: value for key, value in result.items() if key in _DATA_FACTS}
        if facts:
            about = {"task": event.data.get("task"), "host": event.subject}
            self._view.data_facts.append({**about, "facts": facts})

    def _compared(self, event: RecordEvent) -> None:
        """The proof of a drill: every table against the backup's manifest."""
        different = event.data.get("different")
        text = "data differ from the backup" if different else "data are those of the backup"
        self._add(event, text, tone="bad" if different else "good")
        self._view.data_facts.append({"task": text, "host": "", "facts": event.data})

    def _gate(self, event: RecordEvent) -> None:
        passed = event.type == "gate.passed"
        outcome = str(event.data.get("outcome") or ("passed" if passed else "failed"))
        checks = event.data.get("checks")
        gate = Gate(
            name=str(event.data.get("gate", "")),
            phase=str(event.data.get("phase") or self._phase_name),
            outcome=outcome,
            offset=self._offset(event.time),
            seconds=event.data.get("elapsed"),
            checks=tuple(each for each in checks or () if isinstance(each, Mapping))
            if isinstance(checks, list)
            else (),
            message=_short(str(event.data.get("msg") or "")),
        )
        self._view.gates = [*self._view.gates, gate][-_MOST_GATES:]
        tone = "good" if passed else "bad"
        self._add(event, f"gate {outcome}: {gate.name}", seconds=gate.seconds, tone=tone)

    def _outage(self, event: RecordEvent) -> None:
        self._view.outage = event.data
        self._view.windows = []
        for window in event.data.get("windows") or ():
            self._window(event, window)

    def _window(self, event: RecordEvent, window: Mapping[str, Any]) -> None:
        started, ended = str(window.get("started", "")), str(window.get("ended", ""))
        seconds = float(window.get("seconds") or seconds_between(started, ended) or 0.0)
        start, end = self._offset(started), self._offset(ended)
        self._view.windows.append(Window(start, end, seconds, started, ended))
        self._view.rows.append(
            Row(
                offset=start,
                time=started,
                phase="",
                what="users see no service",
                seconds=seconds,
                tone="bad",
                sequence=event.sequence,
            )
        )

    def _undo(self, event: RecordEvent) -> None:
        self._view.undo.append(
            UndoStep(
                module=str(event.data.get("module", "")),
                host=str(event.data.get("host") or event.subject),
                task=str(event.data.get("task", "")),
                phase=str(event.data.get("phase") or self._phase_name),
                args=event.data.get("args") or {},
                sequence=event.sequence,
            )
        )

    def _evidence(self, event: RecordEvent) -> None:
        self._view.evidence.append(event.data)

    def _note(self, event: RecordEvent) -> None:
        corrects = event.data.get("corrects")
        author, text = str(event.data.get("author", "")), str(event.data.get("text", ""))
        self._view.notes.append(Note(event.time, author, text, corrects))
        word = f"correction to event {corrects}" if corrects else "note"
        self._add(event, f"{word} by {author}: {text}", phase="")

    def _line(self, event: RecordEvent) -> None:
        if event.data.get("level") in ("warning", "error"):
            self._warning(str(event.data.get("text", "")))

    def _stats(self, event: RecordEvent) -> None:
        for task in event.data.get("rescued_tasks") or ():
            if isinstance(task, Mapping) and isinstance(task.get("counter"), int):
                self._rescued.add(task["counter"])

    def _run_finished(self, event: RecordEvent) -> None:
        """Numbers of job events begin anew with the next run."""
        self._view.rows += [
            row if counter not in self._rescued else _rescued(row)
            for counter, row in self._failures
        ]
        self._failures.clear()
        self._rescued.clear()
        expected, recorded = event.data.get("expected"), event.data.get("recorded")
        if isinstance(expected, int) and isinstance(recorded, int) and recorded < expected:
            self._problem(event, f"{expected - recorded} of {expected} events never arrived")

    def _handler_failed(self, event: RecordEvent) -> None:
        text = event.data.get("error") or event.data.get("message") or "an event was lost"
        self._problem(event, f"an event could not be handled: {text}")

    def _torn(self, event: RecordEvent) -> None:
        self._problem(event, "a crash left a torn line before this event")

    def _problem(self, event: RecordEvent, text: str) -> None:
        self._view.problems.append(_short(text))
        self._add(event, text, tone="warning")

    def _compensation(self, event: RecordEvent) -> None:
        text = event.data.get("text") or event.type.replace(".", " ")
        failed = event.data.get("done") is False
        self._add(event, str(text), tone="bad" if failed else "warning")

    def _closed(self, event: RecordEvent) -> None:
        outcome = str(event.data.get("outcome", ""))
        tone = "good" if event.data.get("exit_code") == 0 else "bad"
        text = event.data.get("summary") or outcome
        seconds = self._offset(event.time)
        self._add(event, f"closed: {text}", phase="", seconds=seconds, tone=tone)


_DATA_FACTS = frozenset(
    {
        "backup", "conflicts", "downtime_ms", "export", "failed_checks", "merge", "merged",
        "not_merged", "outcome", "predecessor", "summary", "tables", "total", "unmerged",
    }
)  # fmt: skip
_DATA_MODULES = frozenset(
    f"sre.rollback.{name}"
    for name in ("pg_backup_verified", "pg_integrity", "pg_restore_verified", "pg_salvage")
)

_COLLECT: dict[str, Callable[[_Collector, RecordEvent], None]] = {
    "incident.declared": _Collector._declared,
    "record.continued": _Collector._continued,
    "record.torn": _Collector._torn,
    "plan.made": _Collector._planned,
    "approval.granted": _Collector._approved,
    "decision.made": _Collector._decided,
    "phase.started": _Collector._phase_started,
    "phase.finished": _Collector._phase_finished,
    "task.finished": _Collector._task,
    "gate.passed": _Collector._gate,
    "gate.failed": _Collector._gate,
    "outage.measured": _Collector._outage,
    "data.compared": _Collector._compared,
    "undo.recorded": _Collector._undo,
    "evidence.kept": _Collector._evidence,
    "note.added": _Collector._note,
    "correction.added": _Collector._note,
    "line.printed": _Collector._line,
    "stats.recorded": _Collector._stats,
    "run.finished": _Collector._run_finished,
    "handler.failed": _Collector._handler_failed,
    "compensation.started": _Collector._compensation,
    "compensation.finished": _Collector._compensation,
    "incident.closed": _Collector._closed,
}


_BAD = ("failed", "unreachable")

#: Status of a phase → what a person calls it, and its tone.
_PHASE_ENDS = {
    "ok": ("done", "good"),
    "rescued": ("done, after a failure that was rescued", "warning"),
    "running": ("running", ""),
    "interrupted": ("interrupted", "warning"),
}


def _untimed(fact: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A decision or an approval without its time, which is in the timeline."""
    return None if fact is None else {key: each for key, each in fact.items() if key != "time"}


def _rescued(row: Row) -> Row:
    return Row(
        offset=row.offset,
        time=row.time,
        phase=row.phase,
        what=f"{row.what} (rescued)",
        seconds=row.seconds,
        tone="warning",
        sequence=row.sequence,
    )


def _message(event: RecordEvent) -> str:
    if event.data.get("censored"):
        return "the result is hidden (no_log)"
    result = event.data.get("result") or {}
    return _short(str(result.get("msg") or ""))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MESSAGE else line[: _MESSAGE - 1] + "…"
