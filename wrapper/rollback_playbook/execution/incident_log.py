"""The one place where what happens becomes a record: written, shown, and taken into account."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from rollback_playbook.errors import RecordError
from rollback_playbook.events.conversion import EventConverter
from rollback_playbook.events.model import Draft, RecordEvent, timestamp
from rollback_playbook.execution.outcome import Progress
from rollback_playbook.execution.runner import JobEvent

_SET_STATS = ("ansible.builtin.set_stats", "set_stats")


class Writer(Protocol):
    """Appends to a record; raises RecordError when it cannot."""

    def append_draft(self, draft: Draft) -> RecordEvent: ...

    def redacted(self, draft: Draft) -> Draft:
        """As it would be written."""


class IncidentLog:
    """Writes drafts in order and shows what was written.

    A record that cannot be written any more never stops a rollback half-way: the first error is
    kept in ``error``, the events go on to the screen, and the run ends with the exit code for an
    incomplete record.
    """

    def __init__(
        self, writer: Writer, show: Callable[[RecordEvent], None], progress: Progress
    ) -> None:
        self._writer = writer
        self._show = show
        self.progress = progress
        self.error = ""

    def append(self, kind: str, data: dict[str, Any], *, sync: bool = True) -> RecordEvent:
        """An event of the command line itself; as it was written, redacted."""
        return self.write(Draft(type=kind, data=data, sync=sync))

    def write(self, draft: Draft) -> RecordEvent:
        """Write, take into account, show; in this order."""
        event = self._written(draft)
        self.progress.observe(event.type, event.subject, event.data)
        # A screen that is gone must not stop a rollback half-way; the record goes on.
        with suppress(OSError):
            self._show(event)
        return event

    def follow(
        self, converter: EventConverter, *, only: Sequence[str] = ()
    ) -> Callable[[JobEvent], None]:
        """A handler for the job events of one run.

        Ansible announces every play of a run with tags; with ``only``, the others are no phases.
        """

        def on_event(job_event: JobEvent) -> None:
            for draft in converter.convert(job_event):
                self.write(_play_passed_over(draft) if _is_other_phase(draft, only) else draft)
                decision = decision_in(draft)
                if decision is not None:
                    self.append("decision.made", decision)

        return on_event

    def _written(self, draft: Draft) -> RecordEvent:
        if not self.error:
            try:
                return self._writer.append_draft(draft)
            except RecordError as error:
                self.error = str(error)
        clean = self._writer.redacted(draft)
        return RecordEvent(
            id="",
            source="",
            type=clean.type,
            time=clean.time or timestamp(),
            subject=clean.subject,
            data=clean.data,
            sequence=0,
            prevhash="",
            hash="",
        )


def decision_in(draft: Draft) -> dict[str, Any] | None:
    """The decision that a task of Assess has just made.

    Ansible reports statistics only at the very end; the decision is needed when it is made.
    """
    if draft.type != "task.finished" or draft.data.get("action") not in _SET_STATS:
        return None
    stats = (draft.data.get("result") or {}).get("ansible_stats") or {}
    decision = (stats.get("data") or {}).get("rollback_decision")
    return decision if isinstance(decision, dict) else None


def _is_other_phase(draft: Draft, only: Sequence[str]) -> bool:
    is_phase = draft.type in ("phase.started", "phase.finished")
    return bool(only) and is_phase and draft.data.get("name") not in only


def _play_passed_over(draft: Draft) -> Draft:
    return replace(draft, type="play.passed_over", sync=False)
