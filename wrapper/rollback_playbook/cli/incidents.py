"""``rollback-playbook incidents``: what was done, by whom, with which result."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from rollback_playbook.cli.ages import since as since_moment
from rollback_playbook.cli.incident_records import export, import_, note, remove, verify
from rollback_playbook.cli.incident_reference import folder_of
from rollback_playbook.cli.settings import Settings

if TYPE_CHECKING:
    from rollback_playbook.record.listing import IncidentEntry

_INCIDENT = click.argument("incident")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def incidents() -> None:
    """The records of what was done.

    INCIDENT is an id, or enough of its beginning or end to be the only one; `last` is the newest.
    """


for _command in (verify, note, import_, export, remove):
    incidents.add_command(_command)


@incidents.command("list")
@click.option("-i", "--inventory", "environment", metavar="ENV", help="Only this environment.")
@click.option("--scenario", help="Only this scenario.")
@click.option(
    "--outcome",
    help="Only with this result: healthy, failed, refused, not-proved, interrupted, running …",
)
@click.option(
    "--since", type=since_moment, metavar="AGE|DATE", help="Only since then: 12h, 30d, 2026-11-01."
)
@click.option("-n", "--limit", type=click.IntRange(min=1), help="No more than this many.")
@_JSON
@click.pass_obj
def list_(
    settings: Settings,
    environment: str | None,
    scenario: str | None,
    outcome: str | None,
    since: datetime | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """All incidents, newest first; an id begins with the moment of its declaration, in UTC."""
    from rollback_playbook.record.listing import list_incidents

    found = list_incidents(
        settings.incidents_dir,
        scenario=scenario or "",
        environment=environment or "",
        state=(outcome or "").replace("-", " "),
        since=since,
        limit=limit,
    )
    if as_json:
        click.echo(json.dumps([_entry(each) for each in found], indent=2))
    elif found:
        _print_table(found)
    else:
        filtered = any((environment, scenario, outcome, since))
        which = "no such incidents" if filtered else "no incidents"
        click.echo(f"{which} in {settings.incidents_dir}", err=True)


def _entry(entry: IncidentEntry) -> dict[str, Any]:
    """What a program reads: the names stay, whatever the table shows."""
    from dataclasses import fields

    shown = {each.name: getattr(entry, each.name) for each in fields(entry)}
    return {**shown, "folder": str(entry.folder.path)}


def _print_table(found: list[IncidentEntry]) -> None:
    from rollback_playbook.report.clock import duration

    rows = [
        (each.id, _result(each), duration(each.seconds), f"{each.operator}: {each.reason}")
        for each in found
    ]
    header = ("INCIDENT", "RESULT", "TOOK", "WHO AND WHY")
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(3)]
    click.secho(_aligned(header, widths), dim=True)
    for entry, row in zip(found, rows, strict=True):
        click.secho(_aligned(row, widths), fg=_COLOURS.get(entry.state))
    if any(each.state == "interrupted" and each.exit_code is None for each in found):
        click.echo(
            "interrupted: the run was cut off; rollback-playbook incidents show ID says where",
            err=True,
        )


def _result(entry: IncidentEntry) -> str:
    """With the phase that did not finish, where the run has not ended."""
    return f"{entry.state} in {entry.phase}" if entry.phase else entry.state


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    first, result, took, why = row
    return f"{first:<{widths[0]}}  {result:<{widths[1]}}  {took:>{widths[2]}}  {why}".rstrip(": ")


_COLOURS = {
    "healthy": "green",
    "failed": "red",
    "interrupted": "yellow",
    "not proved": "yellow",
    "running": "cyan",
    "unreadable": "red",
}


@incidents.command()
@_INCIDENT
@_JSON
@click.pass_obj
def show(settings: Settings, incident: str, as_json: bool) -> None:
    """The summary of one incident."""
    from rollback_playbook.record.reading import read_events
    from rollback_playbook.record.state import state_of
    from rollback_playbook.record.summary import summary_of

    folder = folder_of(settings, incident)
    summary = summary_of(read_events(folder.events))
    state = state_of(summary)
    if as_json:
        click.echo(json.dumps({**summary, "now": state}, indent=2))
        return
    click.secho(summary.get("id", folder.id), bold=True)
    for name, text in _about(summary, state):
        click.echo(f"  {name:<12} {text}".rstrip())
    click.echo(f"  {'record':<12} {folder.path}")


def _about(summary: dict[str, Any], state: str) -> list[tuple[str, str]]:
    from rollback_playbook.report.clock import duration, moment

    target = summary.get("target_seconds")
    took = duration(summary.get("seconds")) + (f", target {duration(target)}" if target else "")
    said = f": {summary['summary']}" if summary.get("summary") else ""
    outage = (summary.get("outage") or {}).get("seconds")
    return [
        *((name, str(summary.get(name) or "")) for name in ("scenario", "environment")),
        ("declared", moment(str(summary.get("declared") or summary.get("opened") or ""))),
        ("operator", f"{summary.get('operator') or ''}: {summary.get('reason') or ''}"),
        ("outcome", f"{state}{said}"),
        ("took", took),
        *([("outage", f"{duration(outage)} as users saw it")] if outage is not None else []),
        *(
            (each["name"], f"{each['status']:<11} {duration(each.get('seconds'))}")
            for each in summary["phases"]
        ),
        ("undo", f"{summary['undo_steps']} steps can be undone"),
    ]


@incidents.command()
@_INCIDENT
@click.option("--format", "form", type=click.Choice(["md", "html", "json"]), default="md")
@click.pass_obj
def report(settings: Settings, incident: str, form: str) -> None:
    """The report, on standard output."""
    from rollback_playbook.record.keys import Keyring
    from rollback_playbook.record.verification import verify as verify_record
    from rollback_playbook.report.rendering import render

    folder = folder_of(settings, incident)
    verification = verify_record(folder, Keyring(settings.keys_dir))
    click.echo(render(folder, form, verification=verification), nl=False)


@incidents.command()
@_INCIDENT
@click.pass_obj
def timeline(settings: Settings, incident: str) -> None:
    """What happened when, drawn against the time since the declaration."""
    from rollback_playbook.cli.timeline_drawing import print_timeline

    print_timeline(folder_of(settings, incident))
