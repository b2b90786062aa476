"""The plan: what the record keeps of it, and what the operator reads before agreeing to it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import click
import pytest

from rollback_playbook.catalogue.collection import bundled_playbooks
from rollback_playbook.catalogue.environments import Environment
from rollback_playbook.catalogue.scenarios import find
from rollback_playbook.cli.plan_text import plan_lines
from rollback_playbook.plan.history import History
from rollback_playbook.plan.hosts import ResolvedHosts
from rollback_playbook.plan.making import make_plan
from rollback_playbook.plan.steps import planned_steps
from rollback_playbook.record.drill_log import Drill

_GROUPS = {"app": ("web1", "web2"), "database": ("db1",), "cache": ("c1",), "proxy": ("edge1",)}
_DRILL = Drill(
    time="2026-11-20T10:00:00Z",
    scenario="full",
    environment="lab",
    incident="2026-11-20T10-00-00Z-full-lab-0001",
    exit_code=0,
    version="0.1.0",
    release_from="1.1.0",
    release_to="1.0.0",
)
_HISTORY = History(
    runs=3,
    environment="prod",
    total=61.0,
    phases={"Switch": 2.0},
    steps={("Pause", "sre.rollback.traffic"): 0.4},
    drill=_DRILL,
)
_DECISION = {
    "level": "full",
    "reasons": ["data are damaged"],
    "release_from": "1.1.0",
    "release_to": "1.0.0",
    "data_at_risk": {"summary": "restoring this backup loses 60 orders"},
}


def _hosts(**said: Any) -> ResolvedHosts:
    names = [name for group in _GROUPS.values() for name in group]
    return ResolvedHosts(
        by_pattern={"app:database:cache:proxy": tuple(names)},
        groups=_GROUPS,
        variables={name: dict(said) for name in names},
    )


def _plan(*, decision: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    history = options.pop("history", _HISTORY)
    hosts = options.pop("hosts", _hosts())
    return make_plan(
        find("full", [bundled_playbooks()]),
        Environment("prod", "inventories/prod"),
        hosts,
        history,
        decision=decision or {},
        **options,
    )


def _text(plan: dict[str, Any]) -> str:
    return click.unstyle("\n".join(plan_lines(plan)))


def test_plan_has_every_step_with_its_hosts_its_time_and_its_undo() -> None:
    plan = _plan()
    (pause,) = [step for step in plan["steps"] if step["phase"] == "Pause"]

    assert (pause["undo"], pause["predicted_seconds"]) == ("yes", 0.4)
    assert plan["targets"][pause["on"]] == ["edge1"]
    assert plan["hosts"] == ["c1", "db1", "edge1", "web1", "web2"]
    assert len(plan["fingerprint"]) == 8
    assert json.loads(json.dumps(plan)) == plan


def test_plan_has_no_step_on_a_group_without_hosts() -> None:
    hosts = replace(_hosts(), groups={**_GROUPS, "cache": ()})

    plan = _plan(hosts=hosts)

    assert any(step["on"] == "cache" for step in _plan()["steps"])
    assert not any(step["on"] == "cache" for step in plan["steps"])
    assert "cache" not in plan["targets"]


def test_task_that_only_looks_or_decides_is_nothing_to_undo() -> None:
    scenario = find("gradual", [bundled_playbooks()])
    undo = {step.name: step.undo for step in planned_steps(scenario) if step.phase == "Switch"}

    assert undo == {
        "Hosts of this batch are known": "",
        "Target release runs, one part after the other": "yes",
        "No more hosts were lost than the failure budget allows": "",
    }


@pytest.mark.parametrize("name", ["backup", "mark-good"])
def test_step_on_a_group_that_may_be_missing_names_the_group(name: str) -> None:
    where = {step.hosts for step in planned_steps(find(name, [bundled_playbooks()]))}

    assert "database" in where
    assert not {each for each in where if "default" in each}


@pytest.mark.parametrize(
    "words",
    [
        "5 hosts (fingerprint ",
        "Level is decided  (all 5 hosts)",
        "about 1 min 01 s, as the median of 3 runs on prod",
        "Switch    about 2.0 s, changes production",
        "(edge1; about 0.40 s; can be undone)",
        "decision:     level full, release 1.1.0 → 1.0.0 (data are damaged)",
        "data at risk: restoring this backup loses 60 orders",
        "approval:     operator",
        "last drill:   2026-11-20 10:00:00 UTC on lab, version 0.1.0, release 1.1.0 → 1.0.0",
    ],
)
def test_operator_reads_what_the_plan_says(words: str) -> None:
    assert words in _text(_plan(decision=_DECISION))


def test_operator_reads_what_is_not_known() -> None:
    text = _text(_plan(history=History()))

    assert "nothing is known of its times" in text
    assert "last drill:   never passed one here" in text
    assert "data at risk" not in text


def test_operator_reads_what_a_drill_has_left_broken_and_what_brings_it_back() -> None:
    drill = replace(
        _DRILL, exit_code=130, broken_off="killed", left_broken=True, command="rollback-playbook x"
    )

    text = _text(_plan(history=replace(_HISTORY, broken_by=drill)))

    assert (
        "attention:    the drill of full on 2026-11-20 10:00:00 UTC may have left lab broken "
        "(killed), and nothing has brought it back since: rollback-playbook x"
    ) in text
    assert "attention" not in _text(_plan())


def test_plan_of_an_incident_that_goes_on_has_the_phases_that_are_left() -> None:
    plan = _plan(only=("Declare", "Resume", "Confirm", "Close"))

    assert [each["phase"] for each in plan["phases"]] == ["Declare", "Resume", "Confirm", "Close"]
    assert {step["phase"] for step in plan["steps"]} == {"Declare", "Resume", "Confirm", "Close"}
    assert "Switch" not in _text(plan)


@pytest.mark.parametrize(
    ("said", "protected"),
    [({}, None), ({"rollback_protected": False}, False), ({"rollback_protected": True}, True)],
)
def test_environment_is_protected_when_any_host_says_so(
    said: dict[str, Any], protected: bool | None
) -> None:
    hosts = _hosts(**said)
    assert hosts.protected is protected
    one = ResolvedHosts(
        hosts.by_pattern, hosts.groups, {**hosts.variables, "x1": {"rollback_protected": True}}
    )
    assert one.protected is True
    assert ("type prod" in _plan(hosts=one)["approval"]) is True
