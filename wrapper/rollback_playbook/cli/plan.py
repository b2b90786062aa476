"""``rollback-playbook plan``: what a scenario would reach."""

from __future__ import annotations

import click

from rollback_playbook.cli.settings import Settings


@click.command()
@click.argument("scenario")
@click.option("-i", "--inventory", "environment", required=True, metavar="ENV")
@click.option("-l", "--limit", default="", help="Only these hosts or groups.")
@click.pass_obj
def plan(settings: Settings, scenario: str, environment: str, limit: str) -> None:
    """What a scenario would do, and to which hosts; changes nothing."""
    from rollback_playbook.catalogue.scenarios import CHANGING_PHASES, find
    from rollback_playbook.plan.hosts import resolve_hosts
    from rollback_playbook.report.clock import duration

    found = find(scenario, settings.playbook_dirs)
    resolved = settings.environment(environment)
    hosts = resolve_hosts(
        resolved.inventory,
        [phase.hosts for phase in found.phases],
        limit,
        environment=settings.ansible_environment,
    )
    click.secho(f"{found.name} on {resolved.name}: {found.title}", bold=True)
    click.echo(
        f"  level {found.level}, target {duration(found.target_seconds)}, "
        f"{len(hosts.names)} hosts (fingerprint {hosts.fingerprint})"
    )
    for phase in found.phases:
        mark = "changes production" if phase.name in CHANGING_PHASES else ""
        names = ", ".join(hosts.by_pattern[phase.hosts])
        click.echo(f"  {phase.name:<9} {names}  {mark}".rstrip())
    click.echo(f"  when: {found.when}")
    click.echo(f"  not when: {found.when_not}")
    click.echo(f"  undo: {found.undo}")
