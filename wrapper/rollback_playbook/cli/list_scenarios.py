"""``rollback-playbook list``: the decision matrix."""

from __future__ import annotations

import json

import click

from rollback_playbook.cli.settings import Settings
from rollback_playbook.report.clock import duration


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_scenarios(settings: Settings, as_json: bool) -> None:
    """The scenarios: when to use which, how long it may take, what can be undone."""
    from rollback_playbook.catalogue.scenarios import load

    files = settings.scenario_files()
    scenarios = [load(name, path) for name, path in sorted(files.items())]
    if as_json:
        rows = [
            {
                "name": scenario.name,
                "title": scenario.title,
                "level": scenario.level,
                "target_seconds": scenario.target_seconds,
                "when": scenario.when,
                "when_not": scenario.when_not,
                "undo": scenario.undo,
                "phases": [phase.name for phase in scenario.phases],
            }
            for scenario in scenarios
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    width = max(len(scenario.name) for scenario in scenarios)
    for scenario in scenarios:
        click.secho(f"{scenario.name:<{width}}", bold=True, nl=False)
        click.echo(f"  level {scenario.level}, target {duration(scenario.target_seconds)}")
        for line in (
            scenario.title,
            f"when: {scenario.when}",
            f"not when: {scenario.when_not}",
            f"undo: {scenario.undo}",
        ):
            click.echo(f"{'':<{width}}  {line}")
