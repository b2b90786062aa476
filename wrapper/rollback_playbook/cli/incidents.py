"""``rollback-playbook incidents``: what was done, by whom, with which result, and whether the
record of it is still as it was written."""

from __future__ import annotations

import getpass
import json
from typing import Any

import click

from rollback_playbook.cli.settings import Settings
from rollback_playbook.errors import ExitCode

_INCIDENT = click.argument("incident")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def incidents() -> None:
    """The records: list, show, verify, report, timeline, note.

    INCIDENT is an id, or enough of its beginning or end to be the only one; `last` is the newest.
    """


@incidents.command("list")
@click.option("-i", "--inventory", "environment", help="Only this environment.")
@click.option("--scenario", help="Only this scenario.")
@_JSON
@click.pass_obj
def list_(settings: Settings, environment: str | None, scenario: str | None, as_json: bool) -> None:
    """All incidents, newest first."""
    from rollback_playbook.report.clock import duration, moment

    rows = [
        summary
        for summary in _summaries(settings)
        if environment in (None, summary.get("environment"))
        and scenario in (None, summary.get("scenario"))
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo(f"no incidents in {settings.incidents_dir}", err=True)
    for row in rows:
        took = duration(row.get("seconds"))
        click.echo(
            f"{row['id']}  {moment(row.get('declared') or row.get('opened') or '')}"
            f"  {row['now']:<12}  {took:>12}  {row.get('operator', '')}: {row.get('reason', '')}"
        )


@incidents.command()
@_INCIDENT
@_JSON
@click.pass_obj
def show(settings: Settings, incident: str, as_json: bool) -> None:
    """The summary of one incident."""
    from rollback_playbook.record.reading import read_events
    from rollback_playbook.record.state import state_of
    from rollback_playbook.record.summary import summary_of
    from rollback_playbook.report.clock import duration

    folder = _folder(settings, incident)
    summary = summary_of(read_events(folder.events))
    if as_json:
        click.echo(json.dumps(summary, indent=2))
        return
    click.secho(summary.get("id", folder.id), bold=True)
    for name in ("scenario", "environment", "operator", "reason"):
        click.echo(f"  {name:<12} {summary.get(name, '')}")
    click.echo(f"  {'outcome':<12} {state_of(summary)}: {summary.get('summary', '')}")
    click.echo(f"  {'took':<12} {duration(summary.get('seconds'))}")
    for phase in summary["phases"]:
        click.echo(f"  {phase['name']:<12} {phase['status']:<8} {duration(phase.get('seconds'))}")
    click.echo(f"  {'record':<12} {folder.path}")


@incidents.command()
@_INCIDENT
@_JSON
@click.pass_obj
def verify(settings: Settings, incident: str, as_json: bool) -> int:
    """Whether the record is as it was written, and whether it is complete.

    Exit code 0 when both hold, else 6.
    """
    from dataclasses import asdict

    from rollback_playbook.record.keys import Keyring
    from rollback_playbook.record.verification import verify as verify_record

    result = verify_record(_folder(settings, incident), Keyring(settings.keys_dir))
    if as_json:
        click.echo(json.dumps({**asdict(result), "ok": result.ok}, indent=2, default=str))
        return _code(result.ok)
    click.echo(f"{result.incident}: {result.events} events in {result.lines} lines")
    for finding in result.findings:
        click.secho(f"  {finding.kind}: {finding.message}", fg="red")
    if result.intact:
        click.secho("  integrity: as it was written", fg="green")
    for problem in result.completeness.problems:
        click.secho(f"  incomplete: {problem}", fg="red")
    if result.completeness.complete:
        click.secho("  completeness: nothing is missing", fg="green")
    for note in result.notes:
        click.echo(f"  note: {note}")
    return _code(result.ok)


@incidents.command()
@_INCIDENT
@click.option("--format", "form", type=click.Choice(["md", "html", "json"]), default="md")
@click.pass_obj
def report(settings: Settings, incident: str, form: str) -> None:
    """The report, on standard output."""
    from rollback_playbook.record.keys import Keyring
    from rollback_playbook.record.verification import verify as verify_record
    from rollback_playbook.report.rendering import render

    folder = _folder(settings, incident)
    verification = verify_record(folder, Keyring(settings.keys_dir))
    click.echo(render(folder, form, verification=verification), nl=False)


@incidents.command()
@_INCIDENT
@click.pass_obj
def timeline(settings: Settings, incident: str) -> None:
    """What happened when, since the declaration."""
    from rollback_playbook.report.clock import duration, t_plus
    from rollback_playbook.report.timeline import timeline as rows_of

    for row in rows_of(_folder(settings, incident)):
        click.echo(
            f"{t_plus(row.offset):<8} {row.phase:<9} {row.what}  {duration(row.seconds)}".rstrip()
        )


@incidents.command()
@_INCIDENT
@click.argument("text")
@click.option("--corrects", type=int, help="Sequence of the event that this corrects.")
@click.pass_obj
def note(settings: Settings, incident: str, text: str, corrects: int | None) -> None:
    """Add a person's words; nothing that stands in the record is changed."""
    from rollback_playbook.record.incidents import add_note
    from rollback_playbook.record.keys import Keyring
    from rollback_playbook.record.redaction.redactor import Redactor

    folder = _folder(settings, incident)
    add_note(
        folder,
        text,
        author=getpass.getuser(),
        keys=Keyring(settings.keys_dir),
        redaction=Redactor(),
        corrects=corrects,
    )
    click.echo(f"noted in {folder.id}", err=True)


def _folder(settings: Settings, incident: str) -> Any:
    from rollback_playbook.record.folder import find_incident, incident_folders

    if incident == "last":
        newest = incident_folders(settings.incidents_dir)
        incident = newest[0].id if newest else incident
    return find_incident(settings.incidents_dir, incident)


def _summaries(settings: Settings) -> list[dict[str, Any]]:
    """From the records themselves where the summary is missing, as after a kill."""
    from rollback_playbook.record.folder import incident_folders, read_json
    from rollback_playbook.record.reading import read_events
    from rollback_playbook.record.state import state_of
    from rollback_playbook.record.summary import summary_of

    found = []
    for folder in incident_folders(settings.incidents_dir):
        summary = read_json(folder.summary) or summary_of(read_events(folder.events))
        found.append({**summary, "id": folder.id, "now": state_of(summary)})
    return found


def _code(ok: bool) -> int:
    return int(ExitCode.HEALTHY if ok else ExitCode.RECORD_INCOMPLETE)
