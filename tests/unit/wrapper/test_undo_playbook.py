"""From what a record says can be undone to the playbook that does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader

from rollback_playbook.catalogue.scenarios import load
from rollback_playbook.plan.undo_playbook import UndoPlan, as_yaml, plan_undo, undo_plays
from rollback_playbook.record.undo import UndoStep


def _step(module: str, phase: str, sequence: int, host: str = "app1", **args: Any) -> UndoStep:
    return UndoStep(
        sequence=sequence,
        module=f"sre.rollback.{module}",
        args=args,
        host=host,
        task=f"{module} in {phase}",
        phase=phase,
        certain=True,
    )


#: What a whole rollback leaves, latest first.
_WHOLE = [
    _step("feature_flag", "Confirm", 9, path="/f", definitions={"checkout": {"a": "safe"}}),
    _step("traffic", "Resume", 8, "edge1", state="paused"),
    _step("redis_flush", "Switch", 7, "cache1", state="restored", restore_point="/r"),
    _step("release_link", "Switch", 6, version="1.1.0"),
    _step("pg_restore_verified", "Switch", 5, "db1", state="previous"),
    _step("traffic", "Pause", 4, "edge1", state="resumed"),
    _step("feature_flag", "Protect", 3, path="/f", definitions={"checkout": {"a": "found"}}),
]


def _plays(plan: UndoPlan) -> dict[str, Any]:
    plays = undo_plays(plan, incident="x", restore_id="first", gate_hosts="app", target_seconds=300)
    return {play["name"]: play for play in plays}


def _undone(play: dict[str, Any]) -> list[str]:
    return [str(task["name"]) for task in play["tasks"]]


def test_steps_of_the_switch_are_replayed_latest_first_with_users_kept_out() -> None:
    plays = _plays(plan_undo(_WHOLE))
    assert list(plays) == ["Declare", "Assess", "Pause", "Switch", "Resume", "Confirm", "Close"]
    assert _undone(plays["Switch"]) == [
        "Taken back - redis_flush in Switch",
        "Taken back - release_link in Switch",
        "Taken back - pg_restore_verified in Switch",
    ]


def test_traffic_and_flags_go_to_the_state_in_which_the_incident_found_them() -> None:
    plays = _plays(plan_undo(_WHOLE))
    [traffic] = plays["Resume"]["tasks"]
    assert traffic["vars"]["traffic_undo"]["args"] == {"state": "resumed"}
    flags = plays["Confirm"]["tasks"][0]["vars"]["protect_undo"]["args"]
    assert flags["definitions"] == {"checkout": {"a": "found"}}


def test_undo_to_a_phase_ends_as_it_was_when_that_phase_began() -> None:
    plays = _plays(plan_undo(_WHOLE, to_phase="Switch"))
    [traffic] = plays["Resume"]["tasks"]
    assert traffic["vars"]["traffic_undo"]["args"] == {"state": "paused"}
    gate = plays["Confirm"]["tasks"][-1]["ansible.builtin.include_role"]
    assert gate["tasks_from"] == "gate"


def test_an_attempt_that_is_taken_back_as_a_whole_is_over_before_the_gate_speaks() -> None:
    *_, over, _gate = _plays(plan_undo(_WHOLE))["Confirm"]["tasks"]
    assert over["ansible.builtin.include_role"]["tasks_from"] == "undone"
    assert over["vars"] == {"assess_undone_id": "first"}

    hidden = _step("feature_flag", "Protect", 1, definitions={"to": "[redacted:email]"})
    for plan in (plan_undo(_WHOLE, to_phase="Switch"), plan_undo([*_WHOLE, hidden])):
        assert "undone" not in str(_plays(plan)["Confirm"])


def test_every_step_of_the_switch_is_tried_before_anything_changes() -> None:
    assess = _plays(plan_undo(_WHOLE))["Assess"]
    assert len(assess["tasks"]) == 3
    for task in assess["tasks"]:
        assert task["ansible.builtin.include_role"]["apply"] == {"check_mode": True}


def test_step_that_the_record_hides_a_part_of_is_not_replayed() -> None:
    hidden = _step("feature_flag", "Protect", 1, definitions={"to": "[redacted:email]"})
    plan = plan_undo([*_WHOLE, hidden])
    assert plan.hidden == (hidden,)
    assert hidden not in plan.steps


def test_module_of_another_collection_is_called_with_what_it_said_itself() -> None:
    step = UndoStep(1, "community.docker.docker_compose_v2", {"project_src": "/srv"}, "app1",
                    "Up", "Switch", certain=True)  # fmt: skip
    [task] = _plays(plan_undo([step]))["Switch"]["tasks"]
    assert task["community.docker.docker_compose_v2"] == {"project_src": "/srv"}


def test_playbook_is_a_scenario_and_takes_nothing_of_the_record_for_a_template(
    tmp_path: Path,
) -> None:
    hostile = _step("release_link", "Switch", 1, version="{{ lookup('pipe', 'id') }}")
    path = tmp_path / "undo.yml"
    path.write_text(as_yaml(list(_plays(plan_undo([hostile])).values())), encoding="utf-8")

    scenario = load("undo", path)

    assert scenario.decides_first
    assert scenario.level == "undo"
    tags = [
        token.value
        for token in yaml.scan(path.read_text(encoding="utf-8"))
        if isinstance(token, yaml.TagToken)
    ]
    assert ("!", "unsafe") in tags
    assert "!unsafe '{{ lookup(''pipe'', ''id'') }}'" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "on",
        "1.0",
        "null",
        "2026-11-27",
        "~",
        "5",
        "",
        "a: b",
        "{% raw %}on",
        "{{ 1.0 }}",
        "#jinja2: x",
    ],
)
def test_ansible_reads_every_text_of_a_record_as_that_text(text: str) -> None:
    step = _step("feature_flag", "Confirm", 1, path="/f", definitions={"checkout": {"is": text}})

    plays = DataLoader().load(as_yaml(list(_plays(plan_undo([step])).values())))

    [confirm] = [play for play in plays if play["name"] == "Confirm"]
    definitions = confirm["tasks"][0]["vars"]["protect_undo"]["args"]["definitions"]
    assert definitions == {"checkout": {"is": text}}


def test_limits_of_a_pool_are_taken_back_before_its_services_are_restarted() -> None:
    steps = [
        _step("configuration_files", "Switch", 2, state="restored", backup="b"),
        _step("services", "Switch", 1, names=["shop"]),
    ]
    values, restart = _plays(plan_undo(steps))["Switch"]["tasks"]
    assert values["ansible.builtin.include_role"]["name"] == "sre.rollback.configuration"
    assert values["vars"]["configuration_undo"]["args"] == {"state": "restored", "backup": "b"}
    assert restart["ansible.builtin.include_role"]["name"] == "sre.rollback.services"
    assert restart["vars"]["services_undo"]["args"] == {"names": ["shop"]}


def test_a_host_is_opened_after_everything_on_it_was_taken_back() -> None:
    steps = [
        _step("release_checkout", "Switch", 5, version="1.1.0"),
        _step("host_isolation", "Protect", 2, state="open"),
    ]
    assert _undone(_plays(plan_undo(steps))["Switch"]) == [
        "Taken back - release_checkout in Switch",
        "Taken back - host_isolation in Protect",
    ]
