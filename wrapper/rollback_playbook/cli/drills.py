"""``rollback-playbook drill``: one scenario, every scenario, or the log of the drills so far."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rollback_playbook.cli.settings import Settings
from rollback_playbook.errors import ExitCode, RollbackError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rollback_playbook.lab.places import Lab
    from rollback_playbook.record.drill_log import Drill

_HISTORY = "history"
_LAB = "lab"

_INVENTORY = click.option(
    "-i",
    "--inventory",
    metavar="ENVIRONMENT",
    help="An environment whose inventory says how it may be broken; without it the lab.",
)
_DIRECTORY = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the lab lives [ROLLBACK_LAB_DIR].",
)
_SCALE = click.option("--scale", type=float, help="Of the lab: 1 is 200,000 orders.")


class DrillGroup(click.Group):
    """``history``, and one command for every scenario."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [_HISTORY, *sorted(_scenarios(ctx))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == _HISTORY:
            return super().get_command(ctx, cmd_name)
        return _scenario_drill(cmd_name) if cmd_name in _scenarios(ctx) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        faults = _lab_faults(ctx)
        with formatter.section("Scenarios, and what is broken on the lab for each"):
            formatter.write_dl(sorted(faults.items()))
        rest = ", ".join(sorted(_scenarios(ctx) - set(faults)))
        with formatter.section("With -i ENVIRONMENT these too, as its inventory says"):
            formatter.write_text(rest)
        with formatter.section("Commands"):
            formatter.write_dl([(_HISTORY, "The drills so far, with their times and a trend.")])


@dataclass(frozen=True)
class _Ground:
    """Where drills take place: on the lab, or on the environment ``inventory``."""

    inventory: str | None
    directory: Path | None
    scale: float | None

    @property
    def lab(self) -> Lab | None:
        """The lab, unless another environment was named."""
        from rollback_playbook.lab.places import Lab, lab_directory

        lab = Lab(self.directory.absolute() if self.directory else lab_directory())
        if self.inventory in (None, _LAB):
            return lab
        if self.directory or self.scale:
            raise UsageError("--dir and --scale are of the lab, which -i names too, or nothing")
        return None


@click.group(cls=DrillGroup, invoke_without_command=True, subcommand_metavar="SCENARIO [OPTIONS]")
@click.option("--all", "every", is_flag=True, help="Every scenario that can be, one by one.")
@_INVENTORY
@_DIRECTORY
@_SCALE
@click.pass_context
def drills(
    ctx: click.Context,
    every: bool,
    inventory: str | None,
    directory: Path | None,
    scale: float | None,
) -> int:
    """Break a real system, bring it back, prove it, and write it down.

    Without -i the system is the lab on this machine.
    """
    if ctx.invoked_subcommand is not None:
        if every:
            raise UsageError("a scenario and --all exclude each other")
        if (inventory, directory, scale) != (None, None, None):
            raise UsageError(f"options belong behind the scenario: {ctx.invoked_subcommand} …")
        return 0
    if not every:
        raise UsageError("which scenario?", hint="rollback-playbook drill --help lists them")
    ground = _Ground(inventory, directory, scale)
    settings = _settings(ctx)
    found = list(_attempts(settings, _in_order(ctx, ground), ground))
    _print_scorecard(found)
    return int(max((each.exit_code for each in found), default=ExitCode.HEALTHY))


