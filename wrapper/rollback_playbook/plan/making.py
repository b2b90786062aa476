"""The plan of a run as plain values: what the record keeps is what the operator is shown."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from rollback_playbook.catalogue.environments import Environment
from rollback_playbook.catalogue.scenarios import Scenario
from rollback_playbook.events.phases import CHANGING_PHASES
from rollback_playbook.plan.history import History
from rollback_playbook.plan.hosts import ResolvedHosts
from rollback_playbook.plan.steps import PlannedStep, planned_steps
from rollback_playbook.record.drill_log import Drill


def make_plan(
    scenario: Scenario,
    environment: Environment,
    hosts: ResolvedHosts,
    history: History,
    *,
    decision: Mapping[str, Any],
    only: Collection[str] = (),
) -> dict[str, Any]:
    """What would be done, where, for how long, what is lost, and what cannot be undone.

    Seconds are None where nothing is known. ``decision`` is what Assess found, if it has run;
    ``only`` has the phases of an incident that is continued. ``targets`` has the hosts of what
    the steps say they are on.
    """
    phases = [phase for phase in scenario.phases if not only or phase.name in only]
    names = {phase.name for phase in phases}
    steps = [
        step
        for step in planned_steps(scenario)
        if step.phase in names and hosts.groups.get(step.hosts) != ()
    ]
    return {
        "scenario": scenario.name,
        "title": scenario.title,
        "environment": environment.name,
        "hosts": list(hosts.names),
        "fingerprint": hosts.fingerprint,
        "level": scenario.level,
        "target_seconds": scenario.target_seconds,
        "predicted_seconds": history.total,
        "predicted_from": {"runs": history.runs, "environment": history.environment},
        "phases": [
            {
                "phase": phase.name,
                "changes_production": phase.name in CHANGING_PHASES,
                "predicted_seconds": history.phases.get(phase.name),
            }
            for phase in phases
        ],
        "steps": [_step(step, history) for step in steps],
        "targets": {step.hosts: _hosts_of(step, hosts) for step in steps},
        "when": scenario.when,
        "when_not": scenario.when_not,
        "undo": scenario.undo,
        "approval": _approval(scenario, environment, hosts),
        "decision": dict(decision) or None,
        "data_at_risk": decision.get("data_at_risk"),
        "last_drill": _drill(history.drill),
        "broken_by_drill": _broken_by(history.broken_by),
    }


def _step(step: PlannedStep, history: History) -> dict[str, Any]:
    return {
        "phase": step.phase,
        "task": step.name,
        "on": step.hosts,
        "undo": step.undo,
        "predicted_seconds": _seconds(step, history),
    }


def _hosts_of(step: PlannedStep, hosts: ResolvedHosts) -> list[str]:
    """A pattern of a play, a group, or a host."""
    known = hosts.by_pattern.get(step.hosts) or hosts.groups.get(step.hosts)
    return list(known or (step.hosts,))


def _seconds(step: PlannedStep, history: History) -> float | None:
    """The record has the full name of a role, and of a plain task its own."""
    for name in (f"sre.rollback.{step.role}", step.role or step.name):
        seconds = history.steps.get((step.phase, name))
        if seconds is not None:
            return seconds
    return None


def _approval(scenario: Scenario, environment: Environment, hosts: ResolvedHosts) -> str:
    if not hosts.protected:
        return scenario.approval
    return f"{scenario.approval}; the environment is protected: type {environment.name}"


def _drill(drill: Drill | None) -> dict[str, Any] | None:
    if drill is None:
        return None
    return {
        "when": drill.time,
        "environment": drill.environment,
        "version": drill.version,
        "release_from": drill.release_from,
        "release_to": drill.release_to,
    }


def _broken_by(drill: Drill | None) -> dict[str, Any] | None:
    if drill is None:
        return None
    return {
        "when": drill.time,
        "scenario": drill.scenario,
        "environment": drill.environment,
        "why": drill.broken_off,
        "command": drill.command,
    }
