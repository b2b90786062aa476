"""Records as tests need them: real writers, real keys, real files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rollback_playbook.events.conversion import EventConverter
from rollback_playbook.events.model import Draft
from rollback_playbook.record.incidents import create_incident
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.redaction import Redactor
from rollback_playbook.record.writer import RecordWriter

SAMPLES = Path(__file__).parents[3] / "samples"
AWX_EVENTS = SAMPLES / "awx-job-events.json"


class Workplace:
    """A state directory of its own: incidents, and keys outside of them."""

    def __init__(self, path: Path) -> None:
        self.root = path / "incidents"
        self.keys = Keyring(path / "keys")

    def create(self, *secrets: str, scenario: str = "full") -> RecordWriter:
        return create_incident(
            self.root,
            scenario=scenario,
            environment="lab",
            keys=self.keys,
            redaction=Redactor(secrets),
        )


def awx_job_events() -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(AWX_EVENTS.read_text(encoding="utf-8"))["events"]
    return events


def converted(events: list[dict[str, Any]], *, check: bool = False) -> list[Draft]:
    converter = EventConverter(check=check)
    return [draft for event in events for draft in converter.convert(event)]


def job_event(kind: str, counter: int = 1, **event_data: Any) -> dict[str, Any]:
    """A job event as the callback makes it."""
    return {
        "event": kind,
        "counter": counter,
        "created": f"2026-11-22T03:12:{counter % 60:02d}.000000+00:00",
        "uuid": f"00000000-0000-0000-0000-{counter:012d}",
        "stdout": event_data.pop("stdout", ""),
        "event_data": event_data,
    }


def task_event(
    counter: int = 1,
    *,
    event: str = "runner_on_ok",
    action: str = "sre.rollback.traffic",
    host: str = "edge1",
    res: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    result = {"changed": False} if res is None else dict(res)
    return job_event(
        event,
        counter,
        host=host,
        task="Users get the maintenance answer",
        task_action=action,
        resolved_action=action,
        play="Pause",
        duration=0.25,
        res=result,
        **more,
    )


def declared(writer: RecordWriter, *, time: str = "2026-11-22T03:12:00Z", **more: Any) -> None:
    about = {
        "id": writer.incident,
        "scenario": "full",
        "environment": "lab",
        "operator": "sam",
        "reason": "orders are wrong",
        "target_seconds": 60,
        "version": "0.1.0",
        "hosts": ["edge1", "db1"],
        **more,
    }
    writer.append("incident.declared", about, time=time, sync=True)


def closed(writer: RecordWriter, *, time: str = "2026-11-22T03:12:40Z") -> None:
    closing = {"outcome": "healthy", "exit_code": 0, "summary": "rolled back and healthy"}
    writer.append("incident.closed", closing, time=time, sync=True)


def lines_of(writer: RecordWriter) -> list[bytes]:
    return writer.folder.events.read_bytes().splitlines(keepends=True)


def events_of(writer: RecordWriter) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in lines_of(writer))
