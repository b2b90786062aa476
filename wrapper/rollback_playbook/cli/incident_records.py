"""The commands that check a record, add to it, bring it in, hand it over or remove it."""

from __future__ import annotations

import getpass
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rollback_playbook.cli.ages import age
from rollback_playbook.cli.incident_reference import folder_of
from rollback_playbook.cli.settings import Settings
from rollback_playbook.errors import ExitCode, RefusedError

if TYPE_CHECKING:
    from rollback_playbook.record.folder import IncidentFolder
    from rollback_playbook.record.keys import Keyring
    from rollback_playbook.record.redaction import Redactor
    from rollback_playbook.record.verification import Verification

_INCIDENT = click.argument("incident")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@_INCIDENT
@_JSON
@click.pass_obj
def verify(settings: Settings, incident: str, as_json: bool) -> int:
    """Whether the record is as it was written, and whether it is complete.

    Needs nothing but the incident's folder and the keys. Exit code 0 when both hold, else 6.
    """
    from dataclasses import asdict

    from rollback_playbook.record.verification import verify as verify_record

    result = verify_record(folder_of(settings, incident), _keys(settings))
    if as_json:
        click.echo(json.dumps({**asdict(result), "ok": result.ok}, indent=2, default=str))
    else:
        _print_verification(result)
    return int(ExitCode.HEALTHY if result.ok else ExitCode.RECORD_INCOMPLETE)


def _print_verification(result: Verification) -> None:
    click.echo(f"{result.incident}: {result.events} events in {result.lines} lines")
    for finding in result.findings:
        click.secho(f"  {finding.kind}: {finding.message}", fg="red")
    if result.intact:
        click.secho("  integrity: as it was written", fg="green")
    for problem in result.completeness.problems:
        click.secho(f"  incomplete: {problem}", fg="red")
    if not result.completeness.problems:
        _print_complete(result)
    for remark in result.notes:
        click.echo(f"  note: {remark}")


def _print_complete(result: Verification) -> None:
    """A record that was changed has been counted as far as its chain holds."""
    if result.intact:
        click.secho("  completeness: nothing is missing", fg="green")
    else:
        click.echo("  completeness: cannot be told from a record that was changed")


@click.command()
@_INCIDENT
@click.argument("text")
@click.option("--corrects", type=int, help="Sequence of the event that this corrects.")
@click.pass_obj
def note(settings: Settings, incident: str, text: str, corrects: int | None) -> None:
    """Add a person's words; nothing that stands in the record is changed."""
    from rollback_playbook.record.incidents import add_note
    from rollback_playbook.record.redaction import Redactor

    folder = folder_of(settings, incident)
    add_note(
        folder,
        text,
        author=getpass.getuser(),
        keys=_keys(settings),
        redaction=Redactor(),
        corrects=corrects,
    )
    click.echo(f"noted in {folder.id}", err=True)


@click.command("import")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-i",
    "--inventory",
    "environment",
    metavar="ENV",
    help="The environment it ran against; its secrets are taken out wherever they stand.",
)
@click.option("--scenario", default="imported", help="What it was, as it shall be listed.")
@_JSON
@click.pass_obj
def import_(
    settings: Settings, source: Path, environment: str | None, scenario: str, as_json: bool
) -> None:
    """Make a record of a run that was driven by ansible-runner or AWX.

    SOURCE is an artifacts directory of ansible-runner, a JSON file of AWX's job events, or JSON
    lines of events. The times are those of the run; the outcome is `imported`, since nobody here
    proved that anything was healthy afterwards.
    """
    from rollback_playbook.record.importing import import_artifacts

    name, redaction = _imported_into(settings, environment)
    folder = import_artifacts(
        source,
        settings.incidents_dir,
        keys=_keys(settings),
        redaction=redaction,
        scenario=scenario,
        environment=name,
    )
    _print_imported(folder, as_json=as_json)


def _imported_into(settings: Settings, environment: str | None) -> tuple[str, Redactor]:
    """The environment's name, and a redaction that knows the secrets of its inventory."""
    from rollback_playbook.record.redaction import Redactor

    if environment is None:
        return "unknown", Redactor()
    from rollback_playbook.plan.hosts import resolve_hosts
    from rollback_playbook.plan.secret_values import secrets_in

    found = settings.environment(environment)
    hosts = resolve_hosts(found.inventory, ["all"], "", environment=settings.ansible_environment)
    return found.name, Redactor([*hosts.vaulted, *secrets_in(hosts.variables)])


def _print_imported(folder: IncidentFolder, *, as_json: bool) -> None:
    from rollback_playbook.record.listing import summary_for

    summary = summary_for(folder)
    if as_json:
        click.echo(json.dumps(summary, indent=2))
        return
    click.echo(folder.id)
    run = summary["runs"][-1]
    click.echo(
        f"  {run['recorded']} of {run['expected']} job events: {summary['summary']}", err=True
    )
    for phase in summary["phases"]:
        click.echo(f"  {phase['name']:<12} {phase['status']}", err=True)
    click.echo(f"  record: {folder.path}", err=True)


@click.command()
@_INCIDENT
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path(),
    help="The archive, or the directory it shall lie in [the current one].",
)
@click.pass_obj
def export(settings: Settings, incident: str, output: Path) -> None:
    """One archive with the record, its report and its evidence; its path on standard output."""
    from rollback_playbook.report.archive import export_incident

    path = export_incident(folder_of(settings, incident), output, keys=_keys(settings))
    click.echo(path)


@click.command()
@click.option(
    "--older-than",
    type=age,
    required=True,
    metavar="AGE",
    help="Closed longer ago than this: 12h, 90d, 52w.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(settings: Settings, older_than: timedelta, yes: bool) -> None:
    """Remove old incidents. Never one that is not closed; nothing is ever removed unasked.

    The heads beside the keys stay: they prove that there were such records.
    """
    from rollback_playbook.record.retention import expired, remove_incident

    found = expired(settings.incidents_dir, older_than=older_than)
    if not found:
        click.echo("no incident was closed that long ago; nothing was removed", err=True)
        return
    for entry in found:
        click.echo(f"{entry.id}  {entry.state}  {entry.operator}: {entry.reason}", err=True)
    _confirm_removal(len(found), yes=yes)
    for entry in found:
        remove_incident(entry.folder)
    click.echo(f"{len(found)} removed", err=True)


def _confirm_removal(count: int, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise RefusedError(
            f"{count} incidents would be removed and nobody can be asked; nothing was removed",
            hint="the same command with --yes",
        )
    if not click.confirm(f"Remove these {count} for good?", err=True):
        raise RefusedError("nothing was removed")


def _keys(settings: Settings) -> Keyring:
    from rollback_playbook.record.keys import Keyring

    return Keyring(settings.keys_dir)
