"""``rollback-playbook undo INCIDENT``: take back what an incident did."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollback_playbook.catalogue.scenarios import PHASES
from rollback_playbook.cli import run_options
from rollback_playbook.cli.screens import Lines
from rollback_playbook.cli.settings import Settings
from rollback_playbook.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rollback_playbook.cli.incident_steps import Finished, Wish
    from rollback_playbook.plan.undo_playbook import UndoPlan
    from rollback_playbook.record.folder import IncidentFolder

_TARGET_SECONDS = 300.0


@click.command()
@click.argument("incident")
@click.option("--to-phase", type=click.Choice(PHASES), help="Only back to where this phase began.")
@run_options.reason
@run_options.check
@run_options.yes
@run_options.take_over
@run_options.as_json
@click.pass_obj
@run_options.vault_password
def undo(
    settings: Settings,
    incident: str,
    to_phase: str | None,
    reason: str,
    check: bool,
    yes: str | None,
    take_over: bool,
    as_json: bool,
) -> int:
    """Take back what an incident did, latest step first; an incident of its own.

    INCIDENT is an id, a part of one, or `last`. The exit code is the health gate's: what was
    broken before the incident is broken again.
    """  # fmt: skip
    from rollback_playbook.cli.incident_reference import folder_of
    from rollback_playbook.cli.incident_run import print_finish
    from rollback_playbook.cli.incident_steps import Wish

    folder = folder_of(settings, incident)
    wish = Wish(
        reason=reason or f"undo of {folder.id}",
        check=check,
        yes=yes,
        as_json=as_json,
        kind="undo",
        about={"undoes": folder.id},
    )
    finished = undo_incident(settings, folder, wish, to_phase=to_phase or "", take_over=take_over)
    print_finish(finished)
    return int(finished.exit_code)


def undo_incident(
    settings: Settings,
    folder: IncidentFolder,
    wish: Wish,
    *,
    to_phase: str = "",
    take_over: bool = False,
) -> Finished:
    """Make the playbook of the undo and run it.

    Raises RefusedError when the incident still runs, or when it left nothing to take back.
    """
    from rollback_playbook.catalogue.scenarios import load
    from rollback_playbook.cli.incident_reference import environment_of
    from rollback_playbook.cli.incident_run import run_scenario, with_variables
    from rollback_playbook.execution.earlier import read_earlier
    from rollback_playbook.plan.undo_playbook import as_yaml, plan_undo, undo_plays
    from rollback_playbook.record.reading import read_events
    from rollback_playbook.record.undo import steps_without_undo, undo_steps

    _require_ended(folder)
    events = list(read_events(folder.events))
    plan = plan_undo(undo_steps(events), to_phase=to_phase)
    earlier = read_earlier(events)
    left = [*(_named(step.host, step.task) for step in plan.hidden), *steps_without_undo(events)]
    if not plan.steps:
        raise RefusedError(
            f"{folder.id} left nothing that could be taken back; nothing was changed",
            hint=f"it cannot be undone: {'; '.join(left)}" if left else "",
        )
    plays = undo_plays(
        plan,
        incident=folder.id,
        restore_id=earlier.restore_id or folder.id,
        gate_hosts="app",
        target_seconds=_TARGET_SECONDS,
    )
    path = _written(folder, as_yaml(plays))
    environment = environment_of(settings, earlier.declared)
    if earlier.token and not take_over:
        wish = with_variables(wish, incident_lock_token=earlier.token)
    _print_steps(plan, left)
    finished = run_scenario(
        settings, load("undo", path), environment, wish, take_over=take_over, follows=folder.id
    )
    _print_left(finished, left)
    return finished


def _require_ended(folder: IncidentFolder) -> None:
    from rollback_playbook.record.listing import summary_for
    from rollback_playbook.record.state import state_of

    summary = summary_for(folder)
    if state_of(summary) == "running":
        raise RefusedError(
            f"{folder.id} still runs, by {summary.get('operator')}; nothing was changed",
            hint="stop it first with Ctrl-C, there",
        )
    if summary.get("check"):
        raise RefusedError(f"{folder.id} was in check mode; there is nothing to take back")


def _written(folder: IncidentFolder, text: str) -> Path:
    """Beside the record of what is undone: also a person can run it with ansible-playbook."""
    from rollback_playbook.record.folder import free_path, write_private

    path = free_path(folder.path / "undo.yml")
    write_private(path, text.encode())
    return path


def _print_steps(plan: UndoPlan, left: Sequence[str]) -> None:
    click.secho("To be taken back, in this order:", bold=True, err=True)
    for step in plan.steps:
        unsure = "" if step.certain else "  (if it was done; its end is not recorded)"
        click.echo(f"  {step.acts_in:<8} {_named(step.host, step.task)}{unsure}", err=True)
    for text in left:
        click.secho(f"  cannot be taken back: {text}", fg="yellow", err=True)


def _print_left(finished: Finished, left: Sequence[str]) -> None:
    if left and finished.exit_code in (0, 5):
        Lines(sys.stderr).put(f"Not taken back: {'; '.join(left)}")


def _named(host: str, task: Any) -> str:
    return f"{host}: {task}"
