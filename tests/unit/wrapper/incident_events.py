"""Events of a record, as tests write them down: kind, then data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rollback_playbook.events.model import RecordEvent


def events_of(*said: tuple[str, dict[str, Any]]) -> Iterator[RecordEvent]:
    """The events in their order, all of the host ``edge1`` and of one moment."""
    for sequence, (kind, data) in enumerate(said, start=1):
        yield RecordEvent(
            id=f"x.{sequence}",
            source="/incidents/x",
            type=kind,
            time="2026-11-22T03:12:00.000000Z",
            subject="edge1",
            data=data,
            sequence=sequence,
            prevhash="",
            hash="",
            counter=data.get("counter"),
        )


def run_of(
    scenario: str, phases: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """A run with its phases and how each ended; one with an empty end was killed in it."""
    yield "run.started", {"scenario": scenario}
    for name, status in phases:
        yield "phase.started", {"name": name}
        yield "task.finished", {"phase": name, "status": "changed", "task": name, "action": "x.y.z"}
        if status:
            yield "phase.finished", {"name": name, "status": status}
