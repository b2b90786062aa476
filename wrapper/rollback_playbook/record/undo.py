"""What can be taken back of an incident, read from its record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollback_playbook.events.model import RecordEvent
from rollback_playbook.events.phases import CHANGING_PHASES

#: The lease is given back by whoever holds it; it is no state of production.
_NOT_PRODUCTION = frozenset({"sre.rollback.environment_lock"})
_TRAFFIC = "sre.rollback.traffic"
_COLLECTION = "sre.rollback."
#: Phases that only look and prepare: what is predicted in them is done in a later one.
_AHEAD = frozenset({"Declare", "Assess", "Preserve", "Prepare"})


@dataclass(frozen=True, slots=True)
class UndoStep:
    """One step that takes something back.

    ``certain`` is False where the record has the step's announcement and not its end: it may
    have been done or not, and the undo has to look.
    """

    sequence: int
    module: str
    args: Mapping[str, Any]
    host: str
    task: str
    phase: str
    certain: bool

    @property
    def acts_in(self) -> str:
        """The phase in which the step that is taken back changes production."""
        if self.phase not in _AHEAD:
            return self.phase
        pauses = self.module == _TRAFFIC and self.args.get("state") in ("paused", "resumed")
        return "Pause" if pauses else "Switch"

    def is_like(self, other: UndoStep) -> bool:
        """Whether both take back the same thing to the same state."""
        return (self.host, self.module, self.args) == (other.host, other.module, other.args)


class UndoLedger:
    """Takes a record in; a prediction counts as long as no step that was done says the same."""

    def __init__(self) -> None:
        self._done: list[UndoStep] = []
        self._predicted: list[UndoStep] = []

    def apply(self, event: RecordEvent) -> None:
        """Take one event in; all but ``undo.recorded`` change nothing."""
        if changes_back(event):
            step = _step(event)
            (self._done if step.certain else self._predicted).append(step)

    def steps(self) -> list[UndoStep]:
        """The steps, latest first: the order in which they are to be replayed."""
        every = [*self._done, *_without_doubles(self._predicted, self._done)]
        return sorted(every, key=lambda step: step.sequence, reverse=True)


def changes_back(event: RecordEvent) -> bool:
    """Whether an event says how something of production is taken back."""
    return event.type == "undo.recorded" and event.data.get("module") not in _NOT_PRODUCTION


def undo_steps(events: Iterable[RecordEvent]) -> list[UndoStep]:
    """What can be taken back according to a whole record, latest first."""
    ledger = UndoLedger()
    for event in events:
        ledger.apply(event)
    return ledger.steps()


def steps_without_undo(events: Iterable[RecordEvent]) -> list[str]:
    """What a record says was changed in production and cannot be taken back, in words.

    A role that tells its undo with a fact, before its steps, answers for those steps of its host
    and phase that are other collections' modules, which cannot tell it themselves.
    """
    changed: dict[int, str] = {}
    promised: set[tuple[str, str]] = set()
    for event in events:
        if event.counter is None:
            continue
        if event.type == "undo.recorded":
            changed.pop(event.counter, None)
            if str(event.data.get("of", "")).endswith("set_fact"):
                promised.add(_place(event))
        elif _changes_production(event):
            if _place(event) in promised and not _is_ours(event):
                continue
            changed[event.counter] = f"{event.subject}: {event.data.get('task', '')}"
        elif event.type == "playbook.started":
            changed = {-index - 1: text for index, text in enumerate(changed.values())}
    return list(changed.values())


def _place(event: RecordEvent) -> tuple[str, str]:
    return str(event.subject), str(event.data.get("phase", ""))


def _is_ours(event: RecordEvent) -> bool:
    return str(event.data.get("action", "")).startswith(_COLLECTION)


def _changes_production(event: RecordEvent) -> bool:
    data = event.data
    return (
        event.type == "task.finished"
        and data.get("status") == "changed"
        and data.get("phase") in CHANGING_PHASES
    )


def _without_doubles(predicted: Sequence[UndoStep], done: Sequence[UndoStep]) -> list[UndoStep]:
    kept: list[UndoStep] = []
    for step in predicted:
        if not any(step.is_like(other) for other in (*done, *kept)):
            kept.append(step)
    return kept


def _step(event: RecordEvent) -> UndoStep:
    data = event.data
    args, phase = data.get("args"), str(data.get("phase", ""))
    return UndoStep(
        sequence=event.sequence,
        module=str(data.get("module", "")),
        args=args if isinstance(args, Mapping) else {},
        host=str(data.get("host") or event.subject),
        task=str(data.get("task", "")),
        phase=phase,
        certain=not data.get("predicted") and phase not in _AHEAD,
    )
