"""The exit code follows from what happened, not from what Ansible returned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.catalogue.collection import bundled_playbooks
from rollback_playbook.catalogue.scenarios import PHASES, Scenario, find
from rollback_playbook.errors import ExitCode
from rollback_playbook.execution.outcome import (
    Progress,
    checked,
    decide,
    leaves_nothing_open,
    not_made_safe,
    safe_traffic,
)
from rollback_playbook.execution.runner import RunResult


def _scenario(name: str = "full") -> Scenario:
    return find(name, [bundled_playbooks()])


def _result(
    rc: int | None = 0, *, interrupted: bool = False, tail: tuple[str, ...] = ()
) -> RunResult:
    return RunResult(
        status="successful" if rc == 0 else "failed",
        rc=rc,
        seconds=1.0,
        interrupted=interrupted,
        events_expected=10,
        events_received=10,
        output_tail=tail,
    )


def _progress(until: str, *, gates: dict[str, str] | None = None, fail: str = "") -> Progress:
    """A run that went through every phase up to ``until``, and failed there if ``fail`` says so."""
    progress = Progress()
    for phase in PHASES[: PHASES.index(until) + 1]:
        progress.observe("phase.started", "", {"name": phase})
        if phase == until and fail:
            progress.observe("task.finished", "db", _failed(fail))
            progress.observe("phase.finished", "", {"name": phase, "status": "failed"})
            break
        progress.observe("task.finished", "db", {"status": "changed", "task": "x"})
        if gates and phase in gates:
            progress.observe("gate.passed", "db", {"outcome": gates[phase]})
        progress.observe("phase.finished", "", {"name": phase, "status": "ok"})
    return progress


def _failed(message: str) -> dict[str, Any]:
    return {"status": "failed", "task": "x", "result": {"msg": message}}


_GREEN = {"Verify": "passed", "Confirm": "passed"}


def test_all_phases_and_both_gates_are_healthy() -> None:
    outcome = decide(_scenario(), _progress("Close", gates=_GREEN), _result())

    assert (outcome.exit_code, outcome.summary) == (ExitCode.HEALTHY, "rolled back and healthy")


@pytest.mark.parametrize("gate", ["failed", "inconclusive"])
def test_return_code_zero_without_a_passed_gate_is_not_healthy(gate: str) -> None:
    outcome = decide(
        _scenario(), _progress("Close", gates={"Verify": "passed", "Confirm": gate}), _result()
    )

    assert outcome.exit_code is ExitCode.NOT_PROVED
    assert "Confirm" in outcome.summary


def test_a_run_in_which_no_gate_ran_is_not_healthy() -> None:
    assert decide(_scenario(), _progress("Close"), _result()).exit_code is ExitCode.NOT_PROVED


def test_an_operation_without_gates_is_done() -> None:
    outcome = decide(_scenario("traffic-pause"), _progress("Close"), _result())

    assert outcome.exit_code is ExitCode.HEALTHY


@pytest.mark.parametrize("name", ["backup", "mark-good"])
def test_a_red_gate_of_what_changes_nothing_in_production_says_so(name: str) -> None:
    outcome = decide(_scenario(name), _progress("Verify", fail="too slow"), _result(2), "inc-1")

    assert outcome.exit_code is ExitCode.NOT_PROVED
    assert outcome.summary.startswith("not proved healthy: Verify, db: too slow. Done: Declare")
    assert outcome.summary.endswith("; nothing in production was changed")
    assert outcome.next_step == "mend what the gate names, then rollback-playbook continue inc-1"


def test_a_failure_before_anything_was_touched_is_a_refusal_with_the_reason() -> None:
    outcome = decide(_scenario(), _progress("Declare", fail="held by ann"), _result(2))

    assert outcome.exit_code is ExitCode.REFUSED
    assert outcome.summary == "Declare, db: held by ann; nothing was changed"


def test_that_nothing_was_changed_is_said_once() -> None:
    words = "there is no Compose file in /srv. Nothing was changed."
    outcome = decide(_scenario(), _progress("Declare", fail=words), _result(2))

    assert outcome.exit_code is ExitCode.REFUSED
    assert outcome.summary == ("Declare, db: there is no Compose file in /srv; nothing was changed")


def test_a_failure_after_breakers_were_opened_says_what_is_done_and_what_is_not() -> None:
    outcome = decide(_scenario(), _progress("Prepare", fail="the dump is cut short."), _result(2))

    assert outcome.exit_code is ExitCode.FAILED
    assert "the dump is cut short" in outcome.summary
    assert "Done: Declare, Protect, Assess, Preserve." in outcome.summary
    assert "Not done: Prepare, Pause, Switch" in outcome.summary


@pytest.mark.parametrize(
    ("action", "result", "begun"),
    [
        pytest.param("sre.rollback.x", {"undo": {"module": "x"}}, True, id="tells its undo"),
        pytest.param("sre.rollback.x", {}, False, id="would tell its undo"),
        pytest.param("ansible.builtin.command", {"changed": True}, True, id="a program ran"),
        pytest.param("ansible.builtin.command", {"changed": False}, False, id="it only asked"),
        pytest.param("ansible.builtin.systemd_service", {}, True, id="does not say"),
        pytest.param("community.docker.docker_image", {"changed": False}, True, id="cannot say"),
        pytest.param("ansible.builtin.assert", {}, False, id="changes nothing"),
        pytest.param("fail", {}, False, id="changes nothing, short name"),
    ],
)
def test_a_step_that_failed_half_way_is_never_called_nothing(
    action: str, result: dict[str, Any], *, begun: bool
) -> None:
    progress = Progress()
    progress.observe("phase.started", "", {"name": "Switch"})
    failed = {"status": "failed", "task": "x", "action": action}
    progress.observe(
        "task.finished", "web1", {**failed, "result": {"msg": "the disk is full", **result}}
    )

    outcome = decide(_scenario(), progress, _result(2))

    assert outcome.exit_code is (ExitCode.FAILED if begun else ExitCode.REFUSED)
    assert ("nothing was changed" in outcome.summary) is not begun


def test_phases_that_no_host_was_left_for_are_not_done_and_users_are_told_of() -> None:
    """Ansible goes on to the plays that follow a host it lost, with nobody in them."""
    progress = _progress("Switch", fail="the host is unreachable.")
    for phase in PHASES[PHASES.index("Switch") + 1 :]:
        progress.observe("phase.started", "", {"name": phase})
        progress.observe("phase.finished", "", {"name": phase, "status": "skipped"})

    outcome = decide(_scenario(), progress, _result(4))

    assert outcome.exit_code is ExitCode.FAILED
    assert "Not done: Switch, Verify, Resume, Confirm, Close" in outcome.summary
    assert "users get the maintenance answer meanwhile" in outcome.next_step
    assert safe_traffic(progress) == "paused"


def test_a_loop_that_failed_is_told_in_the_words_of_its_items() -> None:
    progress = Progress()
    progress.observe("phase.started", "", {"name": "Prepare"})
    progress.observe("item.finished", "edge", _failed("the certificate has expired"))
    progress.observe("task.finished", "edge", _failed("One or more items failed"))

    outcome = decide(_scenario(), progress, _result(2))

    assert "Prepare, edge: the certificate has expired; nothing was changed" in outcome.summary


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (
            {"msg": "non-zero return code", "stderr": "nginx: [emerg]\nno such file\n"},
            "edge: non-zero return code: nginx: [emerg] no such file;",
        ),
        ({"msg": "", "stdout": "blue: ERROR (spawn error)\n"}, "edge: blue: ERROR (spawn error);"),
        ({"msg": "it is full", "stderr": "a warning"}, "edge: it is full;"),
        ({"msg": "non-zero return code", "stderr": "e" * 9999}, f"code: {'e' * 300};"),
    ],
    ids=["stderr", "stdout", "its own words", "a lot"],
)
def test_a_program_that_failed_is_told_in_its_own_words(result: dict[str, str], told: str) -> None:
    progress = Progress()
    progress.observe("phase.started", "", {"name": "Prepare"})
    progress.observe("task.finished", "edge", {**_failed(""), "result": result})

    assert told in decide(_scenario(), progress, _result(2)).summary


def test_whoever_is_refused_for_hosts_that_are_gone_reads_how_to_leave_them_out() -> None:
    progress = Progress()
    progress.observe("phase.started", "", {"name": "Assess"})
    for host in ("db", "app2"):
        gone = {**_failed("no route to host"), "status": "unreachable"}
        progress.observe("task.finished", host, gone)

    outcome = decide(_scenario(), progress, _result(4))

    assert outcome.exit_code is ExitCode.REFUSED
    assert "--limit 'all:!db:!app2'" in outcome.next_step
    # What another one has failed of is not mended by that.
    progress.observe("task.finished", "app1", _failed("there is no release 1.0.0"))
    assert decide(_scenario(), progress, _result(2)).next_step == ""


@pytest.mark.parametrize("until", ["Prepare", "Switch"])
def test_a_look_ahead_that_fails_has_changed_nothing_whatever_it_foretold(until: str) -> None:
    outcome = checked(_progress(until, fail="the disk is full"), _result(2))

    assert outcome.exit_code is ExitCode.REFUSED
    assert outcome.summary == (
        f"it would not go through: {until}, db: the disk is full; nothing was changed"
    )
    assert outcome.next_step == ""


def test_a_look_ahead_that_is_stopped_has_changed_nothing() -> None:
    outcome = checked(_progress("Switch"), _result(None, interrupted=True))

    assert outcome.exit_code is ExitCode.INTERRUPTED
    assert outcome.summary == "interrupted; nothing was changed"


def test_a_reason_that_a_later_task_tells_with_more_around_it_is_said_once() -> None:
    progress = _progress("Switch", fail="the gate is red.")
    progress.observe("task.finished", "db", _failed("web is red: the gate is red. Stopped here."))
    progress.observe("task.finished", "app", _failed("the gate is red."))
    progress.observe("task.finished", "app", _failed("the gate is red."))

    outcome = decide(_scenario(), progress, _result(2))

    assert outcome.summary.count("the gate is red") == 2
    assert "web is red: the gate is red. Stopped here" in outcome.summary


@pytest.mark.parametrize("phase", ["Verify", "Confirm"])
def test_a_red_gate_after_the_switch_is_rolled_back_but_not_proved(phase: str) -> None:
    outcome = decide(_scenario(), _progress(phase, fail="shop answers 500"), _result(2))

    assert outcome.exit_code is ExitCode.NOT_PROVED
    assert "shop answers 500" in outcome.summary


def test_ansible_that_never_started_is_a_refusal_with_its_words() -> None:
    outcome = decide(_scenario(), Progress(), _result(4, tail=("[ERROR]: no such role",)))

    assert outcome.exit_code is ExitCode.REFUSED
    assert "no such role" in outcome.summary


def test_a_killed_ansible_says_in_which_phase() -> None:
    outcome = decide(_scenario(), _progress("Switch"), _result(None))

    assert outcome.exit_code is ExitCode.FAILED
    assert "killed in Switch" in outcome.summary


def test_an_interrupt_has_its_own_code_whatever_ansible_returned() -> None:
    outcome = decide(_scenario(), _progress("Protect"), _result(99, interrupted=True))

    assert outcome.exit_code is ExitCode.INTERRUPTED


@pytest.mark.parametrize(
    ("until", "fail", "state"),
    [
        pytest.param("Prepare", "x", "untouched", id="before the pause"),
        pytest.param("Pause", "x", "resumed", id="pause failed: nothing was switched"),
        pytest.param("Switch", "x", "paused", id="half a switch"),
        pytest.param("Verify", "x", "paused", id="not proved"),
        pytest.param("Resume", "x", "paused", id="resume failed"),
        pytest.param("Confirm", "x", "untouched", id="users are on it"),
    ],
)
def test_traffic_is_put_into_the_state_that_is_safe(until: str, fail: str, state: str) -> None:
    assert safe_traffic(_progress(until, fail=fail)) == state


def _kept_out(until: str, *, fail: str = "") -> Progress:
    """The same, with users kept out from Protect on."""
    progress = _progress(until, fail=fail)
    return replace(progress, protected_users=True)


@pytest.mark.parametrize(
    ("until", "state"),
    [
        *((phase, "paused") for phase in PHASES[1 : PHASES.index("Confirm")]),
        ("Confirm", "untouched"),
    ],
)
def test_users_who_were_kept_out_to_protect_them_stay_out(until: str, state: str) -> None:
    assert safe_traffic(_kept_out(until, fail="x")) == state


def test_what_users_have_is_not_said_when_they_could_not_be_given_it() -> None:
    progress = _progress("Switch", fail="no such release")
    outcome = decide(_scenario(), progress, _result(2), "inc-1")
    assert "users get the maintenance answer meanwhile" in outcome.next_step

    unsafe = not_made_safe(outcome, progress, "rollback-playbook traffic-pause -i prod")

    assert unsafe.summary.endswith(". Traffic could not be paused either")
    assert unsafe.next_step.startswith("rollback-playbook traffic-pause -i prod; mend the cause")
    assert unsafe.exit_code is outcome.exit_code


_UNDO = {"undo": {"module": "sre.rollback.traffic", "args": {"state": "resumed"}}}


@pytest.mark.parametrize(
    ("status", "result", "out"),
    [
        pytest.param("changed", _UNDO, True, id="now"),
        pytest.param("ok", {"undo": None}, True, id="already"),
        pytest.param("ok", _UNDO, False, id="looked ahead"),
        pytest.param("failed", {}, False, id="failed"),
        pytest.param("failed", _UNDO, True, id="failed half-way"),
        pytest.param("skipped", {}, False, id="skipped"),
    ],
)
def test_users_are_kept_out_in_protect_when_the_task_for_it_did_it(
    status: str, result: dict[str, Any], *, out: bool
) -> None:
    progress = Progress()
    task = {"status": status, "task": "x", "action": "sre.rollback.traffic", "result": result}
    progress.observe("phase.started", "", {"name": "Protect"})
    progress.observe("task.finished", "proxy", task)

    assert progress.protected_users is out


def test_a_failure_that_was_rescued_is_not_why_the_run_ended() -> None:
    progress = Progress()
    progress.observe("phase.started", "", {"name": "Preserve"})
    for task, why in (("Evidence is kept", "disk full"), ("Services start", "no such service")):
        body = {"status": "failed", "task": task, "action": "x", "result": {"msg": why}}
        progress.observe("task.finished", "app1", body)
    rescued = [{"host": "app1", "task": "Evidence is kept", "phase": "Preserve", "counter": 1}]
    progress.observe("stats.recorded", "", {"rescued_tasks": rescued})

    assert [failure.message for failure in progress.failures] == ["no such service"]


def test_whoever_keeps_users_out_for_nothing_is_told_how_they_get_in() -> None:
    outcome = decide(
        _scenario("request-isolation"),
        _kept_out("Assess", fail="no such release"),
        _result(2),
        "x1",
    )

    assert outcome.exit_code is ExitCode.FAILED
    assert "users get the maintenance answer meanwhile, and an undo lets them in" in (
        outcome.next_step
    )
    assert "rollback-playbook undo x1" in outcome.next_step


def test_what_nobody_approved_before_ends_by_asking_for_its_review() -> None:
    done = _progress("Close", gates=_GREEN)

    asked = decide(_scenario("request-isolation"), done, _result(), "x1")

    assert asked.exit_code is ExitCode.HEALTHY
    assert asked.next_step.endswith("review it: rollback-playbook incidents report x1")
    assert decide(_scenario(), done, _result(), "x1").next_step == ""


def test_a_level_of_none_is_healthy_and_says_that_nothing_was_rolled_back() -> None:
    progress = _progress("Close", gates=_GREEN)
    progress.observe("decision.made", "", {"level": "none", "reasons": ["all checks hold"]})

    outcome = decide(_scenario("emergency"), progress, _result())

    assert outcome.exit_code is ExitCode.HEALTHY
    assert "nothing to roll back (all checks hold)" in outcome.summary


def test_every_exit_code_is_explained_in_the_help() -> None:
    from rollback_playbook.cli import cli

    text = cli.help or ""
    assert all(str(int(code)) in text for code in ExitCode)


def test_bundled_playbooks_are_the_ones_the_top_level_link_shows() -> None:
    link = Path(__file__).parents[3] / "playbooks"

    assert link.resolve() == bundled_playbooks()


def test_run_that_ended_before_it_touched_production_leaves_nothing_open() -> None:
    migration = _scenario("database-restore")

    assert leaves_nothing_open(migration, _progress("Declare"))
    for phase in ("Protect", "Prepare", "Switch", "Verify"):
        assert not leaves_nothing_open(migration, _progress(phase))


def test_run_that_lost_a_host_before_it_touched_production_leaves_nothing_open() -> None:
    progress = _progress("Assess", fail="the host is unreachable.")
    progress.changed.clear()
    for phase in PHASES[PHASES.index("Assess") + 1 :]:
        progress.observe("phase.started", "", {"name": phase})
        progress.observe("phase.finished", "", {"name": phase, "status": "skipped"})

    assert leaves_nothing_open(_scenario(), progress)
    assert decide(_scenario(), progress, _result(4)).exit_code is ExitCode.REFUSED


def test_run_that_ended_within_a_phase_that_touches_production_leaves_it_open() -> None:
    for phase in ("Protect", "Pause", "Switch"):
        progress = _progress(phase, fail="the host is unreachable.")
        progress.changed.clear()
        progress.finished.add(phase)

        assert not leaves_nothing_open(_scenario(), progress), phase


def test_attempt_that_goes_on_where_another_one_changed_something_leaves_it_open() -> None:
    before = Progress(changed_before=frozenset({"Switch"}))
    assert not leaves_nothing_open(_scenario(), before)


def test_undo_leaves_nothing_open_once_its_gate_has_spoken() -> None:
    undo = replace(_scenario(), level="undo")
    progress = _progress("Switch")
    assert not leaves_nothing_open(undo, progress)

    progress.observe("phase.started", "", {"name": "Confirm"})
    progress.observe("gate.failed", "app", {"outcome": "failed"})

    assert leaves_nothing_open(undo, progress)


def test_lock_is_known_from_what_its_module_says() -> None:
    progress = Progress()
    action = {"action": "sre.rollback.environment_lock", "status": "changed", "task": "x"}

    progress.observe("task.finished", "app", {**action, "result": {"holder": "ann", "token": 3}})
    assert progress.locked
    progress.observe("task.finished", "app", {**action, "result": {"holder": None, "token": 3}})
    assert not progress.locked


def test_users_whom_nothing_keeps_out_are_on_the_system_after_a_red_gate() -> None:
    """Where every task of Pause was skipped there is no maintenance answer to speak of."""
    progress = Progress()
    for phase, status in (("Pause", "skipped"), ("Switch", "changed")):
        progress.observe("phase.started", "", {"name": phase})
        progress.observe("task.finished", "web1", {"status": status, "task": "x"})
        progress.observe("phase.finished", "", {"name": phase, "status": "ok"})
    progress.observe("phase.started", "", {"name": "Verify"})
    progress.observe("task.finished", "web1", _failed("shop answers 500"))

    assert safe_traffic(progress) == "untouched"
    assert "users are on it" in decide(_scenario(), progress, _result(2)).summary


def test_an_operation_with_a_gate_is_done_and_not_rolled_back() -> None:
    outcome = decide(_scenario("mark-good"), _progress("Close", gates=_GREEN), _result())

    assert outcome.summary == "done and healthy"
