"""The state machine of the health gate: every rule by example."""

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._gate import (
    FAILED,
    INCONCLUSIVE,
    PASSED,
    CheckRules,
    Gate,
    GateRefusedError,
    GateRules,
    Observation,
    refuse_unreachable,
)


def check_rules(name: str = "a", **changes: object) -> CheckRules:
    base = CheckRules(
        name=name,
        kind="http",
        success_threshold=3,
        failure_threshold=0,
        period=1.0,
        timeout=5.0,
        deadline=100.0,
    )
    return dataclasses.replace(base, **changes)


def gate_rules(*checks: CheckRules, **changes: object) -> GateRules:
    chosen = checks or (check_rules(),)
    base = GateRules(
        checks=chosen, required=len(chosen), hold=0.0, deadline=1000.0, concurrency=100
    )
    return dataclasses.replace(base, **changes)


def feed(gate: Gate, outcomes: str, *, index: int = 0, start: float = 0.0) -> Gate:
    """One observation a second: ``P`` passed, ``F`` failed, ``?`` inconclusive."""
    words = {"P": PASSED, "F": FAILED, "?": INCONCLUSIVE}
    for place, letter in enumerate(outcomes):
        gate.observe(index, Observation(start + place, words[letter], 0.1, f"reason {place}"))
    return gate


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        pytest.param("PPP", PASSED, id="three in a row"),
        pytest.param("PP", None, id="one too few"),
        pytest.param("PPFPP", None, id="a failure starts anew"),
        pytest.param("PP?PP", None, id="unknown starts anew"),
        pytest.param("FFFFPPP", PASSED, id="recovery"),
        pytest.param("?" * 50, None, id="unknown is never enough"),
    ],
)
def test_gate_with_threshold_three_passes_only_after_three_in_a_row(
    outcomes: str, expected: str | None
) -> None:
    assert feed(Gate(gate_rules()), outcomes).outcome == expected


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        pytest.param("F" * 10, FAILED, id="always failing"),
        pytest.param("?" * 10, INCONCLUSIVE, id="never known"),
        pytest.param("", INCONCLUSIVE, id="never probed"),
        pytest.param("PP", INCONCLUSIVE, id="well, but not often enough"),
        pytest.param("FPP", FAILED, id="well again, but not often enough"),
        pytest.param("F??", INCONCLUSIVE, id="unknown after failing"),
        pytest.param("??F", FAILED, id="failing after unknown"),
    ],
)
def test_gate_at_the_deadline_says_what_the_last_bad_observation_said(
    outcomes: str, expected: str
) -> None:
    gate = feed(Gate(gate_rules()), outcomes)
    gate.tick(100.0)
    assert gate.outcome == expected


def test_gate_deadline_is_not_reached_by_a_tick_before_it() -> None:
    gate = Gate(gate_rules())
    gate.tick(99.999)
    assert gate.outcome is None


def test_gate_success_at_the_deadline_comes_too_late() -> None:
    gate = feed(Gate(gate_rules()), "PP", start=97.0)
    gate.observe(0, Observation(100.0, PASSED, 0.1))
    assert gate.outcome == INCONCLUSIVE


def test_gate_failure_threshold_gives_up_after_so_many_in_a_row() -> None:
    gate = Gate(gate_rules(check_rules(failure_threshold=3)))
    assert feed(gate, "FFPFF").outcome is None
    assert feed(gate, "F", start=5.0).outcome == FAILED
    assert gate.decided_at == 5.0


def test_gate_failure_threshold_with_unknown_observations_is_inconclusive() -> None:
    gate = Gate(gate_rules(check_rules(failure_threshold=2)))
    assert feed(gate, "??").outcome == INCONCLUSIVE


def test_gate_requiring_any_passes_with_one_green_check() -> None:
    gate = Gate(gate_rules(check_rules("a"), check_rules("b"), required=1))
    feed(gate, "FFF", index=0)
    assert feed(gate, "PPP", index=1).outcome == PASSED


def test_gate_requiring_two_of_three_fails_when_two_are_given_up() -> None:
    checks = [check_rules(name, failure_threshold=1) for name in "abc"]
    gate = Gate(gate_rules(*checks, required=2))
    assert feed(gate, "F", index=0).outcome is None
    assert feed(gate, "F", index=1).outcome == FAILED


def test_gate_requiring_two_of_three_with_one_failed_and_one_unknown_is_inconclusive() -> None:
    gate = Gate(gate_rules(*(check_rules(name) for name in "abc"), required=2))
    feed(gate, "F", index=0)
    feed(gate, "?", index=1)
    feed(gate, "PPP", index=2)
    gate.tick(100.0)
    assert gate.outcome == INCONCLUSIVE


def test_gate_demands_that_checks_are_green_at_the_same_time() -> None:
    gate = Gate(gate_rules(check_rules("a"), check_rules("b")))
    feed(gate, "PPPF", index=0)
    feed(gate, "PPP", index=1, start=4.0)
    assert gate.outcome is None
    assert feed(gate, "PPP", index=0, start=7.0).outcome == PASSED


def test_gate_check_that_is_not_green_at_its_own_deadline_is_lost_for_good() -> None:
    gate = Gate(gate_rules(check_rules("a", deadline=10.0), check_rules("b"), required=1))
    feed(gate, "F", index=0)
    gate.tick(10.0)
    assert gate.checks[0].lost
    assert feed(gate, "PPP", index=0, start=11.0).outcome is None


