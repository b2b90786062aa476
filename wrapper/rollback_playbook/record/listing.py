"""The incidents under a root, newest first, with the state each is in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rollback_playbook.errors import RecordError
from rollback_playbook.record.folder import IncidentFolder, incident_folders, read_json
from rollback_playbook.record.reading import read_events
from rollback_playbook.record.state import state_of
from rollback_playbook.record.summary import summary_of


@dataclass(frozen=True, slots=True)
class IncidentEntry:
    """One line of the list.

    ``state`` is ``running``, ``interrupted`` (its process is gone), ``open`` (its process is on
    another machine), ``unreadable``, or the outcome it was closed with.
    """

    id: str
    state: str
    scenario: str
    environment: str
    operator: str
    reason: str
    declared: str
    seconds: float | None
    target_seconds: float | None
    exit_code: int | None
    phase: str
    summary: str
    folder: IncidentFolder


def list_incidents(
    root: Path,
    *,
    scenario: str = "",
    environment: str = "",
    state: str = "",
    since: datetime | None = None,
    limit: int | None = None,
) -> list[IncidentEntry]:
    """The incidents that fit every filter given, newest first.

    An incident that cannot be read is listed as such and never hides the others.
    Raises RecordError when the root itself cannot be read.
    """
    wanted = {"scenario": scenario, "environment": environment, "state": state}
    found: list[IncidentEntry] = []
    for entry in _entries(root, since):
        if limit is not None and len(found) >= limit:
            break
        if all(not value or getattr(entry, name) == value for name, value in wanted.items()):
            found.append(entry)
    return found


def summary_for(folder: IncidentFolder) -> dict[str, Any]:
    """The summary of an incident, derived anew when the file of it is missing or behind.

    A process that was killed leaves one behind its record. Raises RecordError.
    """
    summary = read_json(folder.summary)
    if summary is not None and summary.get("bytes") == _size(folder.events):
        return summary
    return summary_of(read_events(folder.events))


def _entries(root: Path, since: datetime | None) -> Iterator[IncidentEntry]:
    for folder in incident_folders(root):
        if since is not None and _moment(folder.id) < since:
            return
        yield _entry(folder)


def _entry(folder: IncidentFolder) -> IncidentEntry:
    try:
        summary = summary_for(folder)
    except RecordError as error:
        return _entry_of(folder, {"summary": str(error)}, "unreadable")
    return _entry_of(folder, summary, state_of(summary))


def _entry_of(folder: IncidentFolder, summary: Mapping[str, Any], state: str) -> IncidentEntry:
    return IncidentEntry(
        id=folder.id,
        state=state,
        scenario=str(summary.get("scenario") or ""),
        environment=str(summary.get("environment") or ""),
        operator=str(summary.get("operator") or ""),
        reason=str(summary.get("reason") or ""),
        declared=str(summary.get("declared") or summary.get("opened") or ""),
        seconds=summary.get("seconds"),
        target_seconds=summary.get("target_seconds"),
        exit_code=summary.get("exit_code"),
        phase=str(summary.get("phase") or ""),
        summary=str(summary.get("summary") or ""),
        folder=folder,
    )


def _moment(incident: str) -> datetime:
    """The moment in an incident's id, which begins with it."""
    return datetime.strptime(incident[:20], "%Y-%m-%dT%H-%M-%S%z")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise RecordError(f"the record {path} cannot be read: {error.strerror}") from error
