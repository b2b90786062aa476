"""Removing old incidents: only on request, only by age, never one that is not closed."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rollback_playbook.errors import RecordError, RefusedError
from rollback_playbook.record.folder import IncidentFolder
from rollback_playbook.record.listing import IncidentEntry, list_incidents, summary_for


def expired(
    root: Path, *, older_than: timedelta, now: datetime | None = None
) -> list[IncidentEntry]:
    """The closed incidents that were closed longer ago than that; the others are kept."""
    until = (now or datetime.now(UTC)) - older_than
    return [entry for entry in list_incidents(root) if _closed_before(entry, until)]


def remove_incident(folder: IncidentFolder) -> None:
    """Remove a closed incident's directory.

    The head beside the keys stays: it proves that there was such a record, and its last line.
    Raises RefusedError for an incident that is not closed, RecordError when it cannot be removed.
    """
    if summary_for(folder).get("state") != "closed":
        raise RefusedError(f"{folder.id} is not closed; nothing was removed")
    leaving = folder.path.with_name(f".removing-{folder.id}")
    try:
        folder.path.rename(leaving)
        shutil.rmtree(leaving)
    except OSError as error:
        raise RecordError(f"{folder.id} cannot be removed: {error}") from error


def _closed_before(entry: IncidentEntry, until: datetime) -> bool:
    if entry.state in ("running", "interrupted", "open", "unreadable"):
        return False
    closed = summary_for(entry.folder).get("closed")
    try:
        return datetime.fromisoformat(str(closed)) < until
    except ValueError:
        return False
