"""The timeline of an incident: a view derived from its record, never stored."""

from __future__ import annotations

from rollback_playbook.record.folder import IncidentFolder
from rollback_playbook.record.reading import read_events
from rollback_playbook.report.collecting import collect
from rollback_playbook.report.view import IncidentView, Row


def timeline(folder: IncidentFolder) -> list[Row]:
    """The rows in the order of time; raises RecordError when the record cannot be read."""
    return view_of(folder).rows


def view_of(folder: IncidentFolder) -> IncidentView:
    """Everything that a drawing shows; raises RecordError when the record cannot be read."""
    return collect(read_events(folder.events))
