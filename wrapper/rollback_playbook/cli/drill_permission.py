"""Whether an environment may be broken now: what its inventory and the drill log say."""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec

from rollback_playbook.catalogue.environments import Environment
from rollback_playbook.cli.plan_text import broken_words
from rollback_playbook.cli.settings import Settings
from rollback_playbook.drill.definition import Definition, definition_of
from rollback_playbook.errors import RefusedError, UsageError
from rollback_playbook.plan.hosts import resolve_hosts
from rollback_playbook.plan.left_broken import left_broken


def refuse_broken(settings: Settings, environment: Environment, typed: str) -> None:
    """What a drill keeps beforehand has to be good: damaged data must not become a backup."""
    drill = left_broken(settings.incidents_dir, environment.name, state_dir=settings.state_dir)
    if drill is None:
        return
    again = f"rollback-playbook releases mark-good -i {typed}"
    words = broken_words(drill.scenario, drill.environment, when=drill.time, why=drill.broken_off)
    raise RefusedError(
        f"{words}; nothing was changed",
        hint=f"{drill.command}; or, where it is well already, {again}",
    )


def definition_for(
    settings: Settings,
    environment: Environment,
    *patterns: str,
    may_lack: Collection[str] = (),
) -> Definition:
    """The drills of an environment, from the variables of its hosts.

    It may declare groups of ``may_lack`` without hosts. Raises RefusedError where it may not be
    broken or one of the patterns matches nothing, and UsageError where its inventory is wrong.
    """
    if find_spec("httpx") is None:
        raise UsageError(
            "nobody can ask what users see: httpx is not installed",
            hint="pip install 'rollback-playbook[drill]'",
        )
    hosts = resolve_hosts(
        environment.inventory,
        ["all", *patterns],
        "",
        environment=settings.ansible_environment,
        may_lack=may_lack,
    )
    if hosts.protected is not False:
        raise RefusedError(
            f"{environment.name} is protected, and a drill breaks what it is run on; nothing was "
            "changed",
            hint="rollback_protected: false in the inventory of an environment that may be broken",
        )
    return definition_of(
        environment.name, environment.inventory, hosts.said, settings.scenario_files()
    )