@drills.command(_HISTORY)
@click.argument("scenario", required=False, default="")
@click.option("-i", "--inventory", "environment", metavar="ENVIRONMENT", help="Of one alone.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@click.pass_obj
def history(settings: Settings, scenario: str, environment: str | None, as_json: bool) -> None:
    """The drills so far, the newest last; SCENARIO for one alone."""
    import json
    from dataclasses import asdict

    from rollback_playbook.cli.drill_table import print_history
    from rollback_playbook.record.drill_log import read_drills, unread_lines

    named = {environment}
    # As everywhere it may be a path; of one that is gone there is the name alone.
    with suppress(UsageError):
        named |= {settings.environment(environment).name} if environment else set()
    found = [
        drill
        for drill in read_drills(settings.state_dir, scenario=scenario)
        if environment is None or drill.environment in named
    ]
    if as_json:
        for drill in found:
            click.echo(json.dumps(asdict(drill), ensure_ascii=False))
    else:
        print_history(found)
    unread = unread_lines(settings.state_dir)
    if unread:
        click.echo(f"{unread} lines of the drill log cannot be read and are left out", err=True)


def _settings(ctx: click.Context) -> Settings:
    settings = ctx.find_object(Settings)
    if settings is None:
        raise TypeError("the command line has no settings")
    return settings


def _scenarios(ctx: click.Context) -> set[str]:
    return set(_settings(ctx).scenario_files())


def _lab_faults(ctx: click.Context) -> dict[str, str]:
    """What is broken on the lab, by the scenario that mends it; nothing where there is no lab."""
    from rollback_playbook.cli.lab import require_extra

    try:
        require_extra()
    except UsageError:
        return {}
    from rollback_playbook.lab.faults import FAULTS

    known = _scenarios(ctx)
    return {
        scenario: fault.title
        for fault in FAULTS
        for scenario in fault.scenarios
        if scenario in known
    }


_HELP = """Break a real system, bring it back, and look with a user's eyes.

Without -i on the lab: starts it when it is not up, backs it up, lets customers buy, causes
what the scenario is for, runs it, and asks from outside whether anything of it is still felt.
Where data were damaged, they are compared with the backup, row for row: orders that were placed
after it have to be counted beforehand, kept, and, in the drill of full, merged back.

With -i ENVIRONMENT on an environment that is not protected and whose inventory says how it is
broken: sees that users are served, runs backup or mark-good, plays the playbook that causes the
fault, runs the scenario, and asks all the time what users ask for.
"""


def _scenario_drill(name: str) -> click.Command:
    """The command of one scenario."""

    @click.command(name, help=_HELP)
    @_INVENTORY
    @_DIRECTORY
    @_SCALE
    @click.option("--staged", is_flag=True, help="Of the lab: stage the backup beforehand.")
    @click.option("--json", "as_json", is_flag=True, help="Print the record's events as JSON.")
    @click.pass_obj
    def command(
        settings: Settings,
        inventory: str | None,
        directory: Path | None,
        scale: float | None,
        staged: bool,
        as_json: bool,
    ) -> int:
        ground = _Ground(inventory, directory, scale)
        return _drill(settings, name, ground, staged=staged, as_json=as_json).exit_code

    return command


def _drill(
    settings: Settings, name: str, ground: _Ground, *, staged: bool = False, as_json: bool = False
) -> Drill:
    from rollback_playbook.cli.drill_underway import BrokenOffError
    from rollback_playbook.cli.signals import stoppable

    with stoppable():
        try:
            return _drilled(settings, name, ground, staged=staged, as_json=as_json)
        except KeyboardInterrupt as stopped:
            # Before it has broken anything, or behind its end: between, it says so itself.
            raise BrokenOffError(
                "the drill was stopped; nothing more was changed", exit_code=ExitCode.INTERRUPTED
            ) from stopped


def _drilled(
    settings: Settings, name: str, ground: _Ground, *, staged: bool, as_json: bool
) -> Drill:
    if ground.lab is None:
        from rollback_playbook.cli.drill_on_environment import drill_on_environment

        if staged:
            raise UsageError("--staged is of the lab; backups stage does it on an environment")
        return drill_on_environment(settings, name, str(ground.inventory), as_json=as_json)
    from rollback_playbook.cli.lab import require_extra

    require_extra()
    from rollback_playbook.cli.drill_on_lab import drill_on_lab

    return drill_on_lab(
        settings, name, ground.lab, scale=ground.scale or 1.0, staged=staged, as_json=as_json
    )


def _in_order(ctx: click.Context, ground: _Ground) -> list[str]:
    """Those of the lab that restore the database last: they are the longest."""
    if ground.lab is None:
        from rollback_playbook.cli.drill_on_environment import drills_of

        return list(drills_of(_settings(ctx), str(ground.inventory)))
    from rollback_playbook.cli.lab import require_extra

    require_extra()
    from rollback_playbook.lab.breaking import fault_for

    return sorted(_lab_faults(ctx), key=lambda name: (fault_for(name).damages_data, name))


@dataclass(frozen=True)
class _Attempt:
    """One line of the scorecard: ``why`` there is no drill to show."""

    scenario: str
    exit_code: int
    why: str = ""
    drill: Drill | None = None


def _attempts(settings: Settings, names: Iterable[str], ground: _Ground) -> Iterator[_Attempt]:
    """Whoever stops one drill does not want the next."""
    stopped = False
    for name in names:
        if stopped:
            yield _Attempt(name, int(ExitCode.INTERRUPTED), why="not begun: it was stopped")
            continue
        attempt = _attempt(settings, name, ground)
        stopped = attempt.exit_code == ExitCode.INTERRUPTED
        yield attempt


def _attempt(settings: Settings, name: str, ground: _Ground) -> _Attempt:
    """One that fails hides no other."""
    click.secho(f"\n══ {name}", bold=True, err=True)
    try:
        drill = _drill(settings, name, ground)
    except RollbackError as error:
        click.echo(f"{click.style('✗', fg='red')} {error}", err=True)
        if error.hint:
            click.echo(f"  next: {error.hint}", err=True)
        return _Attempt(name, int(error.exit_code), why=str(error))
    return _Attempt(name, drill.exit_code, drill=drill)


def _print_scorecard(found: Iterable[_Attempt]) -> None:
    from rollback_playbook.cli.drill_table import print_scorecard

    print_scorecard([(each.scenario, each.exit_code, each.why, each.drill) for each in found])
