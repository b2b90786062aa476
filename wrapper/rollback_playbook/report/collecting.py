"""From the events of a record to what a report shows. One pass; bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rollback_playbook.events.model import RecordEvent, seconds_between
from rollback_playbook.record.state import state_of
from rollback_playbook.record.summary import SummaryBuilder
from rollback_playbook.record.undo import UndoLedger
from rollback_playbook.report import facts
from rollback_playbook.report.host_bars import HostBars
from rollback_playbook.report.spells import spells_of
from rollback_playbook.report.view import Bar, IncidentView, Row

_MOST_CHANGES = 2_000
_MOST_ROWS = 5_000
_MOST_WARNINGS = 50
_MOST_GATES = 500
_MOST_TURNS = 50


def collect(events: Iterable[RecordEvent]) -> IncidentView:
    """The view of a record, finished or not."""
    return _Collector().of(events)


class _Collector:
    def __init__(self) -> None:
        self._summary = SummaryBuilder()
        self._undo = UndoLedger()
        self._view = IncidentView(id="", summary={}, state="")
        self._origin = ""
        self._last = ""
        self._phase: Bar | None = None
        self._phase_begun: RecordEvent | None = None
        self._changes = 0
        self._turns: list[facts.Turn] = []
        self._bars = HostBars()
        self._failures: list[tuple[int | None, Row]] = []
        self._rescued: set[int] = set()

    def of(self, events: Iterable[RecordEvent]) -> IncidentView:
        for event in events:
            self._summary.apply(event)
            self._undo.apply(event)
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
        self._settle_failures()
        view.rows.sort(key=lambda row: (row.time, row.sequence))
        view.hosts = self._bars.hosts
        view.undo = self._undo.steps()
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
            what=facts.short(what),
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
        operator, reason = facts.word(event, "operator"), facts.word(event, "reason")
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
        if self._view.decision == event.data:
            return
        self._view.decision = event.data
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
            what = f"{event.subject}: {event.data.get('task')} {status}: {facts.message_of(event)}"
            self._failures.append((event.counter, self._row(event, what, tone="bad")))
        if status == "changed" or status in _BAD:
            self._change(event, "ignored" if ignored else status)
        data_facts = facts.data_facts_of(event)
        if data_facts is not None and data_facts not in self._view.data_facts[-_MOST_GATES:]:
            self._view.data_facts.append(data_facts)

    def _host_bar(self, event: RecordEvent, status: str) -> None:
        end, seconds = self._offset(event.time), event.data.get("seconds")
        if end is not None and isinstance(seconds, (int, float)) and status != "skipped":
            phase = self._phase_name
            self._bars.add(event.subject, phase=phase, status=status, end=end, seconds=seconds)

    def _warn(self, event: RecordEvent) -> None:
        warnings = event.data.get("warnings")
        for text in warnings if isinstance(warnings, list) else ():
            self._warning(f"{event.subject}: {text}")

    def _warning(self, text: str) -> None:
        if len(self._view.warnings) < _MOST_WARNINGS and text not in self._view.warnings:
            self._view.warnings.append(facts.short(text))

    def _change(self, event: RecordEvent, status: str) -> None:
        if self._changes >= _MOST_CHANGES:
            self._view.omitted_changes += 1
            return
        self._changes += 1
        change = facts.change_of(event, status, self._offset(event.time))
        self._view.changes.setdefault(event.subject, []).append(change)

    def _compared(self, event: RecordEvent) -> None:
        """The proof of a drill: every table against the backup's manifest."""
        different = event.data.get("different")
        text = "data differ from the backup" if different else "data are those of the backup"
        self._add(event, text, tone="bad" if different else "good")
        self._view.data_facts.append({"task": text, "host": "", "facts": event.data})

    def _sampled(self, event: RecordEvent) -> None:
        if len(self._turns) < _MOST_TURNS:
            self._turns.append(facts.turn_of(event, self._offset(event.time)))

    def _gate(self, event: RecordEvent) -> None:
        turns, self._turns = self._turns, []
        gate = facts.gate_of(
            event, phase=self._phase_name, offset=self._offset(event.time), turns=turns
        )
        self._view.gates = [*self._view.gates, gate][-_MOST_GATES:]
        tone = "good" if event.type == "gate.passed" else "bad"
        self._add(event, f"gate {gate.outcome}: {gate.name}", seconds=gate.seconds, tone=tone)

    def _outage(self, event: RecordEvent) -> None:
        self._view.outage = event.data
        self._view.windows = list(facts.windows_of(event, self._origin))
        self._view.rows += [
            Row(
                offset=spell.start,
                time=spell.started,
                phase="",
                what=spell.text,
                seconds=spell.seconds,
                tone="bad",
                sequence=event.sequence,
            )
            for spell in spells_of(self._view.windows)
        ]

    def _evidence(self, event: RecordEvent) -> None:
        self._view.evidence.append(event.data)

    def _note(self, event: RecordEvent) -> None:
        note = facts.note_of(event)
        self._view.notes.append(note)
        kind = f"correction to event {note.corrects}" if note.corrects else "note"
        self._add(event, f"{kind} by {note.author}: {note.text}", phase="")

    def _line(self, event: RecordEvent) -> None:
        if event.data.get("level") in ("warning", "error"):
            self._warning(str(event.data.get("text", "")))

    def _stats(self, event: RecordEvent) -> None:
        for task in facts.items(event.data.get("rescued_tasks")):
            if isinstance(task.get("counter"), int):
                self._rescued.add(task["counter"])

    def _run_finished(self, event: RecordEvent) -> None:
        self._settle_failures()
        expected, recorded = event.data.get("expected"), event.data.get("recorded")
        if isinstance(expected, int) and isinstance(recorded, int) and recorded < expected:
            self._problem(event, f"{expected - recorded} of {expected} events never arrived")

    def _settle_failures(self) -> None:
        """Which were rescued is known at the end of a run; the next one numbers its events anew."""
        self._view.rows += [
            row if counter not in self._rescued else facts.rescued(row)
            for counter, row in self._failures
        ]
        self._failures.clear()
        self._rescued.clear()

    def _handler_failed(self, event: RecordEvent) -> None:
        text = event.data.get("error") or event.data.get("message") or "an event was lost"
        self._problem(event, f"an event could not be handled: {text}")

    def _torn(self, event: RecordEvent) -> None:
        self._problem(event, "a crash left a torn line before this event")

    def _problem(self, event: RecordEvent, text: str) -> None:
        self._view.problems.append(facts.short(text))
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
    "gate.sampled": _Collector._sampled,
    "gate.passed": _Collector._gate,
    "gate.failed": _Collector._gate,
    "outage.measured": _Collector._outage,
    "data.compared": _Collector._compared,
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
    "skipped": ("not begun: no host was left for it", "warning"),
}


def _untimed(fact: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A decision or an approval without its time, which is in the timeline."""
    return None if fact is None else {key: each for key, each in fact.items() if key != "time"}
