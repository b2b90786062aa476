"""How the size of a batch follows the time that batches take."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.sre.rollback.plugins.module_utils._redis_pace import Pace


def _pace(*, largest: int = 5000, idle: float = 0.0) -> Pace:
    return Pace(max_stall=0.02, idle_round_trip=idle, smallest=5, largest=largest)


def test_pace_settles_where_a_batch_takes_a_quarter_of_the_limit() -> None:
    pace = _pace()

    for _batch in range(50):
        pace.record(pace.size * 10e-6)

    assert 450 <= pace.size <= 500
    assert pace.longest <= 0.0055


def test_pace_shrinks_at_once_when_values_become_heavy() -> None:
    pace = _pace()
    for _batch in range(50):
        pace.record(pace.size * 1e-6)
    before = pace.size

    pace.record(0.1)

    assert before == 5000
    assert 240 <= pace.size <= 250


def test_pace_does_not_count_the_way_to_a_distant_server() -> None:
    pace = _pace(idle=0.05)

    for _batch in range(50):
        pace.record(0.05 + pace.size * 1e-6)

    assert pace.size == 5000
    assert pace.longest < 0.006


@settings(derandomize=True)
@given(st.lists(st.floats(0, 100)), st.integers(5, 5000))
def test_pace_stays_within_its_bounds(durations: list[float], largest: int) -> None:
    pace = _pace(largest=largest)

    for seconds in durations:
        pace.record(seconds)
        assert 5 <= pace.size <= largest
