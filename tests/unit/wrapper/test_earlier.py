"""Where an interrupted incident goes on, and with which knowledge."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollback_playbook.catalogue.scenarios import Phase, Scenario
from rollback_playbook.errors import ExitCode
from rollback_playbook.execution.earlier import Earlier, phases_from, read_earlier
from rollback_playbook.execution.outcome import decide, safe_traffic
from rollback_playbook.execution.runner import RunResult

from .incident_events import events_of, run_of

_PHASES = (
    "Declare", "Protect", "Assess", "Preserve", "Prepare", "Pause", "Switch", "Verify", "Resume",
    "Confirm", "Close",
)  # fmt: skip
_DECLARED = ("incident.declared", {"scenario": "full", "environment": "lab"})


def _scenario(level: str = "3") -> Scenario:
    return Scenario(
        name="full",
        path=Path("full.yml"),
        title="",
        level=level,
        target_seconds=900,
        when="",
        when_not="",
        undo="",
        approval="operator",
        protects_first=False,
        phases=tuple(Phase(name, "app") for name in _PHASES),
    )


def _killed_in(phase: str) -> Earlier:
    done = [(name, "ok") for name in _PHASES[: _PHASES.index(phase)]]
    return read_earlier(events_of(_DECLARED, *run_of("full", [*done, (phase, "")])))


@pytest.mark.parametrize("phase", _PHASES)
def test_incident_goes_on_at_the_phase_that_did_not_finish(phase: str) -> None:
    assert _killed_in(phase).unfinished(_scenario()) == phase


def test_phase_that_was_run_again_and_did_not_finish_then_is_unfinished() -> None:
    first = run_of("full", [(name, "ok") for name in _PHASES[:8]])
    second = run_of("full", [("Declare", "ok"), ("Assess", "ok"), ("Switch", "")])
    earlier = read_earlier(events_of(_DECLARED, *first, *second))
    assert earlier.unfinished(_scenario()) == "Switch"


def test_phase_of_several_plays_is_not_over_with_the_first_of_them() -> None:
    run = run_of("full", [(name, "ok") for name in _PHASES[: _PHASES.index("Verify")]])
    assert read_earlier(events_of(_DECLARED, *run)).unfinished(_scenario()) == "Switch"


def test_traffic_that_was_only_made_safe_counts_for_no_phase() -> None:
    run = run_of("full", [*((name, "ok") for name in _PHASES[:5]), ("Pause", "failed")])
    safe = run_of("traffic-resume", [("Resume", "ok")])
    earlier = read_earlier(events_of(_DECLARED, *run, *safe))
    assert earlier.unfinished(_scenario()) == "Pause"
    assert "Resume" not in earlier.progress.finished


@pytest.mark.parametrize(
    ("phase", "needed"),
    [
        pytest.param("Protect", {"Declare", "Assess", "Prepare"}, id="all that follows"),
        pytest.param("Switch", {"Declare", "Assess", "Prepare", "Pause"}, id="users are kept out"),
        pytest.param("Verify", {"Declare", "Assess", "Pause"}, id="users stay out until the gate"),
        pytest.param("Resume", {"Declare", "Assess", "Verify"}, id="users come in after a gate"),
        pytest.param("Confirm", {"Declare", "Assess", "Close"}, id="lock and facts"),
        pytest.param("Close", {"Declare", "Verify", "Confirm"}, id="over when it is healthy now"),
    ],
)
def test_phases_that_another_cannot_do_without_run_again(phase: str, needed: set[str]) -> None:
    phases = phases_from(phase, _scenario())
    assert needed < set(phases)
    assert list(phases) == sorted(phases, key=_PHASES.index)


def test_phases_that_finished_and_are_not_needed_do_not_run_again() -> None:
    assert set(phases_from("Verify", _scenario())) & {"Protect", "Preserve", "Switch"} == set()


def test_gate_of_an_earlier_attempt_counts_where_its_phase_does_not_run_again() -> None:
    gate = ("gate.passed", {"outcome": "passed"})
    before = [(name, "ok") for name in _PHASES[: _PHASES.index("Verify")]]
    verify = [("phase.started", {"name": "Verify"}), gate]
    done = ("phase.finished", {"name": "Verify", "status": "ok"})
    later = [("phase.started", {"name": "Resume"}),
             ("phase.finished", {"name": "Resume", "status": "ok"}),
             ("phase.started", {"name": "Confirm"})]  # fmt: skip
    earlier = read_earlier(events_of(_DECLARED, *run_of("full", before), *verify, done, *later))

    progress = earlier.progress_before("Confirm", _scenario())

    assert progress.gates == {"Verify": "passed"}
    assert earlier.progress_before("Verify", _scenario()).gates == {}


def test_attempt_that_is_refused_leaves_the_incident_interrupted() -> None:
    progress = _killed_in("Switch").progress_before("Switch", _scenario())
    for kind, data in [
        ("phase.started", {"name": "Declare"}),
        (
            "task.finished",
            {"status": "failed", "task": "Environment is locked", "result": {"msg": "held by ann"}},
        ),
    ]:
        progress.observe(kind, "edge1", data)

    outcome = decide(_scenario(), progress, _ended(2), "x-3f2a")

    assert (outcome.name, outcome.exit_code) == ("interrupted", ExitCode.REFUSED)
    assert "held by ann" in outcome.summary
    assert "rollback-playbook continue x-3f2a" in outcome.next_step


def test_attempt_that_fails_in_the_switch_keeps_users_out_also_the_second_time() -> None:
    progress = _killed_in("Switch").progress_before("Switch", _scenario())
    progress.observe("phase.started", "", {"name": "Switch"})
    assert safe_traffic(progress) == "paused"


def test_attempt_that_fails_before_the_switch_keeps_users_out_who_were_protected_so() -> None:
    pause = ("task.finished", {"status": "changed", "task": "x", "action": "sre.rollback.traffic"})
    earlier = read_earlier(
        events_of(_DECLARED, ("phase.started", {"name": "Protect"}), pause,
                  ("phase.finished", {"name": "Protect", "status": "ok"}),
                  ("phase.started", {"name": "Prepare"}))
    )  # fmt: skip
    progress = earlier.progress_before("Prepare", _scenario())
    progress.observe("phase.started", "", {"name": "Prepare"})
    assert safe_traffic(progress) == "paused"


def test_attempt_that_fails_in_the_switch_again_leaves_users_alone_whom_nothing_keeps_out() -> None:
    skipped = ("task.finished", {"status": "skipped", "task": "Users get the maintenance answer"})
    earlier = read_earlier(
        events_of(_DECLARED, ("phase.started", {"name": "Pause"}), skipped,
                  ("phase.finished", {"name": "Pause", "status": "ok"}),
                  ("phase.started", {"name": "Switch"}))
    )  # fmt: skip
    progress = earlier.progress_before("Switch", _scenario())
    progress.observe("phase.started", "", {"name": "Switch"})

    assert safe_traffic(progress) == "untouched"


def test_token_of_the_lock_is_the_one_that_was_not_given_back() -> None:
    lock = "sre.rollback.environment_lock"
    taken = ("task.finished", {"action": lock, "status": "changed",
                               "result": {"token": 7, "holder": "ann"}})  # fmt: skip
    freed = ("task.finished", {"action": lock, "status": "changed",
                               "result": {"token": 7, "holder": ""}})  # fmt: skip
    assert read_earlier(events_of(_DECLARED, taken)).token == 7
    assert read_earlier(events_of(_DECLARED, taken, freed)).token == 0
    given_back = ("lease.released", {"token": 7})
    assert read_earlier(events_of(_DECLARED, taken, given_back)).token == 0


def _ended(rc: int) -> RunResult:
    return RunResult(
        status="failed",
        rc=rc,
        seconds=1.0,
        interrupted=False,
        events_expected=1,
        events_received=1,
        output_tail=(),
    )
