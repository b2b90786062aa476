"""What the screen knows of a run: built from the record's events and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from rollback_playbook.events.model import RecordEvent
from rollback_playbook.execution.outcome import failure_message

_MARKS = {"waiting": "·", "running": "▶", "done": "✓", "failed": "✗", "skipped": "-"}


@dataclass
class PhaseView:
    """One line of the screen."""

    name: str
    state: str = "waiting"
    started: float | None = None
    seconds: float | None = None
    changed: int = 0

    @property
    def mark(self) -> str:
        return _MARKS[self.state]


@dataclass
class RunView:
    """Phases, current tasks, gates and warnings; times are seconds since the incident began."""

    phases: list[PhaseView]
    target_seconds: float
    began: datetime | None = None
    #: What each host is doing, the latest last.
    tasks: dict[str, str] = field(default_factory=dict)
    gates: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, phases: Iterable[str], target_seconds: float) -> RunView:
        """A view of a run that has not begun."""
        return cls(phases=[PhaseView(name) for name in phases], target_seconds=target_seconds)

    def elapsed(self, now: datetime) -> float:
        """Seconds since the incident was declared."""
        return 0.0 if self.began is None else (now - self.began).total_seconds()

    def observe(self, event: RecordEvent) -> None:
        """Take one event of the record in; unknown kinds change nothing."""
        time = datetime.fromisoformat(event.time)
        self.began = self.began or time
        handler = _HANDLERS.get(event.type)
        if handler is not None:
            handler(self, self.elapsed(time), event)

    def phase(self, name: str) -> PhaseView:
        """The line of this phase, added when the scenario did not announce it."""
        for each in self.phases:
            if each.name == name:
                return each
        self.phases.append(PhaseView(name))
        return self.phases[-1]

    @property
    def running(self) -> PhaseView | None:
        """The phase that runs now."""
        return next((phase for phase in self.phases if phase.state == "running"), None)

    def _phase_started(self, at: float, event: RecordEvent) -> None:
        data = event.data
        phase = self.phase(str(data["name"]))
        phase.state, phase.started = "running", at
        self.tasks.clear()

    def _phase_finished(self, at: float, event: RecordEvent) -> None:
        data = event.data
        phase = self.phase(str(data["name"]))
        if phase.state == "running":
            phase.state = "failed" if data.get("status") == "failed" else "done"
        phase.seconds = at - (phase.started or 0.0)

    def _host_started(self, _at: float, event: RecordEvent) -> None:
        self.tasks[event.subject] = str(event.data.get("task", ""))

    def _task_finished(self, _at: float, event: RecordEvent) -> None:
        data, host = event.data, event.subject
        status = data.get("status")
        self.tasks[host] = str(data.get("task", ""))
        if status == "changed" and self.running is not None:
            self.running.changed += 1
        if status in ("failed", "unreachable") and self.running is not None:
            self.running.state = "failed"
            self.notes.append(f"{host}: {failure_message(data)}")

    def _gate(self, _at: float, event: RecordEvent) -> None:
        data = event.data
        checks = data.get("checks") or []
        green = sum(1 for check in checks if check.get("state") == "passed")
        self.gates.append(f"{data.get('outcome')}: {green} of {len(checks)} checks green")

    def _decision(self, _at: float, event: RecordEvent) -> None:
        data = event.data
        self.notes.append(f"decision: {data.get('level')} ({'; '.join(data.get('reasons', ()))})")

    def _line(self, _at: float, event: RecordEvent) -> None:
        if event.data.get("level") in ("warning", "error"):
            self.notes.append(str(event.data.get("text", "")).strip())

    def _note(self, _at: float, event: RecordEvent) -> None:
        self.notes.append(str(event.data.get("text", "")).strip())


_HANDLERS = {
    "phase.started": RunView._phase_started,
    "phase.finished": RunView._phase_finished,
    "host.started": RunView._host_started,
    "task.finished": RunView._task_finished,
    "gate.passed": RunView._gate,
    "gate.failed": RunView._gate,
    "decision.made": RunView._decision,
    "line.printed": RunView._line,
    "compensation.started": RunView._note,
    "note.added": RunView._note,
}
