"""What is an outage, and how long was it?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollback_playbook.drill.prober import Sample, samples, seen


def _samples(statuses: str, *, period: float = 0.04, start: float = 100.0) -> list[Sample]:
    """``.`` is a right answer, ``x`` a 503, ``w`` a wrong one; one every ``period`` seconds."""
    return [
        Sample(
            at=start + number * period,
            seconds=0.0,
            path="/orders/1",
            status=503 if mark == "x" else 200,
            wrong=mark == "w",
        )
        for number, mark in enumerate(statuses)
    ]


def test_right_answers_only_are_no_outage() -> None:
    found = seen(_samples("." * 50))

    assert (found.failed, found.seconds, found.first_fault) == (0, 0, None)


def test_an_outage_lasts_from_the_last_right_answer_to_the_next() -> None:
    found = seen(_samples("..." + "x" * 25 + "..."))

    assert found.failed == 25
    assert found.seconds == pytest.approx(26 * 0.04)


def test_single_failures_among_right_answers_are_counted_but_no_outage() -> None:
    found = seen(_samples("..x...x...x..."))

    assert (found.failed, found.outages) == (3, ())


def test_wrong_answers_are_failures_too() -> None:
    found = seen(_samples("." + "w" * 25 + "."))

    assert (found.wrong, len(found.outages)) == (25, 1)
    assert found.wrong_seconds == found.seconds


def test_outage_in_which_one_request_failed_is_not_of_wrong_answers_alone() -> None:
    found = seen(_samples("." + "w" * 25 + "xw."))

    assert (len(found.outages), found.wrong_seconds) == (1, 0)


def test_a_time_in_which_nothing_was_asked_is_no_outage() -> None:
    found = seen([*_samples("..."), *_samples("...", start=500)])

    assert found.outages == ()


def test_an_outage_that_has_not_ended_lasts_until_the_last_request() -> None:
    found = seen(_samples("." + "x" * 25))

    assert found.seconds == pytest.approx(25 * 0.04)


def test_only_the_asked_for_time_counts() -> None:
    all_of_it = _samples("x" * 25 + "." * 25)

    assert seen(all_of_it, since=101.1).failed == 0
    assert seen(all_of_it, until=100.5).requests == 13


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "prober.jsonl"
    lines = [json.dumps(asdict(sample)) for sample in _samples("..x")]
    file.write_text("\n".join(lines) + '\n{"at": 1', encoding="ascii")

    assert len(samples(file)) == 3
    assert samples(tmp_path / "nothing") == []


@given(st.text(alphabet=".xw", min_size=1, max_size=200))
@settings(derandomize=True, max_examples=100)
def test_outages_never_overlap_and_never_exceed_the_time_asked(statuses: str) -> None:
    found = seen(_samples(statuses))

    edges = [edge for outage in found.outages for edge in (outage.began, outage.ended)]
    assert edges == sorted(edges)
    assert found.seconds <= len(statuses) * 0.04 + 1e-6
    assert found.failed == sum(mark != "." for mark in statuses)
