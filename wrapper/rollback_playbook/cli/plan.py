"""``rollback-playbook plan``: what a scenario would do."""

from __future__ import annotations

import click

from rollback_playbook.cli.settings import Settings


@click.command()
@click.argument("scenario")
@click.option("-i", "--inventory", "environment", required=True, metavar="ENV")
@click.option("-l", "--limit", default="", help="Only these hosts or groups.")
@click.pass_obj
def plan(settings: Settings, scenario: str, environment: str, limit: str) -> None:
    """What a scenario would do, where, and for how long; changes nothing.

    Rows that would be lost are counted by Assess: add --check to the scenario itself for those.
    """
    from rollback_playbook.catalogue.scenarios import find
    from rollback_playbook.cli.incident_run import hosts_of
    from rollback_playbook.cli.plan_text import plan_lines
    from rollback_playbook.plan.history import history_of

    found = find(scenario, settings.playbook_dirs)
    resolved = settings.environment(environment)
    hosts = hosts_of(settings, found, resolved, limit)
    history = history_of(settings.incidents_dir, found.name, resolved.name)
    for line in plan_lines(found, resolved, hosts, history, decision={}):
        click.echo(line)
