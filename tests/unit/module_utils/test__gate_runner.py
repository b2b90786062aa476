"""The threads of the health gate: whatever a probe does, the gate ends and does not lie."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._gate import (
    FAILED,
    INCONCLUSIVE,
    PASSED,
    Gate,
    GateRules,
)
from ansible_collections.sre.rollback.plugins.module_utils._gate_runner import (
    ArmedProbe,
    GateRunner,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Leash,
    LeashExpiredError,
    Probe,
    ProbeFailedError,
    ProbeInconclusiveError,
)
from tests.unit.module_utils.test__gate import check_rules, gate_rules


def quick_rules(*names: str, **changes: object) -> GateRules:
    """A gate that gives a check up after three probes, which have a fifth of a second each."""
    checks = [
        check_rules(name, period=0.02, timeout=0.2, failure_threshold=3) for name in names or ("a",)
    ]
    return gate_rules(*checks, **changes)


def run(rules: GateRules, *probes: Probe, silence: str = FAILED) -> Gate:
    gate = Gate(rules)
    GateRunner(gate, [ArmedProbe(probe, silence) for probe in probes]).run()
    return gate


@pytest.fixture
def forever() -> Iterator[Callable[[Leash], None]]:
    """A probe that ignores its leash, as a name server that hangs would make it."""
    release = threading.Event()
    yield lambda _leash: release.wait() and None
    release.set()


def well(_leash: Leash) -> None:
    return


def raising(error: Exception) -> Probe:
    def probe(_leash: Leash) -> None:
        raise error

    return probe


def test_runner_with_healthy_probes_passes() -> None:
    gate = run(quick_rules("a", "b"), well, well)
    assert gate.outcome == PASSED
    assert [check.consecutive >= 3 for check in gate.checks] == [True, True]


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        pytest.param(ProbeFailedError("it is down"), FAILED, "it is down", id="failed"),
        pytest.param(ProbeInconclusiveError("no data"), INCONCLUSIVE, "no data", id="unknown"),
        pytest.param(
            KeyError("x"), INCONCLUSIVE, "the probe broke: KeyError: 'x'", id="a bug of a probe"
        ),
        pytest.param(LeashExpiredError(), FAILED, "no answer within 0.2 s", id="out of time"),
    ],
)
def test_runner_with_a_probe_that_raises_never_passes(
    error: Exception, outcome: str, reason: str
) -> None:
    gate = run(quick_rules(), raising(error))
    assert gate.outcome == outcome
    assert gate.checks[0].last_bad is not None
    assert gate.checks[0].last_bad.reason == reason


def test_runner_with_a_probe_that_hangs_for_ever_ends(forever: Probe) -> None:
    gate = run(quick_rules("hangs", "well"), forever, well)
    assert gate.outcome == FAILED
    assert [check.state for check in gate.checks] == [FAILED, PASSED]
    assert gate.checks[0].latencies == gate.checks[0].latencies.__class__(maxlen=500)


def test_runner_with_an_instrument_that_hangs_is_inconclusive(forever: Probe) -> None:
    assert run(quick_rules(), forever, silence=INCONCLUSIVE).outcome == INCONCLUSIVE


def test_runner_never_has_two_probes_of_one_check_under_way(forever: Probe) -> None:
    started = []

    def probe(leash: Leash) -> None:
        started.append(leash)
        forever(leash)

    gate = run(quick_rules(), probe)
    assert len(started) == 1
    assert gate.checks[0].attempts > 1
    assert gate.checks[0].last_bad is not None
    assert gate.checks[0].last_bad.reason == "the probe before this one still hangs"


def test_runner_with_an_answer_after_the_timeout_does_not_count_it() -> None:
    def late(leash: Leash) -> None:
        ended = threading.Event()
        with leash.on_expiry(ended.set):
            ended.wait()

    gate = run(quick_rules(), late)
    assert gate.outcome == FAILED
    assert gate.checks[0].successes == 0
    assert gate.checks[0].attempts > 1


def test_runner_expires_the_leashes_of_probes_that_the_decision_overtook() -> None:
    ended = threading.Event()

    def slow(leash: Leash) -> None:
        with leash.on_expiry(ended.set):
            ended.wait()

    checks = [check_rules("a", period=0.02), check_rules("b", timeout=60.0)]
    gate = run(gate_rules(*checks, required=1), well, slow)
    assert gate.outcome == PASSED
    assert ended.is_set()


def test_runner_with_more_hanging_probes_than_places_still_ends(forever: Probe) -> None:
    names = [str(number) for number in range(20)]
    gate = run(quick_rules(*names, concurrency=3, required=1, deadline=1.5), *[forever] * 20)
    assert gate.outcome == INCONCLUSIVE
    # Twice the places at most, whoever is left over was never asked and is not known.
    assert sum(check.attempts > 1 for check in gate.checks) == 6
    assert {check.state for check in gate.checks if not check.attempts} == {INCONCLUSIVE}


def test_runner_with_an_answer_that_came_too_late_unnoticed_does_not_count_it() -> None:
    # It holds the interpreter, so that nobody can see the time pass until it has answered.
    rules = gate_rules(check_rules(timeout=0.02, failure_threshold=2))
    gate = run(rules, lambda _leash: sum(range(10_000_000)) and None)
    assert gate.outcome == FAILED
    assert gate.checks[0].successes == 0


def test_runner_probes_again_after_a_probe_that_hung_until_its_leash_expired() -> None:
    asked = []

    def probe(leash: Leash) -> None:
        asked.append(leash)
        if len(asked) == 1:
            ended = threading.Event()
            with leash.on_expiry(ended.set):
                ended.wait()

    gate = run(gate_rules(check_rules(timeout=0.1, period=0.02)), probe)
    assert gate.outcome == PASSED
    assert gate.checks[0].last_bad is not None
    assert gate.checks[0].last_bad.reason == "no answer within 0.1 s"


def test_runner_has_no_more_probes_under_way_than_places() -> None:
    most = running = 0
    lock = threading.Lock()

    def probe(_leash: Leash) -> None:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1

    names = [str(number) for number in range(200)]
    checks = [check_rules(name, period=0.01) for name in names]
    assert run(gate_rules(*checks, concurrency=8), *[probe] * 200).outcome == PASSED
    assert 1 < most <= 8


def test_runner_probes_a_check_with_a_long_period_when_the_hold_ends() -> None:
    asked = []
    checks = [
        check_rules("quick", success_threshold=3, period=0.02),
        check_rules("slow", success_threshold=1, period=90.0),
    ]
    gate = run(gate_rules(*checks, hold=0.2), well, lambda leash: asked.append(leash))
    assert gate.outcome == PASSED
    assert len(asked) == 2


def test_runner_stops_probing_a_check_that_is_given_up() -> None:
    checks = [
        check_rules("bad", period=0.01, failure_threshold=2),
        check_rules("good", success_threshold=5, period=0.05),
    ]
    asked = []

    def bad(leash: Leash) -> None:
        asked.append(leash)
        raise ProbeFailedError("down")

    assert run(gate_rules(*checks, required=1), bad, well).outcome == PASSED
    assert len(asked) == 2


def test_leash_that_has_expired_starts_nothing() -> None:
    leash = Leash(60)
    leash.expire()
    started = []
    with pytest.raises(LeashExpiredError), leash.holding(lambda: started.append(1), print):
        pass
    assert started == []


def test_leash_calls_what_is_held_only_inside_its_block() -> None:
    leash, ended = Leash(60), []
    with leash.on_expiry(lambda: ended.append("outer")):
        with leash.on_expiry(lambda: ended.append("inner")):
            pass
        leash.expire()
    leash.expire()
    assert ended == ["outer"]
