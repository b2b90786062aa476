"""``rollback-playbook plan``: what a scenario would do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from rollback_playbook.cli import run_options
from rollback_playbook.cli.settings import Settings
from rollback_playbook.errors import RefusedError

if TYPE_CHECKING:
    from rollback_playbook.catalogue.environments import Environment
    from rollback_playbook.catalogue.scenarios import Scenario
    from rollback_playbook.cli.incident_steps import Wish
    from rollback_playbook.plan.hosts import ResolvedHosts


@click.command()
@click.argument("scenario")
@click.option("-i", "--inventory", "environment", required=True, metavar="ENV")
@click.option("-l", "--limit", default="", help="Only these hosts or groups.")
@click.option("--to", "version", metavar="VERSION", help="As for the scenario.")
@click.option("--backup", metavar="ID", help="As for the scenario.")
@run_options.variables
@click.option("--no-assess", is_flag=True, help="Ask the hosts nothing: within a second or two.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.pass_obj
@run_options.vault_password
def plan(
    settings: Settings,
    scenario: str,
    environment: str,
    limit: str,
    version: str | None,
    backup: str | None,
    variables: tuple[str, ...],
    no_assess: bool,
    as_json: bool,
) -> None:
    """What a scenario would do, where, for how long, and what would be lost; changes nothing.

    Assess runs for it, which only looks. Exit code 3 when it finds that the scenario would be
    refused.
    """
    from rollback_playbook.catalogue.scenarios import find
    from rollback_playbook.cli.incident_run import chosen, hosts_of, redactor_of, with_keywords
    from rollback_playbook.cli.incident_steps import Wish
    from rollback_playbook.cli.plan_text import plan_lines
    from rollback_playbook.cli.variables import parse_variables
    from rollback_playbook.plan.history import history_of
    from rollback_playbook.plan.making import make_plan

    found = find(scenario, settings.playbook_dirs)
    resolved = settings.environment(environment)
    hosts = hosts_of(settings, found, resolved, limit)
    given = parse_variables(variables, settings.ansible_environment)
    told = {**chosen(version=version, backup=backup), **given.values}
    wish = Wish(variables=told, secrets=given.secrets, limit=limit)
    wish = with_keywords(wish, found, hosts)
    decision = {} if no_assess else _assessed(settings, found, resolved, hosts, wish)
    history = history_of(
        settings.incidents_dir, found.name, resolved.name, state_dir=settings.state_dir
    )
    made = make_plan(found, resolved, hosts, history, decision=decision)
    clean = redactor_of(hosts, wish).data(made)
    if as_json:
        click.echo(json.dumps(clean, indent=2, ensure_ascii=False))
        return
    for line in plan_lines(clean):
        click.echo(line)


def _assessed(
    settings: Settings,
    scenario: Scenario,
    environment: Environment,
    hosts: ResolvedHosts,
    wish: Wish,
) -> Mapping[str, Any]:
    """The decision; raises RefusedError when Assess itself refuses."""
    from rollback_playbook.cli.incident_run import redactor_of
    from rollback_playbook.cli.incident_steps import operator
    from rollback_playbook.execution.assessing import assess

    about = {"incident_id": "plan", "incident_operator": operator(), "incident_reason": "plan"}
    found = assess(
        scenario,
        environment,
        ansible_environment=settings.ansible_environment,
        limit=wish.limit,
        variables={**about, **wish.keywords, **wish.variables},
    )
    if found.failure:
        why = redactor_of(hosts, wish).text(found.failure)
        raise RefusedError(
            f"{scenario.name} would be refused: {why}",
            hint="--no-assess shows the steps all the same",
        )
    return found.decision
