"""``rollback-playbook continue INCIDENT``: take up a run that did not finish."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rollback_playbook.catalogue.scenarios import PHASES, Scenario, find, load
from rollback_playbook.cli import run_options
from rollback_playbook.cli.incident_steps import Finished, Wish
from rollback_playbook.cli.settings import Settings
from rollback_playbook.errors import RefusedError, UsageError
from rollback_playbook.execution.earlier import Earlier, phases_from, read_earlier
from rollback_playbook.record.folder import IncidentFolder


@click.command("continue")
@click.argument("incident")
@click.option("--from-phase", type=click.Choice(PHASES), help="Begin here instead.")
@run_options.reason
@run_options.variables
@run_options.yes
@run_options.take_over
@run_options.as_json
@click.pass_obj
@run_options.vault_password
def continue_(
    settings: Settings,
    incident: str,
    from_phase: str | None,
    reason: str,
    variables: tuple[str, ...],
    yes: str | None,
    take_over: bool,
    as_json: bool,
) -> int:
    """Take up an incident at the phase that did not finish; same record, same lock.

    INCIDENT is an id, a part of one, or `last`.
    """  # fmt: skip
    from rollback_playbook.cli.incident_reference import folder_of
    from rollback_playbook.cli.incident_run import print_finish
    from rollback_playbook.cli.variables import parse_variables

    given = parse_variables(variables, settings.ansible_environment)
    wish = Wish(
        reason=reason, variables=given.values, secrets=given.secrets, yes=yes, as_json=as_json
    )
    finished = continue_incident(
        settings, folder_of(settings, incident), wish, from_phase=from_phase, take_over=take_over
    )
    print_finish(finished)
    return int(finished.exit_code)


def continue_incident(
    settings: Settings,
    folder: IncidentFolder,
    wish: Wish,
    *,
    from_phase: str | None = None,
    take_over: bool = False,
) -> Finished:
    """Go on with an incident to its end.

    Raises RefusedError when it still runs or is over, UsageError when it has no such phase.
    """
    from rollback_playbook.catalogue.collection import require_same_version
    from rollback_playbook.cli.incident_reference import environment_of
    from rollback_playbook.cli.incident_run import (
        hosts_of,
        redactor_of,
        steps_of,
        with_keywords,
    )
    from rollback_playbook.record.incidents import reopen
    from rollback_playbook.record.keys import Keyring
    from rollback_playbook.record.reading import read_events

    version = require_same_version()
    _require_unfinished(folder)
    earlier = read_earlier(read_events(folder.events))
    environment = environment_of(settings, earlier.declared)
    scenario = _scenario(settings, earlier)
    phase = _phase(scenario, earlier, from_phase)
    click.echo(f"{folder.id} goes on at {phase}", err=True)
    wish = _with_earlier(wish, earlier, scenario, phase, take_over=take_over)
    hosts = hosts_of(settings, scenario, environment, wish.limit)
    wish = with_keywords(wish, scenario, hosts)
    writer = reopen(
        folder,
        keys=Keyring(settings.keys_dir),
        redaction=redactor_of(hosts, wish),
        continuing=True,
    )
    return steps_of(settings, scenario, environment, hosts, writer, wish).finish(version)


def _require_unfinished(folder: IncidentFolder) -> None:
    from rollback_playbook.record.listing import summary_for
    from rollback_playbook.record.state import state_of

    summary = summary_for(folder)
    state = state_of(summary)
    if state == "running":
        raise RefusedError(
            f"{folder.id} still runs, by {summary.get('operator')}; nothing was changed"
        )
    if summary.get("check"):
        raise RefusedError(f"{folder.id} was in check mode; there is nothing to go on with")
    if summary.get("exit_code") == 0:
        raise RefusedError(
            f"{folder.id} is over: {summary.get('summary') or state}; nothing was changed",
            hint=f"to take it back: rollback-playbook undo {folder.id}",
        )


def _scenario(settings: Settings, earlier: Earlier) -> Scenario:
    """The playbook that was run, or the scenario of its name where that file is no more."""
    name = str(earlier.declared["scenario"])
    path = Path(str(earlier.declared.get("playbook", "")))
    return load(name, path) if path.is_file() else find(name, settings.playbook_dirs)


def _phase(scenario: Scenario, earlier: Earlier, from_phase: str | None) -> str:
    if from_phase is None:
        return earlier.unfinished(scenario)
    if not scenario.has(from_phase):
        names = ", ".join(phase.name for phase in scenario.phases)
        raise UsageError(f"{scenario.name} has no phase {from_phase}", hint=f"it has {names}")
    return from_phase


def _with_earlier(
    wish: Wish, earlier: Earlier, scenario: Scenario, phase: str, *, take_over: bool
) -> Wish:
    from dataclasses import replace

    declared = earlier.declared
    lock: dict[str, Any] = {"incident_lock_token": earlier.token} if earlier.token else {}
    if take_over:
        lock = {"incident_lock_take_over": True}
    given = {
        name: value
        for name, value in (declared.get("variables") or {}).items()
        if name not in ("incident_lock_take_over", "incident_lock_token", *wish.variables)
    }
    _refuse_hidden(given)
    return replace(
        wish,
        reason=wish.reason or str(declared.get("reason", "")),
        limit=str(declared.get("limit", "")),
        variables={**decided_already(phase), **given, **wish.variables, **lock},
        phases=phases_from(phase, scenario),
        progress=earlier.progress_before(phase, scenario),
        about={"from_phase": phase, "take_over": take_over},
    )


def decided_already(phase: str) -> dict[str, bool]:
    """What tells Assess that this incident has decided, and done, what it would decide now.

    Behind the switch it would find nothing to roll back, once the attempt is over.
    """
    return {"assess_force": True} if PHASES.index(phase) > PHASES.index("Switch") else {}


def _refuse_hidden(variables: dict[str, object]) -> None:
    """The record hides secrets; one that came with ``-e`` has to come again."""
    from rollback_playbook.record.redaction.patterns import mark

    hidden = [name for name, value in variables.items() if mark("").rstrip("]") in str(value)]
    if hidden:
        raise UsageError(
            f"the record does not hold the value of {', '.join(hidden)}; nothing was changed",
            hint=f"give it again: -e {hidden[0]}=…",
        )
