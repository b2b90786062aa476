"""``rollback-playbook doctor``: found out in the afternoon, not at three in the morning."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click

from rollback_playbook.cli.settings import Settings
from rollback_playbook.errors import ExitCode, RollbackError


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    good: bool
    what: str
    hint: str = ""


@click.command()
@click.option("-i", "--inventory", "environment", metavar="ENV", help="Look at this one too.")
@click.pass_obj
def doctor(settings: Settings, environment: str | None) -> int:
    """Whether this machine, and an environment, are ready; exit code 3 when not."""
    findings = [*_machine(settings), *(_environment(settings, environment) if environment else ())]
    for finding in findings:
        mark = click.style("✓", fg="green") if finding.good else click.style("✗", fg="red")
        click.echo(f"{mark} {finding.what}")
        if finding.hint and not finding.good:
            click.echo(f"    {finding.hint}")
    good = all(finding.good for finding in findings)
    return int(ExitCode.HEALTHY if good else ExitCode.REFUSED)


def _machine(settings: Settings) -> Iterator[Finding]:
    from rollback_playbook.catalogue.collection import require_same_version
    from rollback_playbook.record.keys import Keyring

    yield _try("command line and collection", require_same_version)
    for name in ("ansible-core", "ansible-runner"):
        yield Finding(True, f"{name} {importlib.metadata.version(name)}")
    path = settings.ansible_environment["PATH"]
    yield Finding(
        shutil.which("ansible-playbook", path=path) is not None,
        "ansible-playbook is on PATH",
        "reinstall ansible-core into the same virtual environment",
    )
    yield _try("key of the records", lambda: Keyring(settings.keys_dir).active().id)
    yield Finding(True, f"incidents are kept in {settings.incidents_dir}")


def _environment(settings: Settings, name: str) -> Iterator[Finding]:
    """Every scenario's hosts can be resolved: what ``plan`` would refuse shows here."""
    from rollback_playbook.catalogue.scenarios import load
    from rollback_playbook.plan.hosts import resolve_hosts

    resolved = settings.environment(name)
    for scenario_name, path in sorted(settings.scenario_files().items()):
        scenario = load(scenario_name, path)
        patterns = [phase.hosts for phase in scenario.phases]

        def hosts(
            patterns: list[str] = patterns, may_lack: frozenset[str] = scenario.may_lack
        ) -> str:
            found = resolve_hosts(
                resolved.inventory,
                patterns,
                "",
                environment=settings.ansible_environment,
                may_lack=may_lack,
            )
            return f"{len(found.names)} hosts"

        yield _try(f"{scenario_name} on {resolved.name}", hosts)


def _try(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(True, f"{what}: {look()}")
    except RollbackError as error:
        return Finding(False, f"{what}: {error}", error.hint)
