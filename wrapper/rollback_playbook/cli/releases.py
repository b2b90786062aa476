"""``rollback-playbook releases``: which releases are good."""

from __future__ import annotations

import json
from typing import Any

import click

from rollback_playbook.cli import run_options
from rollback_playbook.cli.settings import Settings

_ENVIRONMENT = click.option("-i", "--inventory", "environment", required=True, metavar="ENV")


@click.group()
def releases() -> None:
    """Releases that were marked good, the targets of a rollback: list, mark-good, mark-bad."""


@releases.command("mark-good")
@_ENVIRONMENT
@click.option("--as", "version", metavar="VERSION", help="Its name, instead of the one it has.")
@click.option("--reason", default="after a deployment")
@run_options.yes
@click.pass_obj
def mark_good(
    settings: Settings, environment: str, version: str | None, reason: str, yes: str | None
) -> int:
    """Mark the running release good, once its gate has held; the same as the scenario `mark-good`.

    Images, git revision, migrations and backup are written down with it.
    """
    return _mark(settings, "mark-good", environment, version=version, reason=reason, yes=yes)


@releases.command("mark-bad")
@click.argument("version")
@_ENVIRONMENT
@click.option("--reason", required=True, help="What is wrong with it; whoever comes next reads it.")
@run_options.yes
@click.pass_obj
def mark_bad(
    settings: Settings, version: str, environment: str, reason: str, yes: str | None
) -> int:
    """Mark VERSION bad, so that nobody goes back to it; the same as the scenario `mark-bad`."""
    return _mark(settings, "mark-bad", environment, version=version, reason=reason, yes=yes)


@releases.command("list")
@_ENVIRONMENT
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_(settings: Settings, environment: str, as_json: bool) -> None:
    """The good releases of each host, the one that was marked last first."""
    from rollback_playbook.catalogue.collection import bundled_playbooks
    from rollback_playbook.execution.host_query import ask_hosts

    resolved = settings.environment(environment)
    answers = ask_hosts(
        bundled_playbooks() / "queries" / "releases.yml",
        resolved.inventory,
        wanted="releases",
        environment=settings.ansible_environment,
    )
    if as_json:
        click.echo(json.dumps({host: answer["releases"] for host, answer in answers.items()}))
        return
    for host, answer in answers.items():
        click.echo(f"{host}:")
        for line in _lines(answer):
            click.echo(f"  {line}")


def _mark(settings: Settings, scenario: str, environment: str, **options: Any) -> int:
    from rollback_playbook.cli.incident_run import print_finish, run_incident

    finished = run_incident(settings, scenario, environment, **options)
    print_finish(finished)
    return int(finished.exit_code)


def _lines(answer: dict[str, Any]) -> list[str]:
    lines = [_line(release) for release in reversed(answer["releases"])]
    damaged = [
        f"line {each['line']} cannot be read: {each['problem']}" for each in answer["damaged"]
    ]
    return [*(lines or ["no release was marked good"]), *damaged]


def _line(release: dict[str, Any]) -> str:
    about = [
        f"{name.replace('_', ' ')} {release[name]}"
        for name in ("backup", "migration", "git_revision")
        if release.get(name)
    ]
    images = [f"{name} {each['id'][:19]}" for name, each in (release.get("images") or {}).items()]
    marked = f"marked {release.get('marked_at', '?')} by {release.get('by', '?')}"
    return "  ".join([f"{release['version']:<12}", marked, *about, *images])