def test_gate_check_that_turns_red_after_its_own_deadline_is_lost() -> None:
    gate = Gate(gate_rules(check_rules("a", deadline=10.0), check_rules("b")))
    feed(gate, "PPP", index=0)
    gate.tick(10.0)
    assert gate.outcome is None
    assert feed(gate, "F", index=0, start=11.0).outcome == FAILED


def test_gate_with_hold_does_not_pass_before_it_is_over() -> None:
    gate = Gate(gate_rules(hold=10.0))
    assert feed(gate, "P" * 12).outcome is None
    assert feed(gate, "P", start=12.0).outcome == PASSED
    assert (gate.green_since, gate.decided_at) == (2.0, 12.0)


@pytest.mark.parametrize("letter", ["F", "?"])
def test_gate_with_hold_starts_it_anew_after_one_observation_that_did_not_pass(
    letter: str,
) -> None:
    gate = feed(Gate(gate_rules(hold=10.0)), "PPPPPPPPP" + letter + "PPP")
    assert gate.outcome is None
    assert gate.green_since == 12.0
    assert gate.holds_broken == 1
    assert feed(gate, "P" * 10, start=13.0).decided_at == 22.0


def test_gate_with_hold_never_passes_by_time_alone() -> None:
    gate = feed(Gate(gate_rules(hold=10.0)), "PPP")
    gate.tick(50.0)
    assert gate.outcome is None
    gate.tick(200.0)
    assert gate.outcome == INCONCLUSIVE


def test_gate_with_hold_needs_every_check_to_be_seen_once_more() -> None:
    gate = Gate(gate_rules(check_rules("a"), check_rules("b"), hold=10.0))
    feed(gate, "PPP", index=0)
    feed(gate, "PPP", index=1)
    assert feed(gate, "P", index=0, start=13.0).outcome is None
    assert feed(gate, "P", index=1, start=13.5).outcome == PASSED


def test_gate_with_hold_takes_no_red_check_for_a_witness() -> None:
    gate = Gate(gate_rules(check_rules("a"), check_rules("b"), required=1, hold=10.0))
    feed(gate, "PPP", index=0)
    assert feed(gate, "F", index=1, start=15.0).outcome is None
    assert feed(gate, "P", index=0, start=16.0).outcome == PASSED


def test_gate_whose_hold_was_broken_by_the_end_has_failed() -> None:
    gate = feed(Gate(gate_rules(check_rules(deadline=20.0), hold=10.0)), "PPPPPPPP")
    feed(gate, "FPPP", start=10.0)
    gate.tick(1000.0)
    assert gate.outcome == FAILED


def test_gate_after_its_decision_takes_in_nothing_more() -> None:
    gate = feed(Gate(gate_rules()), "PPP")
    feed(gate, "FFF", start=3.0)
    assert gate.outcome == PASSED
    assert gate.checks[0].attempts == 3


def test_check_keeps_a_bounded_number_of_samples_and_latencies() -> None:
    gate = feed(Gate(gate_rules(check_rules(deadline=1e6), deadline=1e6)), "F" * 5000)
    assert (len(gate.checks[0].samples), len(gate.checks[0].latencies)) == (20, 500)
    assert gate.checks[0].attempts == 5000


@pytest.mark.parametrize(
    ("rules", "best", "worst", "gives_up"),
    [
        pytest.param(gate_rules(), 2.0, 100.0, 100.0, id="defaults"),
        pytest.param(
            gate_rules(check_rules(failure_threshold=4)), 2.0, 100.0, 20.0, id="gives up early"
        ),
        pytest.param(gate_rules(hold=60.0), 62.0, 165.0, 100.0, id="hold and its last probe"),
        pytest.param(gate_rules(deadline=50.0), 2.0, 50.0, 50.0, id="never after the deadline"),
        pytest.param(
            gate_rules(check_rules("a", period=7.0), check_rules("b"), required=1),
            2.0,
            100.0,
            100.0,
            id="any: the quicker one decides",
        ),
        pytest.param(
            gate_rules(*(check_rules(n, failure_threshold=2) for n in "abcde"), concurrency=2),
            2.0,
            100.0,
            30.0,
            id="few places: probes wait for each other",
        ),
    ],
)
def test_gate_rules_cases_are_known_before_the_first_probe(
    rules: GateRules, best: float, worst: float, gives_up: float
) -> None:
    assert (rules.best_case, rules.worst_case, rules.gives_up_within) == (best, worst, gives_up)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        pytest.param(
            gate_rules(check_rules(success_threshold=101)), "cannot be reached", id="threshold"
        ),
        pytest.param(
            gate_rules(check_rules(success_threshold=11, period=10.0)),
            "cannot be reached",
            id="reached exactly at the deadline is too late",
        ),
        pytest.param(gate_rules(hold=998.0), "needs 1000 s at best", id="hold"),
        pytest.param(
            gate_rules(check_rules(deadline=1001.0)), "later than the gate's own", id="deadlines"
        ),
    ],
)
def test_gate_rules_that_can_never_pass_are_refused(rules: GateRules, words: str) -> None:
    with pytest.raises(GateRefusedError, match=words):
        refuse_unreachable(rules)
