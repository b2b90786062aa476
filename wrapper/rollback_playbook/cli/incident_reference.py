"""Which incident a word on the command line means."""

from __future__ import annotations

from rollback_playbook.cli.settings import Settings
from rollback_playbook.record.folder import IncidentFolder, find_incident, incident_folders


def folder_of(settings: Settings, incident: str) -> IncidentFolder:
    """By id, by an unmistakable part of it, or ``last``; raises UsageError."""
    if incident == "last":
        newest = incident_folders(settings.incidents_dir)
        incident = newest[0].id if newest else incident
    return find_incident(settings.incidents_dir, incident)
