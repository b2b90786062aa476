"""``rollback-playbook backups``: what can be restored."""

from __future__ import annotations

import json
from typing import Any

import click

from rollback_playbook.cli.settings import Settings
from rollback_playbook.errors import ExitCode

_ENVIRONMENT = click.option("-i", "--inventory", "environment", required=True, metavar="ENV")
_REASON = click.option("--reason", default="", help="Why; it stands in the record.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the record's events as JSON.")


@click.group()
def backups() -> None:
    """Verified backups of an environment's database: list, create, verify, stage."""


@backups.command()
@_ENVIRONMENT
@_REASON
@_JSON
@click.pass_obj
def create(settings: Settings, environment: str, reason: str, as_json: bool) -> int:
    """Make one now; the same as the scenario `backup`."""
    return _run(settings, "backup", environment, reason=reason, as_json=as_json)


@backups.command()
@click.argument("backup", metavar="ID")
@_ENVIRONMENT
@_REASON
@_JSON
@click.pass_obj
def verify(settings: Settings, backup: str, environment: str, reason: str, as_json: bool) -> int:
    """Prove one by restoring it beside the live database; what was restored is dropped again."""
    return _run(
        settings,
        "backup-verify",
        environment,
        backup=backup,
        reason=reason,
        as_json=as_json,
        done=f"backup {backup} can be restored: every row is as it was when the backup was made",
    )


@backups.command()
@click.argument("backup", metavar="ID")
@_ENVIRONMENT
@_REASON
@_JSON
@click.pass_obj
def stage(settings: Settings, backup: str, environment: str, reason: str, as_json: bool) -> int:
    """Restore and prove one now, and keep it ready: a rollback to it only has to swap."""
    return _run(
        settings,
        "backup-stage",
        environment,
        backup=backup,
        reason=reason,
        as_json=as_json,
        done=f"backup {backup} is ready: rollback-playbook full -i {environment} --backup {backup} "
        "only has to swap it in",
    )


def _run(
    settings: Settings,
    scenario: str,
    environment: str,
    *,
    reason: str,
    as_json: bool,
    backup: str | None = None,
    done: str = "",
) -> int:
    from rollback_playbook.cli.incident_run import print_finish, run_incident

    finished = run_incident(
        settings, scenario, environment, reason=reason, backup=backup, as_json=as_json
    )
    print_finish(finished)
    if done and finished.exit_code is ExitCode.HEALTHY:
        click.echo(f"  {done}", err=True)
    return int(finished.exit_code)


@backups.command("list")
@_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_(settings: Settings, environment: str, as_json: bool) -> None:
    """Age, size, server, release, and when each was last proved by a restore; newest first."""
    found = [
        {**backup, "host": host}
        for host, answer in _ask(settings, environment).items()
        for backup in answer
    ]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo(
            f"there are no backups; make one: rollback-playbook backup -i {environment}", err=True
        )
        return
    for line in backup_lines(found):
        click.echo(line)


def _ask(settings: Settings, environment: str) -> dict[str, list[dict[str, Any]]]:
    from rollback_playbook.catalogue.collection import bundled_playbooks
    from rollback_playbook.execution.host_query import ask_hosts

    resolved = settings.environment(environment)
    answers = ask_hosts(
        bundled_playbooks() / "queries" / "backups.yml",
        resolved.inventory,
        wanted="backups",
        environment=settings.ansible_environment,
    )
    return {host: answer["backups"] for host, answer in answers.items()}


_HEADINGS = ("backup", "age", "size", "server", "release", "proved by a restore")


def backup_lines(found: list[dict[str, Any]]) -> list[str]:
    """One aligned line for each backup, below a heading; what is not whole says why."""
    rows = [_HEADINGS, *(_cells(each) for each in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _cells(backup: dict[str, Any]) -> tuple[str, ...]:
    from rollback_playbook.report.clock import duration

    known = backup.get("age") is not None
    return (
        str(backup["id"]),
        duration(backup["age"]) if known else "?",
        f"{int(backup.get('bytes') or 0) / 1e6:,.1f} MB" if known else "?",
        _server(backup.get("server_version")),
        str(backup.get("label") or "?"),
        _proof(backup),
    )


def _server(version: int | None) -> str:
    """PostgreSQL's number 180006 is 18.6."""
    return f"{version // 10000}.{version % 10000}" if version else "?"


def _proof(backup: dict[str, Any]) -> str:
    if not backup.get("complete"):
        return f"NOT WHOLE: {backup.get('problem') or 'unknown'}"
    proved = backup.get("proved")
    return str(proved.get("at", "yes")) if proved else "never"
