"""From what a record says can be undone to a playbook that undoes it.

The playbook has the phases of any scenario, and stays with the record of the undo. Steps of Switch
are replayed one by one, latest first. Traffic, breakers and flags are states: each undo of theirs
names the whole state to return to, so the oldest one counts and the ones between are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollback_playbook.catalogue.scenarios import PHASES
from rollback_playbook.record.redaction.patterns import mark
from rollback_playbook.record.undo import UndoStep

#: The role that replays what a module did: it knows the connection, which no record holds.
_ROLES = {
    "sre.rollback.circuit_breaker": "protect",
    "sre.rollback.compose_release": "release",
    "sre.rollback.configuration_files": "configuration",
    "sre.rollback.feature_flag": "protect",
    "sre.rollback.host_isolation": "isolation",
    "sre.rollback.pg_restore_verified": "database",
    "sre.rollback.pg_salvage": "database",
    "sre.rollback.redis_flush": "cache",
    "sre.rollback.release_checkout": "release",
    "sre.rollback.release_link": "release",
    "sre.rollback.sqlite_restore_verified": "sqlite",
    "sre.rollback.traffic": "traffic",
}
_COLLECTION = "sre.rollback."
_ROLE_NAMES = frozenset(
    {
        "cache",
        "colours",
        "configuration",
        "database",
        "infrastructure",
        "isolation",
        "protect",
        "release",
        "services",
        "traffic",
    }
)
_STATE_ROLES = frozenset({"protect", "traffic"})


@dataclass(frozen=True)
class UndoPlan:
    """What is taken back, in which order, and what is not because its record hides a part of it."""

    steps: tuple[UndoStep, ...]
    hidden: tuple[UndoStep, ...]
    #: Whether nothing of the incident is left once they are done.
    is_whole: bool

    def of(self, *phases: str) -> tuple[UndoStep, ...]:
        """The steps that take back what was done in these phases."""
        return tuple(step for step in self.steps if step.acts_in in phases)


def plan_undo(steps: Sequence[UndoStep], *, to_phase: str = "") -> UndoPlan:
    """The steps back to the state in which ``to_phase`` began; all of them without one."""
    first = PHASES.index(to_phase) if to_phase else 0
    wanted = [step for step in steps if _position(step.acts_in) >= first]
    return UndoPlan(
        steps=tuple(step for step in wanted if not _is_hidden(step)),
        hidden=tuple(step for step in wanted if _is_hidden(step)),
        is_whole=not to_phase and not any(map(_is_hidden, wanted)),
    )


def role_of(module: str) -> str:
    """The role that undoes what this module, or this role, did; empty when none does."""
    name = module.removeprefix(_COLLECTION)
    return _ROLES.get(module) or (name if name in _ROLE_NAMES else "")


def undo_plays(
    plan: UndoPlan, *, incident: str, restore_id: str, gate_hosts: str, target_seconds: float
) -> list[dict[str, Any]]:
    """The plays, to be written as YAML with ``as_yaml``."""
    switch = [step for step in plan.steps if not _is_state(step)]
    traffic = _oldest(step for step in plan.steps if _is_state(step) and _role(step) == "traffic")
    protect = _oldest(step for step in plan.steps if _role(step) == "protect")
    about = {
        "title": f"What {incident} did is taken back",
        "level": "undo",
        "target_seconds": target_seconds,
        "when": f"{incident} made things worse, or was not needed.",
        "when_not": "What it brought back is healthy.",
        "undo": "rollback-playbook undo of this incident.",
        "approval": "operator",
    }
    names = {
        f"{role}_restore_id": restore_id for role in ("release", "database", "cache", "sqlite")
    }
    plays: list[dict[str, Any]] = [
        {
            "name": "Declare",
            "ansible.builtin.import_playbook": "sre.rollback.phases.declare",
            "vars": {"rollback_scenario": about},
        }
    ]
    if switch:
        plays.append(_play("Assess", switch, names, check=True))
    if switch and traffic:
        plays.append(_pause(traffic))
    if switch:
        plays.append(_play("Switch", switch, names))
    if traffic:
        plays.append(_play("Resume", traffic, names))
    over = [_over(restore_id)] if plan.is_whole else []
    done = [*(_task(step, names, check=False) for step in protect), *over]
    everyone = ":".join([gate_hosts, *sorted({step.host for step in protect})])
    return [*plays, _confirm(done, everyone, users_on=_users_are_on(traffic)), _CLOSE]


_CLOSE = {"name": "Close", "ansible.builtin.import_playbook": "sre.rollback.phases.close"}


def as_yaml(plays: list[dict[str, Any]]) -> str:
    """YAML in which what comes from a record is never taken for a template."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Knows the strings that must not be templated; shared values are written out."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
            return True

    Dumper.add_representer(
        _Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text))
    )
    return "---\n" + yaml.dump(plays, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Unsafe(str):
    """A text of a record that could be taken for a template."""


#: What Ansible looks for before it takes a text for a template.
_TEMPLATE = re.compile(r"\A#jinja2:|\{[{%#]")


def _unsafe(value: Any) -> Any:
    """What cannot be a template stays as it is: Ansible reads ``!unsafe "on"`` as true, and
    ``!unsafe "1.0"`` as a number, quoted or not."""
    if isinstance(value, str):
        return _Unsafe(value) if _TEMPLATE.search(value) else value
    if isinstance(value, Mapping):
        return {str(name): _unsafe(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_unsafe(each) for each in value]
    return value


def _play(
    phase: str, steps: Sequence[UndoStep], names: Mapping[str, str], *, check: bool = False
) -> dict[str, Any]:
    hosts = ":".join(sorted({step.host for step in steps}))
    tasks = [_task(step, names, check=check) for step in steps]
    return _header(phase, hosts) | {"tasks": tasks}


def _header(phase: str, hosts: str) -> dict[str, Any]:
    return {
        "name": phase,
        "hosts": hosts,
        "gather_facts": False,
        "any_errors_fatal": True,
        "max_fail_percentage": 0,
        "tags": [phase],
    }


def _task(step: UndoStep, names: Mapping[str, str], *, check: bool) -> dict[str, Any]:
    """One step, on the host on which it was done."""
    task: dict[str, Any] = {"name": _unsafe(f"Taken back - {step.task}")}
    role = _role(step)
    if role:
        include: dict[str, Any] = {"name": f"{_COLLECTION}{role}", "tasks_from": "undo"}
        if check:
            include["apply"] = {"check_mode": True}
        undo = {
            "module": step.module,
            "args": _unsafe(step.args),
            "certain": step.certain,
            # A role cannot see it: what Ansible says of check mode is said of a whole run.
            "check": check,
        }
        task |= {
            "ansible.builtin.include_role": include,
            "vars": {f"{role}_undo": undo, **names},
        }
    else:
        task |= {step.module: _unsafe(step.args)} | ({"check_mode": True} if check else {})
    return task | {"when": f"inventory_hostname == {json.dumps(step.host)}"}


def _pause(traffic: Sequence[UndoStep]) -> dict[str, Any]:
    pause = {"name": "sre.rollback.traffic", "tasks_from": "pause"}
    task = {"name": "Users get the maintenance answer", "ansible.builtin.include_role": pause}
    return _header("Pause", ":".join(sorted({step.host for step in traffic}))) | {"tasks": [task]}


def _over(restore_id: str) -> dict[str, Any]:
    """The next rollback decides anew, and does not go on with the one that was taken back.

    Before the gate: it is red, where what was broken before is broken again.
    """
    role = {"name": "sre.rollback.assess", "tasks_from": "undone"}
    return {
        "name": "Attempt that was taken back is over",
        "ansible.builtin.include_role": role,
        "vars": {"assess_undone_id": restore_id},
        "when": "inventory_hostname in groups.app | default([])",
    }


def _confirm(tasks: Sequence[dict[str, Any]], hosts: str, *, users_on: bool) -> dict[str, Any]:
    """Breakers and flags as they were, then the gate: what users ask, or past the paused proxy."""
    gate = {"name": "sre.rollback.verify", "tasks_from": "hold" if users_on else "gate"}
    held = {"name": "System is healthy", "ansible.builtin.include_role": gate}
    return _header("Confirm", hosts) | {"tasks": [*tasks, held]}


def _users_are_on(traffic: Sequence[UndoStep]) -> bool:
    return not any(step.args.get("state") == "paused" for step in traffic)


def _oldest(steps: Iterable[UndoStep]) -> list[UndoStep]:
    """Of the steps on one host with one module, the one that was done first."""
    found: dict[tuple[str, str, str], UndoStep] = {}
    for step in steps:
        place = json.dumps([step.args.get(name) for name in ("path", "provider", "backend")])
        found[step.host, step.module, place] = step
    return list(found.values())


def _is_state(step: UndoStep) -> bool:
    return _role(step) in _STATE_ROLES and step.acts_in != "Switch"


def _role(step: UndoStep) -> str:
    return role_of(step.module)


def _position(phase: str) -> int:
    return PHASES.index(phase) if phase in PHASES else len(PHASES)


def _is_hidden(step: UndoStep) -> bool:
    return mark("").rstrip("]") in json.dumps(step.args, default=str)
