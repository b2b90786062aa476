"""Which incident a word on the command line means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rollback_playbook.catalogue.environments import Environment
from rollback_playbook.cli.settings import Settings
from rollback_playbook.errors import RefusedError
from rollback_playbook.record.folder import IncidentFolder, find_incident, incident_folders


def folder_of(settings: Settings, incident: str) -> IncidentFolder:
    """By id, by an unmistakable part of it, or ``last``; raises UsageError."""
    if incident == "last":
        newest = incident_folders(settings.incidents_dir)
        incident = newest[0].id if newest else incident
    return find_incident(settings.incidents_dir, incident)


def environment_of(settings: Settings, declared: Mapping[str, Any]) -> Environment:
    """The environment that an incident was declared for, by the inventory it had then.

    Raises RefusedError when it never came as far as that, UsageError when there is no inventory
    of that name any more.
    """
    if not declared:
        raise RefusedError("this incident was never declared: nothing was begun, run it again")
    name = str(declared["environment"])
    inventory = str(declared.get("inventory") or "")
    return Environment(name, inventory) if inventory else settings.environment(name)
