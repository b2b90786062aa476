"""One command for every scenario: ``rollback-playbook SCENARIO -i ENV``."""

from __future__ import annotations

import click

from rollback_playbook.cli import run_options
from rollback_playbook.cli.settings import Settings


def scenario_command(name: str) -> click.Command:
    """The command of the scenario with this name; its help is the scenario's own."""

    @click.option(
        "-i",
        "--inventory",
        "environment",
        required=True,
        metavar="ENV",
        help="Environment: a name below inventories/, or any inventory Ansible accepts.",
    )
    @run_options.reason
    @click.option(
        "--to",
        "version",
        metavar="VERSION",
        help="Go to this release instead of the last one that was marked good.",
    )
    @click.option("--backup", metavar="ID", help="Restore this backup instead of the newest.")
    @run_options.check
    @click.option("-l", "--limit", default="", help="Only these hosts or groups.")
    @run_options.variables
    @run_options.yes
    @run_options.take_over
    @run_options.as_json
    @click.pass_obj
    @run_options.vault_password
    def callback(settings: Settings, /, environment: str, **options: object) -> int:
        from rollback_playbook.cli.incident_run import print_finish, run_incident

        finished = run_incident(settings, name, environment, **options)  # type: ignore[arg-type]
        print_finish(finished)
        return int(finished.exit_code)

    return click.command(name, cls=_ScenarioCommand)(callback)


class _ScenarioCommand(click.Command):
    """Reads the scenario's metadata only when its help is asked for."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from rollback_playbook.catalogue.scenarios import find
        from rollback_playbook.report.clock import duration

        settings = ctx.find_object(Settings) or Settings.from_environment(
            playbook_dirs=(), state_dir=None
        )
        scenario = find(self.name or "", settings.playbook_dirs)
        formatter.write_paragraph()
        with formatter.indentation():
            for text in (
                f"{scenario.title}.",
                f"When: {scenario.when}",
                f"When not: {scenario.when_not}",
                f"Undo: {scenario.undo}",
                f"Target: {duration(scenario.target_seconds)}. "
                f"Phases: {', '.join(phase.name for phase in scenario.phases)}.",
            ):
                formatter.write_text(text)
