"""What health_gate says: one paragraph that can be read at three in the morning."""

from __future__ import annotations

import json

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._gate import Gate, Observation
from ansible_collections.sre.rollback.plugins.module_utils._gate_report import (
    duration,
    failure_message,
    gate_result,
    latency_figures,
    passed_message,
)
from tests.unit.module_utils.test__gate import check_rules, feed, gate_rules

# 2026-11-22T03:12:00Z
STARTED = 1795317120.0


def message(gate: Gate) -> str:
    gate.tick(gate.rules.worst_case)
    return failure_message(gate, started_epoch=STARTED)


def test_message_of_a_failed_gate_says_which_since_when_and_why() -> None:
    gate = Gate(gate_rules(check_rules("shop answers"), check_rules("cache")))
    feed(gate, "FFF", index=0)
    feed(gate, "PPP", index=1)
    assert message(gate) == (
        "The health gate FAILED after 1 min 40 s: 1 of 2 checks is not proved healthy, all of them "
        "must be. 'shop answers' (http) is failing since 03:12:00Z (asked 3 times, never well): "
        "reason 2. The gate changed nothing. Repair what is failing before traffic is resumed."
    )


def test_message_of_an_inconclusive_gate_says_that_it_is_no_pass() -> None:
    gate = Gate(gate_rules(check_rules("errors"), check_rules("new"), check_rules("slow")))
    feed(gate, "PPPP??", index=0)
    feed(gate, "PP", index=2)
    text = message(gate)
    assert text.startswith("The health gate is INCONCLUSIVE, which is not a pass, after ")
    assert (
        "'errors' (http) is unknown since 03:12:04Z "
        "(not well 2 times in a row after 4 good answers): reason 5." in text
    )
    assert "'new' (http): it was never probed" in text
    assert "'slow' (http) answered well 2 times in a row, 3 are needed." in text
    assert text.endswith("Treat the system as not healthy until this is known.")


def test_message_of_an_unsteady_check_says_so() -> None:
    text = message(feed(Gate(gate_rules()), "PFPP"))
    assert "'a' (http) is unsteady: well 2 times in a row, 3 are needed; last error at" in text


def test_message_of_many_failures_explains_five_and_names_ten_more() -> None:
    names = [f"check {number}" for number in range(30)]
    gate = Gate(gate_rules(*map(check_rules, names)))
    for index in range(30):
        feed(gate, "F", index=index)
    text = message(gate)
    assert text.count("is failing since") == 5
    assert "And 25 more: 'check 5'" in text
    assert "'check 14', …." in text
    assert "check 15" not in text


def test_message_puts_what_failed_before_what_is_unknown() -> None:
    gate = Gate(gate_rules(check_rules("unknown"), check_rules("failed")))
    feed(gate, "?", index=0)
    feed(gate, "F", index=1)
    text = message(gate)
    assert text.index("'failed'") < text.index("'unknown'")


def test_message_of_a_gate_that_was_green_too_briefly_says_how_long() -> None:
    gate = Gate(gate_rules(hold=50.0, deadline=60.0))
    feed(gate, "PPPPPPP", start=0.0)
    feed(gate, "F", start=20.0)
    feed(gate, "PPP", start=21.0)
    text = message(gate)
    assert "have been so for 37 s only, after once interrupted; 50 s are demanded." in text


def test_message_of_a_passed_gate_counts_what_is_healthy() -> None:
    gate = feed(Gate(gate_rules(hold=10.0)), "P" * 13)
    assert passed_message(gate) == (
        "The gate passed: 1 of 1 checks are healthy, and held for 10 s."
    )


def test_message_names_a_reason_with_a_full_stop_only_once() -> None:
    gate = Gate(gate_rules())
    gate.observe(0, Observation(0.0, "failed", None, "Check that it runs."))
    assert "Check that it runs. The gate" in message(gate)


def test_result_is_made_of_native_types_and_has_every_key() -> None:
    gate = feed(Gate(gate_rules(hold=1.0)), "FPPPPP")
    result = gate_result(gate, started_epoch=STARTED, elapsed=5.01234)
    assert json.loads(json.dumps(result)) == result
    assert (result["outcome"], result["elapsed"]) == ("passed", 5.012)
    assert result["green_since"] == "2026-11-22T03:12:03Z"
    (check,) = result["checks"]
    assert (check["state"], check["attempts"], check["consecutive"]) == ("passed", 5, 4)
    assert (check["since"], check["last_error_at"]) == (
        "2026-11-22T03:12:01Z",
        "2026-11-22T03:12:00Z",
    )
    assert check["last_error"] == "reason 0"
    assert check["samples"][0] == {"at": 0.0, "outcome": "failed", "latency": 0.1}


def test_result_of_a_gate_that_was_not_run_is_inconclusive() -> None:
    result = gate_result(Gate(gate_rules()), started_epoch=STARTED, elapsed=0.0)
    assert result["outcome"] == "inconclusive"
    assert result["checks"][0]["latency"] == {"p50": None, "p95": None, "max": None}


def test_latency_figures_are_by_nearest_rank_and_the_slowest_is_never_forgotten() -> None:
    gate = Gate(gate_rules(check_rules(success_threshold=1000, deadline=1e5), deadline=1e5))
    gate.observe(0, Observation(0.0, "passed", 9.0))
    for number in range(1, 501):
        gate.observe(0, Observation(float(number), "passed", number / 1000))
    assert latency_figures(gate.checks[0]) == {"p50": 0.25, "p95": 0.475, "max": 9.0}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (12.4, "12 s"), (60, "1 min"), (303.2, "5 min 3 s")],
)
def test_duration_is_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
