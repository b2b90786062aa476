"""The steps of a scenario, read from its playbook: what each does, where, and whether it can be
undone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollback_playbook.catalogue.collection import bundled_playbooks
from rollback_playbook.catalogue.plays import read_plays
from rollback_playbook.catalogue.scenarios import Scenario
from rollback_playbook.events.actions import is_harmless
from rollback_playbook.events.phases import CHANGING_PHASES

_COLLECTION = "sre.rollback."
_ROLE_ACTIONS = tuple(
    f"{prefix}{name}"
    for prefix in ("ansible.builtin.", "")
    for name in ("include_role", "import_role")
)
#: Roles that touch no production: nothing of theirs has to be undone.
_HARMLESS = frozenset({"assess", "incident", "notify", "verify"})


@dataclass(frozen=True)
class PlannedStep:
    """One task of a play. ``role`` is without its collection, and empty for a plain task.

    ``undo`` is ``yes``, ``no``, or empty where nothing is changed that could be undone.
    """

    phase: str
    name: str
    role: str
    hosts: str
    undo: str


def planned_steps(scenario: Scenario) -> Iterator[PlannedStep]:
    """Every step, in order; raises OSError or YAMLError like the reading of the scenario."""
    for play in read_plays(scenario.path):
        hosts = play["hosts"] if isinstance(play["hosts"], str) else ":".join(play["hosts"])
        for task in play.get("tasks", ()):
            role = _role_of(task)
            yield PlannedStep(
                phase=str(play["name"]),
                name=str(task.get("name", role)),
                role=role,
                hosts=_group_in(task) or hosts,
                undo=_undo_of(str(play["name"]), role, task),
            )


def _role_of(task: Mapping[str, Any]) -> str:
    for action in _ROLE_ACTIONS:
        if action in task:
            return str(task[action].get("name", "")).removeprefix(_COLLECTION)
    return ""


def _group_in(task: Mapping[str, Any]) -> str:
    """``inventory_hostname in groups.app`` narrows a play's hosts to a group, ``==`` to one."""
    conditions = task.get("when", ())
    texts = [conditions] if isinstance(conditions, (str, bool)) else conditions
    for text in map(str, texts):
        if text.startswith("inventory_hostname in groups."):
            # Without what says that there may be no such group: `| default([])`.
            return text.rpartition("groups.")[2].split()[0]
        if text.startswith('inventory_hostname == "'):
            return text.split('"')[1]
    return ""


def _undo_of(phase: str, role: str, task: Mapping[str, Any]) -> str:
    harmless = role in _HARMLESS or (not role and any(map(is_harmless, task)))
    if phase not in CHANGING_PHASES or harmless:
        return ""
    return "yes" if role and _has_undo(role) else "no"


def _has_undo(role: str) -> bool:
    roles = bundled_playbooks().parent / "roles"
    return Path(roles, role, "tasks", "undo.yml").is_file()
