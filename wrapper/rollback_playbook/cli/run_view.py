"""What the screen knows of a run: built from the record's events and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rollback_playbook.events.model import RecordEvent
from rollback_playbook.execution.outcome import failure_message

_MARKS = {"waiting": "·", "running": "▶", "done": "✓", "failed": "✗", "skipped": "-"}
_BAD = frozenset({"failed", "unreachable"})
#: Of the checks of a gate that are not green.
_MOST_NAMED = 4
#: More are never shown, and a run of days must not grow without bound.
_MOST_NOTES = 500


@dataclass
class PhaseView:
    """One line of the screen. ``predicted`` is how long it took before, when that is known."""

    name: str
    state: str = "waiting"
    started: float | None = None
    seconds: float | None = None
    changed: int = 0
    predicted: float | None = None

    @property
    def mark(self) -> str:
        return _MARKS[self.state]

    def remaining(self, now: float) -> float:
        """Seconds it will still take by what it took before; none once it took longer."""
        if self.predicted is None or self.state not in ("waiting", "running"):
            return 0.0
        spent = now - self.started if self.started is not None else 0.0
        return max(self.predicted - spent, 0.0)


@dataclass
class HostView:
    """What one host does, since when, and how far it is where its task tells."""

    task: str
    since: float
    state: str = "running"
    percent: float | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None
    #: Seconds that the task still takes, by its own account.
    remaining: float | None = None


@dataclass(frozen=True)
class GateView:
    """A gate's verdict."""

    name: str
    outcome: str
    green: int
    total: int
    #: The checks that are not green.
    red: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"

    @property
    def decided(self) -> bool:
        return self.outcome != "sampled"

    def __str__(self) -> str:
        word = f"gate {self.outcome}" if self.decided else "gate"
        text = f"{word}: {self.name}, {self.green} of {self.total} checks are green"
        if not self.red:
            return text
        more = len(self.red) - _MOST_NAMED
        named = ", ".join(self.red[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        return f"{text}; {'not' if self.decided else 'not yet'}: {named}"


@dataclass(frozen=True)
class Note:
    """A sentence that the operator should have read; ``subject`` is the host it is about."""

    text: str
    subject: str = ""
    #: ``bad``, ``warning`` or ``fact``.
    tone: str = "warning"


@dataclass
class RunView:
    """Phases, hosts, gates and notes; times are seconds since the incident began."""

    phases: list[PhaseView]
    target_seconds: float
    began: datetime | None = None
    #: In the order in which they first did something in this phase.
    hosts: dict[str, HostView] = field(default_factory=dict)
    gates: list[GateView] = field(default_factory=list)
    #: The gate that has not decided yet.
    sampled: GateView | None = None
    notes: list[Note] = field(default_factory=list)
    #: By host, what the items of the loop that runs have failed of: the loop itself does not say.
    _items: dict[str, list[str]] = field(default_factory=dict)
    _noted: set[Note] = field(default_factory=set)

    @classmethod
    def of(
        cls,
        phases: Iterable[str],
        target_seconds: float,
        predicted: Mapping[str, float] | None = None,
    ) -> RunView:
        """A view of a run that has not begun; ``predicted`` has seconds by phase."""
        known = predicted or {}
        return cls(
            phases=[PhaseView(name, predicted=known.get(name)) for name in phases],
            target_seconds=target_seconds,
        )

    def elapsed(self, now: datetime) -> float:
        """Seconds since the incident was declared."""
        return 0.0 if self.began is None else (now - self.began).total_seconds()

    def expected_end(self, now: float) -> float | None:
        """When the run will have ended by what it took before; None when that is not known."""
        open_phases = [each for each in self.phases if each.state in ("waiting", "running")]
        if not open_phases or all(each.predicted is None for each in self.phases):
            return None
        return now + sum(each.remaining(now) for each in open_phases)

    def observe(self, event: RecordEvent) -> list[Note]:
        """Take one event of the record in; returns what the operator should read because of it.

        Unknown kinds change nothing.
        """
        time = datetime.fromisoformat(event.time)
        self.began = self.began or time
        handler = _HANDLERS.get(event.type)
        if handler is None:
            return []
        return self._keep(handler(self, self.elapsed(time), event) or [])

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

    def _keep(self, notes: list[Note]) -> list[Note]:
        """Each sentence once: a warning of every task of a fleet is one warning."""
        new = [note for note in notes if note not in self._noted]
        if len(self._noted) < _MOST_NOTES:
            self._noted.update(new)
        self.notes = [*self.notes, *new][-_MOST_NOTES:]
        return new

    def _declared(self, at: float, event: RecordEvent) -> None:
        """T+0 is the declaration."""
        del at
        self.began = datetime.fromisoformat(event.time)

    def _phase_started(self, at: float, event: RecordEvent) -> None:
        phase = self.phase(str(event.data["name"]))
        phase.state, phase.started, phase.seconds = "running", at, None
        self.hosts.clear()
        self.sampled = None

    def _phase_finished(self, at: float, event: RecordEvent) -> None:
        phase = self.phase(str(event.data["name"]))
        failed = event.data.get("status") in ("failed", "interrupted")
        phase.state = "failed" if failed else "done"
        phase.seconds = at - (phase.started or 0.0)

    def _host_started(self, at: float, event: RecordEvent) -> None:
        self.hosts[event.subject] = HostView(str(event.data.get("task", "")), since=at)

    def _item_finished(self, _at: float, event: RecordEvent) -> None:
        if event.data.get("status") in _BAD:
            self._items.setdefault(event.subject, []).append(failure_message(event.data))

    def _task_finished(self, at: float, event: RecordEvent) -> list[Note]:
        data, name = event.data, event.subject
        status = str(data.get("status"))
        ignored = bool(data.get("ignored"))
        bad = status in _BAD and not ignored
        host = self.hosts.setdefault(name, HostView(str(data.get("task", "")), since=at))
        host.task, host.state = str(data.get("task", "")), "failed" if bad else "done"
        phase = self.running
        if phase is not None and status == "changed" and phase.name != "Assess":
            phase.changed += 1
        tone = "warning" if ignored else "bad"
        said = self._items.pop(name, []) or [failure_message(data)]
        failures = [Note(text, name, tone) for text in said if status in _BAD]
        warnings = data.get("warnings")
        texts = warnings if isinstance(warnings, list) else ()
        return [*failures, *(Note(str(text), name) for text in texts)]

    def _progressed(self, at: float, event: RecordEvent) -> None:
        data = event.data
        name = str(data.get("host") or event.subject)
        host = self.hosts.setdefault(name, HostView(str(data.get("task") or ""), since=at))
        host.task = str(data.get("task") or host.task)
        host.percent = _number(data.get("percent"))
        host.remaining = _number(data.get("remaining"))
        done, total = _number(data.get("bytes_done")), _number(data.get("bytes_total"))
        host.bytes_done = None if done is None else int(done)
        host.bytes_total = None if total is None else int(total)

    def _gate(self, _at: float, event: RecordEvent) -> None:
        self.gates.append(_gate_view(event))
        self.sampled = None

    def _gate_sampled(self, _at: float, event: RecordEvent) -> None:
        self.sampled = _gate_view(event)

    def _decision(self, _at: float, event: RecordEvent) -> list[Note]:
        """One sentence for each reason: they are what the operator agrees to.

        What would be lost comes last, because a screen with little room shows the last ones.
        """
        reasons = event.data.get("reasons") or ()
        because = reasons if isinstance(reasons, (list, tuple)) else [str(reasons)]
        level = Note(f"decision: {event.data.get('level')}", tone="fact")
        facts = [f"because {reason}" for reason in because]
        at_risk = event.data.get("data_at_risk")
        basis = at_risk.get("basis") if isinstance(at_risk, Mapping) else ""
        facts += [f"counted: {basis}"] if basis else []
        lost = risk_words(at_risk)
        return [
            level,
            *(Note(fact, tone="fact") for fact in facts),
            *([Note(lost)] if lost else []),
        ]

    def _line(self, _at: float, event: RecordEvent) -> list[Note]:
        if event.data.get("level") not in ("warning", "error"):
            return []
        text = " ".join(str(event.data.get("text", "")).split())
        return [Note(text.removeprefix("[WARNING]: "))]

    def _note(self, _at: float, event: RecordEvent) -> list[Note]:
        return [Note(str(event.data.get("text", "")).strip(), tone="fact")]


def _gate_view(event: RecordEvent) -> GateView:
    data = event.data
    checks = [check for check in data.get("checks") or () if isinstance(check, Mapping)]
    red = [str(each.get("name", "")) for each in checks if each.get("state") != "passed"]
    return GateView(
        name=str(data.get("gate") or "health"),
        outcome=str(data.get("outcome") or event.type.removeprefix("gate.")),
        green=len(checks) - len(red),
        total=len(checks),
        red=tuple(red),
    )


def risk_words(at_risk: Any) -> str:
    """What a decision costs: what would be lost, and where it is kept; empty when nothing is."""
    if not isinstance(at_risk, Mapping) or not at_risk.get("summary"):
        return ""
    lost = any((at_risk.get("total") or {}).get(name) != 0 for name in ("added", "removed"))
    kept = f"; they will be kept in {at_risk['kept_in']}" if lost and at_risk.get("kept_in") else ""
    return f"{at_risk['summary']}{kept}"


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else None


_HANDLERS = {
    "incident.declared": RunView._declared,
    "phase.started": RunView._phase_started,
    "phase.finished": RunView._phase_finished,
    "host.started": RunView._host_started,
    "item.finished": RunView._item_finished,
    "task.finished": RunView._task_finished,
    "progress.reported": RunView._progressed,
    "gate.sampled": RunView._gate_sampled,
    "gate.passed": RunView._gate,
    "gate.failed": RunView._gate,
    "decision.made": RunView._decision,
    "line.printed": RunView._line,
    "compensation.started": RunView._note,
    "note.added": RunView._note,
}
