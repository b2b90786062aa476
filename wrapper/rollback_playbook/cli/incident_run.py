"""A scenario on the command line: what can be refused is refused, then it becomes an incident."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from rollback_playbook.catalogue.collection import require_same_version
from rollback_playbook.catalogue.environments import Environment
from rollback_playbook.catalogue.scenarios import Scenario, find, runs_beside
from rollback_playbook.cli.incident_steps import (
    Finished,
    IncidentSteps,
    Measure,
    Wish,
    operator,
)
from rollback_playbook.cli.screens import Lines
from rollback_playbook.cli.settings import Settings
from rollback_playbook.cli.variables import parse_variables
from rollback_playbook.errors import ExitCode, RecordError, RefusedError
from rollback_playbook.execution.lease import Lease, lease_renewer
from rollback_playbook.execution.runner import PlaybookRun, import_early
from rollback_playbook.plan.history import history_of
from rollback_playbook.plan.hosts import ResolvedHosts, resolve_hosts
from rollback_playbook.plan.keyword_values import keyword_values
from rollback_playbook.plan.left_broken import left_broken
from rollback_playbook.plan.making import make_plan
from rollback_playbook.plan.secret_values import secrets_in
from rollback_playbook.plan.unfinished import refuse_unfinished
from rollback_playbook.record.incidents import create_incident
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.redaction import Redactor
from rollback_playbook.record.writer import RecordWriter


def run_incident(
    settings: Settings,
    name: str,
    environment_name: str,
    *,
    reason: str = "",
    version: str | None = None,
    backup: str | None = None,
    check: bool = False,
    limit: str = "",
    variables: Sequence[str] = (),
    yes: str | None = None,
    take_over: bool = False,
    as_json: bool = False,
    kind: str = "incident",
    measure: Measure | None = None,
) -> Finished:
    """Run one scenario against one environment, from the first question to the report.

    ``measure`` is asked, before the record is closed, what users saw meanwhile.
    """
    given = parse_variables(variables, settings.ansible_environment)
    wish = Wish(
        reason=reason,
        variables={**chosen(version=version, backup=backup), **given.values},
        secrets=given.secrets,
        limit=limit,
        check=check,
        yes=yes,
        as_json=as_json,
        kind=kind,
        measure=measure,
    )
    scenario = find(name, settings.playbook_dirs)
    environment = settings.environment(environment_name)
    return run_scenario(settings, scenario, environment, wish, take_over=take_over)


def run_scenario(
    settings: Settings,
    scenario: Scenario,
    environment: Environment,
    wish: Wish,
    *,
    take_over: bool = False,
    follows: str = "",
) -> Finished:
    """Open an incident and run it to its end; ``follows`` is the one that it takes back.

    Everything that can be refused without opening one (an inventory that cannot be read, hosts
    that match nothing, an incident that is not over) is refused here first.
    """
    wrapper_version = require_same_version()
    import_early()
    hosts = hosts_of(settings, scenario, environment, wish.limit)
    wish = with_keywords(wish, scenario, hosts)
    if take_over:
        wish = with_variables(wish, incident_lock_take_over=True)
    elif not wish.check:
        refuse_unfinished(
            settings.incidents_dir,
            environment.name,
            but=follows,
            is_beside=partial(runs_beside, folders=settings.playbook_dirs),
        )
        free_lease_of_killed_drill(settings, environment, wish)
    writer = _opened(settings, scenario, environment, hosts, wish)
    steps = steps_of(settings, scenario, environment, hosts, writer, wish)
    return steps.finish(wrapper_version)


def free_lease_of_killed_drill(settings: Settings, environment: Environment, wish: Wish) -> None:
    """Nobody has to wait until the lease of a drill ends that is dead and left things broken."""
    drill = left_broken(settings.incidents_dir, environment.name, state_dir=settings.state_dir)
    if drill is None or drill.token is None:
        return
    about = {"incident_operator": operator(), "incident_reason": wish.reason or "a drill is dead"}
    request = PlaybookRun(
        playbook=Path(),
        inventory=environment.inventory,
        environment=settings.ansible_environment,
        variables={"incident_id": f"drill of {drill.scenario}", **about},
    )
    # Somebody else's by now is refused here, and the lock itself tells whose.
    lease_renewer(request)(drill.token, Lease.RELEASED)


def steps_of(
    settings: Settings,
    scenario: Scenario,
    environment: Environment,
    hosts: ResolvedHosts,
    writer: RecordWriter,
    wish: Wish,
) -> IncidentSteps:
    """An incident that is ready to run, with what earlier ones tell about its times."""
    history = history_of(
        settings.incidents_dir, scenario.name, environment.name, state_dir=settings.state_dir
    )
    return IncidentSteps(
        settings,
        scenario,
        environment,
        hosts=hosts,
        writer=writer,
        history=history,
        plan_for=lambda decision: make_plan(
            scenario, environment, hosts, history, decision=decision, only=wish.phases
        ),
        wish=wish,
    )


def hosts_of(
    settings: Settings, scenario: Scenario, environment: Environment, limit: str
) -> ResolvedHosts:
    """The hosts of every phase; raises UsageError or RefusedError when a part matches nothing."""
    return resolve_hosts(
        environment.inventory,
        [phase.hosts for phase in scenario.phases],
        limit,
        environment=settings.ansible_environment,
        may_lack=scenario.may_lack,
    )


def redactor_of(hosts: ResolvedHosts, wish: Wish) -> Redactor:
    """Knows the secrets of the inventory, of ``-e`` and of its vaulted files."""
    return Redactor(
        secrets=[
            *hosts.vaulted,
            *wish.secrets,
            *secrets_in(hosts.variables),
            *secrets_in(wish.variables),
        ]
    )


def with_variables(wish: Wish, **variables: Any) -> Wish:
    """The wish with these variables on top."""
    return replace(wish, variables={**wish.variables, **variables})


def with_keywords(wish: Wish, scenario: Scenario, hosts: ResolvedHosts) -> Wish:
    """The wish with what the inventory says of play keywords; raises RefusedError."""
    return replace(wish, keywords=keyword_values(scenario, hosts, wish.variables))


def _opened(
    settings: Settings,
    scenario: Scenario,
    environment: Environment,
    hosts: ResolvedHosts,
    wish: Wish,
) -> RecordWriter:
    """Without a record nothing is begun; raises RefusedError then."""
    try:
        return create_incident(
            settings.incidents_dir,
            scenario=scenario.name,
            environment=environment.name,
            keys=Keyring(settings.keys_dir),
            redaction=redactor_of(hosts, wish),
        )
    except RecordError as error:
        raise RefusedError(f"{error}; nothing was changed", hint=error.hint) from error


def chosen(*, version: str | None, backup: str | None) -> dict[str, Any]:
    """The options that are variables of the roles."""
    chosen: dict[str, Any] = {}
    if version:
        chosen["release_version"] = version
    if backup:
        chosen["database_backup"] = backup
    return chosen


def print_finish(finished: Finished) -> None:
    """What the operator reads last: the outcome, what to do next, where the record is.

    Nobody may be there to read it any more; the exit code stays what it is.
    """
    outcome = finished.outcome
    good = outcome.exit_code is ExitCode.HEALTHY
    mark = click.style("✓" if good else "✗", fg="green" if good else "red", bold=True)
    lines = Lines(sys.stderr)
    lines.put(f"{mark if sys.stderr.isatty() else click.unstyle(mark)} {outcome.summary}")
    if outcome.next_step:
        lines.put(f"  next: {outcome.next_step}")
    lines.put(f"  record: {finished.folder.path}")
