"""``rollback-playbook list``: the decision matrix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from rollback_playbook.cli.settings import Settings
from rollback_playbook.report.clock import duration

if TYPE_CHECKING:
    from rollback_playbook.catalogue.scenarios import Scenario

#: What the table needs to be read; a program that reads it has no terminal to be narrow.
_WIDTH = 140
_MOST_WIDE = 180


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", is_flag=True, help="Print the page of the documentation.")
@click.pass_obj
def list_scenarios(settings: Settings, as_json: bool, markdown: bool) -> None:
    """The scenarios: when to use which, how long it may take, what can be undone."""
    from rollback_playbook.catalogue.matrix import as_markdown, by_target
    from rollback_playbook.catalogue.scenarios import load

    files = settings.scenario_files()
    scenarios = [load(name, path) for name, path in sorted(files.items())]
    if as_json:
        click.echo(json.dumps([_as_dict(scenario) for scenario in scenarios], indent=2))
    elif markdown:
        click.echo(as_markdown(scenarios), nl=False)
    else:
        _print_table(by_target(scenarios))


def _as_dict(scenario: Scenario) -> dict[str, Any]:
    return {
        "name": scenario.name,
        "title": scenario.title,
        "level": scenario.level,
        "target_seconds": scenario.target_seconds,
        "when": scenario.when,
        "when_not": scenario.when_not,
        "undo": scenario.undo,
        "approval": scenario.approval,
        "phases": [phase.name for phase in scenario.phases],
    }


def _print_table(scenarios: Sequence[Scenario]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.HORIZONTALS, show_lines=True, pad_edge=False)
    for heading, ratio in (("scenario", None), ("level", None), ("target", None),
                           ("when", 3), ("not when", 3), ("undo", 2), ("approval", 1)):  # fmt: skip
        table.add_column(heading, ratio=ratio, no_wrap=ratio is None)
    for each in scenarios:
        target = duration(each.target_seconds).replace(" 00 s", "").replace(".0 s", " s")
        table.add_row(
            f"[bold]{each.name}[/bold]",
            each.level, target, each.when, each.when_not, each.undo, each.approval,
        )  # fmt: skip
    terminal = Console()
    width = min(terminal.width, _MOST_WIDE) if terminal.is_terminal else _WIDTH
    Console(highlight=False, width=width).print(table)
