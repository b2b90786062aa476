"""The inventories beside the README are there to be copied: each scenario finds in one of them all
that it asks for, and none of them says a word that no role knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollback_playbook.catalogue.collection import bundled_playbooks
from rollback_playbook.catalogue.plays import read_plays
from rollback_playbook.catalogue.scenarios import load, scenario_files
from rollback_playbook.drill.definition import definition_of

ROOT = Path(__file__).resolve().parents[3]
ROLES = bundled_playbooks().parent / "roles"
EXAMPLES = sorted(path.parent.name for path in (ROOT / "inventories").glob("*/hosts.yml"))
SCENARIOS = {name: load(name, path) for name, path in scenario_files([bundled_playbooks()]).items()}
_ROLE_TASKS = ("ansible.builtin.import_role", "ansible.builtin.include_role")
#: What is decided in the incident and not in the inventory.
_OF_THE_INCIDENT = re.compile(r"incident_|.*_undo$|.*_restore_id$")
#: Read by the command line.
_OF_THE_COMMAND_LINE = {"rollback_protected", "drill_url", "drill_rate", "drill_faults"}
#: What roles have an empty default for, and without which a scenario has nothing to do.
_DOES_NOTHING_WITHOUT = {
    name: frozenset(variables.split())
    for name, variables in {
        "application-config": "configuration_paths services_names",
        "breaker-recovery": "protect_breakers",
        "cache-flush": "cache_patterns",
        "complete-failure": "services_names services_checks",
        "configuration": "configuration_paths",
        "infrastructure": "configuration_paths services_names",
        "request-isolation": "traffic_maintenance_path",
        "security-breach": "isolation_allow secrets_rotated services_names",
        "sqlite-restore": "sqlite_database",
        "tls-certificates": "configuration_certificates tls_certificates_checks",
        "traffic-pause": "traffic_maintenance_path",
        "traffic-resume": "traffic_maintenance_path",
    }.items()
}
_NO_DATABASE = dict.fromkeys(
    (
        "backup-stage",
        "backup-verify",
        "data-corruption",
        "data-merge",
        "database-migration",
        "database-restore",
        "full",
        "security-breach",
    ),
    "it has no database",
)
_NO_FLAGS = dict.fromkeys(
    ("breaker-recovery", "feature-flags", "payment-failure", "performance-regression"),
    "its application has neither breakers nor flags",
)
_NO_SQLITE = {"sqlite-restore": "it has no SQLite database"}
#: The scenarios that an example is not for, and why.
NOT_FOR: dict[str, dict[str, str]] = {
    "compose": {
        **_NO_DATABASE,
        **_NO_FLAGS,
        **_NO_SQLITE,
        "blue-green": "its services overlap: there are no two colours",
        "canary-abort": "its services overlap: there is no canary",
        "traffic-pause": "its proxy keeps nobody out: traffic_provider is none",
        "traffic-resume": "its proxy keeps nobody out: traffic_provider is none",
        "request-isolation": "its proxy keeps nobody out: traffic_provider is none",
    },
    "compose-database": {
        **_NO_SQLITE,
        **dict.fromkeys(
            (
                "application-config",
                "configuration",
                "connection-pool",
                "infrastructure",
                "memory-leak",
                "request-isolation",
                "tls-certificates",
                "websocket",
            ),
            "the example compose has it",
        ),
        "blue-green": "its services are recreated: there are no two colours",
        "canary-abort": "its services are recreated: there is no canary",
    },
    "monitoring": {
        **_NO_DATABASE,
        **_NO_FLAGS,
        **_NO_SQLITE,
        **dict.fromkeys(
            (
                "blue-green",
                "cache-flush",
                "canary-abort",
                "connection-pool",
                "request-isolation",
                "tls-certificates",
                "traffic-pause",
                "traffic-resume",
                "websocket",
            ),
            "it has no users but those who watch",
        ),
    },
    "prod": _NO_SQLITE,
    "staging": {
        **_NO_SQLITE,
        "blue-green": "it has one application server",
        "canary-abort": "it has one application server",
        "security-breach": "there are no strangers and no secrets that matter",
    },
    "systemd": {**_NO_DATABASE, **_NO_FLAGS},
}


@cache
def values(example: str) -> dict[str, Any]:
    """Every variable of an example, whichever group it is of."""
    found: dict[str, Any] = {}
    for path in sorted((ROOT / "inventories" / example / "group_vars").rglob("*.yml")):
        found |= yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


@cache
def groups(example: str) -> frozenset[str]:
    content = yaml.safe_load((ROOT / "inventories" / example / "hosts.yml").read_text("utf-8"))
    return frozenset({"all", *content["all"]["children"]})


@cache
def lacking(example: str) -> frozenset[str]:
    """The groups that it declares without hosts."""
    content = yaml.safe_load((ROOT / "inventories" / example / "hosts.yml").read_text("utf-8"))
    children = content["all"]["children"]
    return frozenset(name for name, group in children.items() if not group["hosts"])


@cache
def specification(role: str) -> dict[str, Any]:
    path = ROLES / role / "meta" / "argument_specs.yml"
    specs: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
    return specs


def role_tasks(block: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each task of a play that runs a role, however deep, and the role as it is named there."""
    for task in block or []:
        for name in _ROLE_TASKS:
            if name in task:
                yield task, task[name]
        for inner in ("block", "rescue", "always"):
            yield from role_tasks(task.get(inner))


