"""The state machine of the health gate: what holds for every history, found by random ones."""

from __future__ import annotations

import dataclasses
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.sre.rollback.plugins.module_utils._gate import (
    FAILED,
    INCONCLUSIVE,
    PASSED,
    Gate,
    GateRefusedError,
    GateRules,
    Observation,
    refuse_unreachable,
)
from tests.unit.module_utils.test__gate import check_rules, gate_rules

OUTCOMES = st.sampled_from([PASSED, PASSED, PASSED, FAILED, INCONCLUSIVE])
RULES = st.builds(
    lambda checks, share, hold: gate_rules(
        *(dataclasses.replace(each, name=str(n)) for n, each in enumerate(checks)),
        required=max(1, round(share * len(checks))),
        hold=hold,
        deadline=60.0,
    ),
    st.lists(
        st.builds(
            check_rules,
            success_threshold=st.integers(1, 4),
            failure_threshold=st.integers(0, 4),
            deadline=st.sampled_from([10.0, 20.0, 60.0]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.floats(0.0, 1.0),
    st.sampled_from([0.0, 0.0, 3.0, 8.0]),
)
EVENTS = st.lists(
    st.tuples(st.integers(0, 3), OUTCOMES, st.sampled_from([0.0, 0.25, 1.0, 3.0]), st.booleans()),
    max_size=60,
)
History = list[tuple[int, Observation]]


def play(rules: GateRules, events: list[tuple[int, str, float, bool]]) -> tuple[Gate, History]:
    """A gate after the events, and the observations that it took in before it was decided."""
    gate, history, now = Gate(rules), [], 0.0
    for index, outcome, pause, tick in events:
        now += pause
        if tick:
            gate.tick(now)
        if gate.outcome is None:
            seen = Observation(now, outcome, 0.1)
            history.append((index % len(rules.checks), seen))
            gate.observe(*history[-1])
    return gate, history


def green_checks(rules: GateRules, history: History) -> int:
    """How many checks are green after a history, counted without any state."""
    green = 0
    for index, check in enumerate(rules.checks):
        own = [seen for place, seen in history if place == index]
        last = own[-check.success_threshold :]
        passing = len(last) == check.success_threshold
        green += passing and all(seen.outcome == PASSED for seen in last)
    return green


@settings(max_examples=150, derandomize=True, deadline=None)
@given(RULES, EVENTS)
def test_gate_that_passed_had_the_evidence_for_the_whole_hold(
    rules: GateRules, events: list[tuple[int, str, float, bool]]
) -> None:
    gate, history = play(rules, events)
    if gate.outcome != PASSED:
        return
    decided_at = gate.decided_at or 0.0
    assert gate.green_since is not None
    assert decided_at - gate.green_since >= rules.hold
    for length in range(1, len(history) + 1):
        if history[length - 1][1].at >= gate.green_since + 1e-9:
            assert green_checks(rules, history[:length]) >= rules.required
    assert green_checks(rules, history) >= rules.required
    if rules.hold:
        ends = gate.green_since + rules.hold
        witnesses = {place for place, seen in history if seen.at >= ends}
        assert len(witnesses) >= rules.required


@settings(max_examples=150, derandomize=True, deadline=None)
@given(RULES, EVENTS)
def test_gate_is_always_decided_by_its_worst_case(
    rules: GateRules, events: list[tuple[int, str, float, bool]]
) -> None:
    gate, _history = play(rules, events)
    gate.tick(max(rules.worst_case, gate.decided_at or 0.0))
    assert gate.outcome in (PASSED, FAILED, INCONCLUSIVE)
    if gate.outcome == PASSED:
        assert (gate.decided_at or math.inf) < rules.worst_case


@settings(max_examples=150, derandomize=True, deadline=None)
@given(RULES, EVENTS)
def test_gate_without_any_unknown_observation_of_full_length_never_passes_on_unknowns(
    rules: GateRules, events: list[tuple[int, str, float, bool]]
) -> None:
    # With every success taken for unknown, no history can pass.
    doubtful = [
        (index, INCONCLUSIVE if outcome == PASSED else outcome, pause, tick)
        for index, outcome, pause, tick in events
    ]
    gate, _history = play(rules, doubtful)
    gate.tick(rules.worst_case)
    assert gate.outcome in (FAILED, INCONCLUSIVE)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(RULES, EVENTS, st.data())
def test_gate_with_one_success_less_does_not_pass_earlier(
    rules: GateRules, events: list[tuple[int, str, float, bool]], data: st.DataObject
) -> None:
    passing = [place for place, event in enumerate(events) if event[1] == PASSED]
    if not passing:
        return
    place = data.draw(st.sampled_from(passing))
    worse = list(events)
    index, _outcome, pause, tick = worse[place]
    worse[place] = (index, data.draw(st.sampled_from([FAILED, INCONCLUSIVE])), pause, tick)
    before, _history = play(rules, events)
    after, _history = play(rules, worse)
    if after.outcome == PASSED:
        assert before.outcome == PASSED
        assert (before.decided_at or 0.0) <= (after.decided_at or 0.0)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(RULES, EVENTS)
def test_gate_that_failed_could_not_have_passed_even_with_the_benefit_of_the_doubt(
    rules: GateRules, events: list[tuple[int, str, float, bool]]
) -> None:
    gate, _history = play(rules, events)
    gate.tick(rules.worst_case)
    possible = sum(check.state != FAILED for check in gate.checks)
    if gate.outcome == FAILED:
        assert possible < rules.required or gate.holds_broken
    if gate.outcome == INCONCLUSIVE:
        assert possible >= rules.required


@settings(max_examples=100, derandomize=True, deadline=None)
@given(RULES)
def test_gate_of_a_healthy_system_passes_whenever_it_was_not_refused(rules: GateRules) -> None:
    try:
        refuse_unreachable(rules)
    except GateRefusedError:
        return
    gate, now = Gate(rules), 0.0
    while gate.outcome is None:
        for index in range(len(rules.checks)):
            gate.observe(index, Observation(now, PASSED, 0.1))
        ends = gate.hold_ends_at
        now = ends if now < ends < now + 1.0 else now + 1.0
        gate.tick(now)
    assert gate.outcome == PASSED
