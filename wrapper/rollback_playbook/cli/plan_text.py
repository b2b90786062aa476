"""The plan as a person reads it: before every confirmation, and from ``rollback-playbook plan``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import click

from rollback_playbook.catalogue.environments import Environment
from rollback_playbook.catalogue.scenarios import Scenario
from rollback_playbook.events.phases import CHANGING_PHASES
from rollback_playbook.plan.history import History
from rollback_playbook.plan.hosts import ResolvedHosts
from rollback_playbook.plan.steps import PlannedStep, planned_steps

_HOSTS_SHOWN = 6


def print_plan(
    scenario: Scenario,
    environment: Environment,
    hosts: ResolvedHosts,
    history: History,
    *,
    decision: Mapping[str, Any],
) -> None:
    """On standard error: standard output is for data."""
    for line in plan_lines(scenario, environment, hosts, history, decision=decision):
        click.echo(line, err=True)


def plan_lines(
    scenario: Scenario,
    environment: Environment,
    hosts: ResolvedHosts,
    history: History,
    *,
    decision: Mapping[str, Any],
) -> Iterator[str]:
    """What would be done, where, for how long, what is lost, and what cannot be undone."""
    yield click.style(f"{scenario.name} on {environment.name}: {scenario.title}", bold=True)
    count = len(hosts.names)
    noun = "host" if count == 1 else "hosts"
    yield f"  {count} {noun} (fingerprint {hosts.fingerprint}): {_shown(hosts.names)}"
    yield f"  {_times(scenario, history)}"
    yield from _phases(scenario, hosts, history)
    for label, text in (
        ("when", scenario.when),
        ("not when", scenario.when_not),
        ("undo", scenario.undo),
        ("decision", _decided(decision)),
        ("data at risk", _data_at_risk(decision)),
        ("approval", _approval(scenario, environment, hosts)),
        ("last drill", _drill(history)),
    ):
        if text:
            yield f"  {label + ':':<13} {text}"


def _times(scenario: Scenario, history: History) -> str:
    from rollback_playbook.report.clock import duration

    target = f"level {scenario.level}, target {duration(scenario.target_seconds)}"
    if history.total is None:
        return f"{target}; it has never run to its end here, so nothing is known of its times"
    runs = "run" if history.runs == 1 else "runs"
    where = f"{history.runs} {runs} on {history.environment}"
    return f"{target}; about {duration(history.total)}, as the median of {where}"


def _phases(scenario: Scenario, hosts: ResolvedHosts, history: History) -> Iterator[str]:
    from rollback_playbook.report.clock import duration

    for phase, steps in groupby(planned_steps(scenario), key=lambda step: step.phase):
        about = history.phases.get(phase)
        took = f"about {duration(about)}" if about is not None else ""
        mark = "changes production" if phase in CHANGING_PHASES else ""
        notes = ", ".join(filter(None, [took, mark]))
        yield click.style(f"  {phase:<9} {notes}".rstrip(), bold=phase in CHANGING_PHASES)
        yield from (_step(step, hosts, history) for step in steps)


def _step(step: PlannedStep, hosts: ResolvedHosts, history: History) -> str:
    from rollback_playbook.report.clock import duration

    seconds = history.steps.get((step.phase, f"sre.rollback.{step.role}"))
    if seconds is None:
        seconds = history.steps.get((step.phase, step.role or step.name))
    known = hosts.by_pattern.get(step.hosts) or hosts.groups.get(step.hosts)
    notes = [_shown(known or (step.hosts,))]
    if seconds is not None:
        notes.append(f"about {duration(seconds)}")
    if step.undo:
        notes.append("can be undone" if step.undo == "yes" else "CANNOT BE UNDONE")
    return f"    {step.name}  ({'; '.join(filter(None, notes))})"


def _shown(names: tuple[str, ...]) -> str:
    more = len(names) - _HOSTS_SHOWN
    return ", ".join(names[:_HOSTS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _decided(decision: Mapping[str, Any]) -> str:
    if not decision.get("level"):
        return ""
    parts = [f"level {decision['level']}"]
    if decision.get("release_to"):
        parts.append(f"release {decision.get('release_from')} → {decision['release_to']}")
    if decision.get("backup"):
        parts.append(f"backup {decision['backup']}")
    reasons = "; ".join(map(str, decision.get("reasons", ())))
    return ", ".join(parts) + (f" ({reasons})" if reasons else "")


def _data_at_risk(decision: Mapping[str, Any]) -> str:
    """In the words of Assess, whatever shape they have."""
    risk = decision.get("data_at_risk")
    if isinstance(risk, Mapping):
        for name in ("summary", "words", "text"):
            if risk.get(name):
                return str(risk[name])
        return ", ".join(f"{name}: {value}" for name, value in risk.items())
    if isinstance(risk, (list, tuple)):
        return "; ".join(map(str, risk))
    return str(risk) if risk else ""


def _approval(scenario: Scenario, environment: Environment, hosts: ResolvedHosts) -> str:
    if not hosts.variable("rollback_protected"):
        return scenario.approval
    return f"{scenario.approval}; the environment is protected: type {environment.name}"


def _drill(history: History) -> str:
    from rollback_playbook.report.clock import moment

    drill = history.drill
    if drill is None:
        return "never passed one here"
    releases = f", release {drill.release_from} → {drill.release_to}" if drill.release_to else ""
    return f"{moment(drill.when)} on {drill.environment}, version {drill.version}{releases}"
