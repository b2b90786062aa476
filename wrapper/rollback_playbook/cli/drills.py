"""``rollback-playbook drill``: one scenario, every scenario, or the log of the drills so far."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollback_playbook.cli.settings import Settings
from rollback_playbook.errors import ExitCode, RollbackError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rollback_playbook.record.drill_log import Drill

_HISTORY = "history"


class DrillGroup(click.Group):
    """``history``, and one command for every scenario that the lab has a fault for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [_HISTORY, *sorted(_faults(ctx))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == _HISTORY:
            return super().get_command(ctx, cmd_name)
        return _scenario_drill(cmd_name) if cmd_name in _faults(ctx) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Scenarios, and what is broken for each"):
            formatter.write_dl(sorted(_faults(ctx).items()))
        with formatter.section("Commands"):
            formatter.write_dl([(_HISTORY, "The drills so far, with their times and a trend.")])


@click.group(cls=DrillGroup, invoke_without_command=True, subcommand_metavar="SCENARIO [OPTIONS]")
@click.option("--all", "every", is_flag=True, help="Every scenario, one after the other.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the lab lives [ROLLBACK_LAB_DIR].",
)
@click.option("--scale", default=1.0, show_default=True, help="1 is 200,000 orders.")
@click.pass_context
def drills(ctx: click.Context, every: bool, directory: Path | None, scale: float) -> int:
    """Break a real system on this machine, bring it back, prove it, and write it down."""
    if ctx.invoked_subcommand is not None:
        if every:
            raise UsageError("a scenario and --all exclude each other")
        return 0
    if not every:
        raise UsageError("which scenario?", hint="rollback-playbook drill --help lists them")
    found = [_attempt(ctx, name, directory=directory, scale=scale) for name in _in_order(ctx)]
    _print_scorecard(found)
    return int(max((code for _, code, _ in found), default=ExitCode.HEALTHY))


@drills.command(_HISTORY)
@click.argument("scenario", required=False, default="")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@click.pass_obj
def history(settings: Settings, scenario: str, as_json: bool) -> None:
    """The drills so far, the newest last; SCENARIO for one alone."""
    import json
    from dataclasses import asdict

    from rollback_playbook.cli.drill_table import print_history
    from rollback_playbook.record.drill_log import read_drills

    found = read_drills(settings.state_dir, scenario=scenario)
    if as_json:
        for drill in found:
            click.echo(json.dumps(asdict(drill), ensure_ascii=False))
    else:
        print_history(found)


def _faults(ctx: click.Context) -> dict[str, str]:
    """What is broken, by the scenario that mends it; those that have a playbook."""
    from rollback_playbook.cli.lab import require_extra

    require_extra()
    from rollback_playbook.lab.faults import FAULTS

    settings = ctx.find_object(Settings)
    known = settings.scenario_files() if settings else {}
    return {
        scenario: fault.title
        for fault in FAULTS
        for scenario in fault.scenarios
        if settings is None or scenario in known
    }


def _scenario_drill(name: str) -> click.Command:
    """The command of one scenario: the drill, then a line in the log."""
    from rollback_playbook.cli.drill import drill

    def callback(**options: Any) -> int:
        return _run(click.get_current_context(), name, options)

    params = [param for param in drill.params if param.name != "scenario"]
    return click.Command(name, params=params, callback=callback, help=drill.help)


def _run(ctx: click.Context, name: str, options: dict[str, Any]) -> int:
    """Drill and write it down; the lab is left as it was found, whatever a scenario leaves."""
    from rollback_playbook.cli.drill import drill

    settings = ctx.find_object(Settings)
    if settings is None:
        raise TypeError("the command line has no settings")
    before = _newest(settings, name)
    code = int(ctx.invoke(drill, scenario=name, **options))
    after = _newest(settings, name)
    if after is not None and after != before:
        _write_down(settings, after, code)
    _mend(name, options.get("directory"))
    return code


def _newest(settings: Settings, name: str) -> str | None:
    from rollback_playbook.record.listing import list_incidents

    if not settings.incidents_dir.exists():
        return None
    found = list_incidents(settings.incidents_dir, scenario=name, limit=1)
    return found[0].id if found else None


def _write_down(settings: Settings, incident: str, code: int) -> None:
    from rollback_playbook.record.drill_log import append_drill, drill_of
    from rollback_playbook.record.folder import IncidentFolder
    from rollback_playbook.record.listing import summary_for

    summary = summary_for(IncidentFolder(settings.incidents_dir / incident))
    append_drill(settings.state_dir, drill_of(summary, exit_code=code))


def _mend(name: str, directory: Path | None) -> None:
    """Flags that stay off, breakers that stay open: right in an incident, not before a drill."""
    from rollback_playbook.lab.breaking import fault_for
    from rollback_playbook.lab.mending import mend_lab
    from rollback_playbook.lab.places import lab_directory

    if not fault_for(name).damages_data:
        mend_lab(directory.absolute() if directory else lab_directory())


def _in_order(ctx: click.Context) -> list[str]:
    """Those that restore the database last: they are the longest."""
    from rollback_playbook.lab.breaking import fault_for

    return sorted(_faults(ctx), key=lambda name: (fault_for(name).damages_data, name))


def _attempt(
    ctx: click.Context, name: str, *, directory: Path | None, scale: float
) -> tuple[str, int, str]:
    """Name, exit code, and why there is no time to show; one that fails hides no other."""
    click.secho(f"\n══ {name}", bold=True, err=True)
    argv = ["--scale", str(scale), *(("--dir", str(directory)) if directory else ())]
    command = _scenario_drill(name)
    try:
        with command.make_context(name, argv, parent=ctx) as own:
            code = int(command.invoke(own))
    except RollbackError as error:
        click.echo(f"{click.style('✗', fg='red')} {error}", err=True)
        return name, int(error.exit_code), str(error)
    return name, code, ""


def _last(settings: Settings | None, name: str) -> Drill | None:
    from rollback_playbook.record.drill_log import read_drills

    found = read_drills(settings.state_dir, scenario=name) if settings else []
    return found[-1] if found else None


def _print_scorecard(found: Iterable[tuple[str, int, str]]) -> None:
    from rollback_playbook.cli.drill_table import print_scorecard

    ctx = click.get_current_context()
    settings = ctx.find_object(Settings)
    print_scorecard(
        [(name, code, why, None if why else _last(settings, name)) for name, code, why in found]
    )
