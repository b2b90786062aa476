"""``rollback-playbook backups``: what can be restored."""

from __future__ import annotations

import json
from typing import Any

import click

from rollback_playbook.cli.settings import Settings

_ENVIRONMENT = click.option("-i", "--inventory", "environment", required=True, metavar="ENV")


@click.group()
def backups() -> None:
    """Verified backups of an environment's database: list, create."""


@backups.command()
@_ENVIRONMENT
@click.option("--reason", default="")
@click.pass_obj
def create(settings: Settings, environment: str, reason: str) -> int:
    """Make one now; the same as the scenario `backup`."""
    from rollback_playbook.cli.incident_run import print_finish, run_incident

    finished = run_incident(settings, "backup", environment, reason=reason)
    print_finish(finished)
    return int(finished.exit_code)


@backups.command("list")
@_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_(settings: Settings, environment: str, as_json: bool) -> None:
    """Age, size, release, and whether each was ever proved by a restore; newest first."""
    found = [
        {**backup, "host": host}
        for host, answer in _ask(settings, environment).items()
        for backup in answer
    ]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo("there are no backups", err=True)
    for backup in found:
        click.echo(_line(backup))


def _ask(settings: Settings, environment: str) -> dict[str, list[dict[str, Any]]]:
    from rollback_playbook.catalogue.collection import bundled_playbooks
    from rollback_playbook.execution.backup_list import list_backups

    resolved = settings.environment(environment)
    return list_backups(
        bundled_playbooks(), resolved.inventory, environment=settings.ansible_environment
    )


def _line(backup: dict[str, Any]) -> str:
    from rollback_playbook.report.clock import duration

    if not backup.get("complete"):
        return f"{backup['id']}  NOT WHOLE: {backup.get('problem', '')}"
    proved = backup.get("proved")
    proof = f"proved {proved.get('at', '')}" if proved else "never proved by a restore"
    size = f"{int(backup.get('bytes') or 0) / 1e6:.1f} MB"
    return (
        f"{backup['id']}  {duration(backup.get('age')):>12} old  {size:>10}  "
        f"release {backup.get('label') or '?'}  {proof}"
    )