def is_left_out(what: dict[str, Any], lacking: frozenset[str]) -> bool:
    """Whether a play, or a task, is only for hosts that there are none of."""
    if str(what.get("hosts", "")) in lacking:
        return True
    return any(f"in groups.{name}" in str(what.get("when", "")) for name in lacking)


def insisted_upon(named: dict[str, Any], given: dict[str, Any]) -> set[str]:
    """What an entry refuses to go on without, although each single host may do without it."""
    entry = (named["name"].removeprefix("sre.rollback."), named.get("tasks_from"))
    if entry == ("configuration", "named"):
        return {str(given.get("configuration_needs", "configuration_paths"))}
    return {"services_names", "services_checks"} if entry == ("services", "prepare") else set()


def needed(scenario: str, lacking: frozenset[str] = frozenset()) -> frozenset[str]:
    """The options that the roles of a scenario cannot do without, where these groups are empty."""
    found: set[str] = set()
    for play in read_plays(SCENARIOS[scenario].path):
        if is_left_out(play, lacking):
            continue
        for task, named in role_tasks(play.get("tasks")):
            if is_left_out(task, lacking):
                continue
            given = {*(play.get("vars") or {}), *(task.get("vars") or {})}
            entry = str(named.get("tasks_from", "main")).removesuffix(".yml")
            spec = specification(named["name"].removeprefix("sre.rollback.")).get(entry, {})
            required = {k for k, v in spec.get("options", {}).items() if v.get("required")}
            found |= {name for name in required - given if not _OF_THE_INCIDENT.match(name)}
            found |= insisted_upon(named, task.get("vars") or {})
    about = f"{SCENARIOS[scenario].when} {SCENARIOS[scenario].path.read_text(encoding='utf-8')}"
    return frozenset(name for name in found if f"-e {name}=" not in about)


def own_variables(scenario: str) -> frozenset[str]:
    """What a scenario asks for by its own name and sets nowhere, as ``memory_leak_services``."""
    prefix = scenario.replace("-", "_") + "_"
    text = SCENARIOS[scenario].path.read_text(encoding="utf-8")
    named = set(re.findall(rf"\b{prefix}[a-z_]+(?=\s*(?:\}}|\|(?!\s*default)))", text))
    return frozenset(name for name in named if not re.search(rf"\b{name}:", text))


def missing(scenario: str, example: str) -> set[str]:
    """The groups and variables without which a scenario is refused, or does nothing, there."""
    may_lack = SCENARIOS[scenario].may_lack & lacking(example)
    found: set[str] = set()
    for phase in SCENARIOS[scenario].phases:
        named = set(phase.hosts.split(":"))
        absent = (named - groups(example)) | (named & lacking(example) - may_lack)
        found |= absent or (named if named <= may_lack else set())
    wanted = needed(scenario, lacking(example)) | own_variables(scenario)
    wanted |= _DOES_NOTHING_WITHOUT.get(scenario, frozenset())
    return found | (wanted - values(example).keys())


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_finds_what_it_needs_in_an_example_or_it_is_said_why_not(
    scenario: str, example: str
) -> None:
    found = missing(scenario, example)

    assert bool(found) == (scenario in NOT_FOR[example]), f"{sorted(found)} is not there"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_is_shown_in_an_example(scenario: str) -> None:
    assert any(scenario not in reasons for reasons in NOT_FOR.values())


def test_what_is_not_for_an_example_is_a_scenario() -> None:
    assert NOT_FOR.keys() == set(EXAMPLES)
    assert {name for reasons in NOT_FOR.values() for name in reasons} <= SCENARIOS.keys()


@pytest.mark.parametrize("example", EXAMPLES)
def test_no_example_says_what_no_role_knows(example: str) -> None:
    options: set[str] = set()
    for path in ROLES.glob("*/meta/argument_specs.yml"):
        for entry in specification(path.parents[1].name).values():
            options |= entry.get("options", {}).keys()
    playbooks = "".join(
        path.read_text(encoding="utf-8") for path in bundled_playbooks().rglob("*.yml")
    )

    # Names of the examples' own, from which others of their values are made.
    foreign = ("ansible_", "shop_")
    unknown = {
        name
        for name in values(example)
        if not name.startswith(foreign)
        and name not in _OF_THE_COMMAND_LINE
        and name not in options
        and not re.search(rf"\b{name}\b", playbooks)
    }

    assert unknown == set()


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_drill_of_an_example_can_be_played(example: str) -> None:
    if "drill_faults" not in values(example):
        pytest.skip("it is not to be broken")

    found = definition_of(example, str(ROOT / "inventories" / example), values(example), SCENARIOS)

    assert values(example)["rollback_protected"] is False
    for fault in found.faults.values():
        for playbook in filter(None, (fault.playbook, fault.mend)):
            plays = yaml.safe_load(playbook.read_text(encoding="utf-8"))
            assert {play["hosts"] for play in plays} <= groups(example)
