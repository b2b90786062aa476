"""The same record from a run that somebody else drove: ansible-runner's artifacts, AWX's events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rollback_playbook.errors import UsageError
from rollback_playbook.events.conversion import EventConverter
from rollback_playbook.events.model import utc_text
from rollback_playbook.record.folder import IncidentFolder
from rollback_playbook.record.incidents import create_incident
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.redaction.protocol import Redaction
from rollback_playbook.record.writer import RecordWriter

JobEvent = Mapping[str, Any]

#: The uuid of a repeated task, as in a serial play, ends in ``_2``.
_EVENT_FILE = re.compile(r"(?P<counter>\d+)-[\w-]+\.json", re.ASCII)
_JOB_FACTS = (
    "elapsed",
    "finished",
    "id",
    "launch_type",
    "limit",
    "name",
    "playbook",
    "started",
    "status",
)


@dataclass(frozen=True)
class _Source:
    """Where the events are; ``expected`` is how many there should be, when that is known."""

    path: Path
    job: dict[str, Any] = field(default_factory=dict)
    expected: int = 0
    files: tuple[Path, ...] = ()
    events: tuple[JobEvent, ...] = ()

    def __iter__(self) -> Iterator[JobEvent]:
        if self.files:
            return map(_read_event, self.files)
        return iter(self.events)


def import_artifacts(
    source: Path,
    root: Path,
    *,
    keys: Keyring,
    redaction: Redaction,
    scenario: str = "imported",
    environment: str = "unknown",
) -> IncidentFolder:
    """A new, closed incident from the events of a run.

    ``source`` is an artifacts directory of ansible-runner (with ``job_events``, or the one such
    directory below it), a JSON file of AWX's job events (a list, or an object with ``events`` or
    ``results``), or JSON lines. The times are those of the events. Its outcome is ``imported``:
    nobody here proved that anything was healthy afterwards.
    Raises UsageError when there are no job events, RecordError when it cannot be written.
    """
    found = _source_of(source)
    first = next(iter(found))
    with create_incident(
        root,
        scenario=scenario,
        environment=environment,
        keys=keys,
        redaction=redaction,
        now=_moment(first),
        imported_from=source.name,
    ) as writer:
        _import(found, writer, scenario=scenario, environment=environment)
    return writer.folder


def _import(source: _Source, writer: RecordWriter, *, scenario: str, environment: str) -> None:
    converter = EventConverter()
    imported = _Imported()
    for number, event in enumerate(source):
        if number == 0:
            _declare(source, writer, event, scenario=scenario, environment=environment)
        imported.add(event)
        for draft in converter.convert(event):
            writer.append_draft(draft)
    for draft in converter.close(imported.time):
        writer.append_draft(draft)
    expected = max(source.expected, imported.highest)
    run = {"rc": source.job.get("rc"), "status": source.job.get("status"), "expected": expected}
    writer.append("run.finished", {**run, "recorded": imported.recorded}, time=imported.time)
    closing = {"outcome": "imported", "exit_code": None, "summary": imported.summary(source.job)}
    writer.append("incident.closed", closing, time=imported.time, sync=True)


def _declare(
    source: _Source, writer: RecordWriter, first: JobEvent, *, scenario: str, environment: str
) -> None:
    at = utc_text(str(first.get("created") or ""))
    about = {
        "id": writer.incident,
        "scenario": scenario,
        "environment": environment,
        "operator": "unknown",
        "reason": f"imported from {source.path.name}",
        "kind": "import",
        "job": {name: source.job[name] for name in _JOB_FACTS if name in source.job},
    }
    writer.append("incident.declared", about, time=at)
    writer.append("run.started", {"playbook": source.job.get("playbook", "")}, time=at)


class _Imported:
    """What is known about a run once its events have gone by."""

    def __init__(self) -> None:
        self.recorded = 0
        self.highest = 0
        self.time = ""
        self._stats: Mapping[str, Any] = {}

    def add(self, event: JobEvent) -> None:
        counter = event.get("counter")
        if isinstance(counter, int):
            self.recorded += 1
            self.highest = max(self.highest, counter)
        self.time = utc_text(str(event.get("created") or "")) or self.time
        if event.get("event") == "playbook_on_stats":
            self._stats = event.get("event_data") or {}

    def summary(self, job: Mapping[str, Any]) -> str:
        if not self._stats:
            return "imported; the run has no statistics, so it did not come to its end"
        hosts = set(self._stats.get("processed") or ())
        bad = {*(self._stats.get("failures") or ()), *(self._stats.get("dark") or ())}
        status = f"job {job['status']}; " if job.get("status") else ""
        return f"imported; {status}{len(bad)} of {len(hosts | bad)} hosts failed"


def _source_of(path: Path) -> _Source:
    try:
        source = _from_directory(path) if path.is_dir() else _from_file(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if not source.files and not source.events:
        raise UsageError(f"{path} holds no job events")
    return source


def _from_directory(path: Path) -> _Source:
    folders = [path] if (path / "job_events").is_dir() else _runs_below(path)
    if len(folders) != 1:
        names = ", ".join(folder.name for folder in folders) or "none"
        raise UsageError(
            f"{path} is no artifacts directory of one run (found: {names})",
            hint="name the directory that holds job_events",
        )
    matches = [_EVENT_FILE.fullmatch(each.name) for each in (folders[0] / "job_events").iterdir()]
    numbered = sorted((int(m["counter"]), m.string) for m in matches if m)
    files = tuple(folders[0] / "job_events" / name for _, name in numbered)
    return _Source(path=folders[0], job=_run_facts(folders[0]), files=files)


def _runs_below(path: Path) -> list[Path]:
    return sorted({found.parent for found in path.glob("**/job_events") if found.is_dir()})


def _run_facts(folder: Path) -> dict[str, Any]:
    """ansible-runner writes the return code and the status into files of their own."""
    facts: dict[str, Any] = {}
    for name in ("rc", "status"):
        file = folder / name
        if file.is_file():
            text = file.read_text(encoding="utf-8", errors="replace").strip()
            facts[name] = int(text) if name == "rc" and text.lstrip("-").isdigit() else text
    return facts


def _from_file(path: Path) -> _Source:
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        content = json.loads(text)
    except ValueError:
        return _from_lines(path, text)
    if isinstance(content, list):
        return _Source(path=path, events=_in_order(content))
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds no job events")
    events = content.get("events", content.get("results"))
    if events is None and "event" in content:
        events = [content]
    job, count = content.get("job"), content.get("count")
    return _Source(
        path=path,
        job=job if isinstance(job, dict) else {},
        expected=count if isinstance(count, int) else 0,
        events=_in_order(events if isinstance(events, list) else []),
    )


def _from_lines(path: Path, text: str) -> _Source:
    """``ansible-runner run --json`` prints one event a line."""
    events = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            events.append(json.loads(line))
        except ValueError as error:
            raise UsageError(f"{path}, line {number}, is no JSON: {error}") from error
    return _Source(path=path, events=_in_order(events))


def _in_order(events: list[Any]) -> tuple[JobEvent, ...]:
    """AWX's pages come in any order; the counter is the order in which things happened."""
    of_job = [event for event in events if isinstance(event, dict) and "event" in event]
    return tuple(sorted(of_job, key=lambda event: int(event.get("counter") or 0)))


def _read_event(path: Path) -> JobEvent:
    """An event file that a crash left empty is one event that is missing, not the end."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        content = None
    if isinstance(content, dict) and "event" in content:
        return content
    return {"event": "error", "stdout": f"the event file {path.name} is unreadable"}


def _moment(event: JobEvent) -> datetime | None:
    text = utc_text(str(event.get("created") or ""))
    return datetime.fromisoformat(text) if text else None
