"""What probes make of values: expectations, expressions, JSON paths, times in logs."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Leash,
    LeashExpiredError,
    ProbeFailedError,
    ProbeInconclusiveError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.expectation import (
    Bounds,
    Expectation,
    same,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.json_path import (
    parse_document,
    parse_path,
    value_at,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.matching import Pattern
from ansible_collections.sre.rollback.plugins.module_utils._probes.no_data import NoData
from ansible_collections.sre.rollback.plugins.module_utils._probes.timestamps import stamp_of

DOCUMENT = {"a": {"b.c": [1, {"d": "x"}]}, "e": [], "n": None}


@pytest.mark.parametrize(
    ("value", "expected", "equal"),
    [
        ("ok", "ok", True),
        ("ok", "OK", False),
        (3, 3, True),
        (3, "3", True),
        ("3", 3, True),
        (1.0, "1", True),
        (True, True, True),
        (True, "True", True),
        ("true", True, True),
        (True, 1, False),
        (False, 0, False),
        (0, False, False),
        ([1, 2], [1, 2], True),
        ({"a": 1}, {"a": 1}, True),
        (None, "null", True),
        ("x", 3, False),
        (math.nan, math.nan, False),
    ],
)
def test_same_sees_through_templating_but_not_through_types(
    value: Any, expected: Any, equal: bool
) -> None:
    assert same(value, expected) is equal


@pytest.mark.parametrize(
    ("options", "value", "words"),
    [
        ({"expected": "ok"}, "down", "status is 'down', expected 'ok'"),
        ({"expected": 0}, None, "status is null"),
        ({"min": 2}, 1, "status is 1, below 2"),
        ({"max": 2}, 2.5, "status is 2.5, above 2"),
        ({"max": 2}, "many", "'many', which is not a number"),
        ({"max": 2}, True, "which is not a number"),
        ({"matches": "^a"}, "b", "does not match '^a'"),
        ({}, None, "status is null"),
    ],
)
def test_expectation_that_is_not_met_says_what_was_found(
    options: dict[str, Any], value: Any, words: str
) -> None:
    with pytest.raises(ProbeFailedError) as caught:
        Expectation.of(options).check(value, "status", Leash(5))
    assert words in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, "NaN", "nan"])
def test_expectation_of_bounds_with_nan_is_inconclusive(value: Any) -> None:
    with pytest.raises(ProbeInconclusiveError, match="NaN"):
        Expectation.of({"min": -1e9, "max": 1e9}).check(value, "x", Leash(5))


def test_expectation_message_cuts_long_values() -> None:
    with pytest.raises(ProbeFailedError) as caught:
        Expectation.of({"expected": "a"}).check("b" * 10_000, "x", Leash(5))
    assert len(str(caught.value)) < 200


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.floats(), st.floats(allow_nan=False, allow_infinity=False))
def test_bounds_pass_only_a_number_that_is_within_them(value: float, limit: float) -> None:
    passed = True
    try:
        Bounds(limit, None).check(value, "x")
    except (ProbeFailedError, ProbeInconclusiveError):
        passed = False
    assert passed == (value >= limit)


@pytest.mark.parametrize("means", ["fail", "pass", "inconclusive"])
def test_no_data_never_lets_nan_pass(means: str) -> None:
    with pytest.raises((ProbeFailedError, ProbeInconclusiveError)):
        NoData(means).judge_nan("x")


def test_no_data_passes_an_empty_answer_only_when_it_is_told_to() -> None:
    NoData("pass").judge("nothing")
    with pytest.raises(ProbeFailedError):
        NoData("fail").judge("nothing")
    with pytest.raises(ProbeInconclusiveError):
        NoData("inconclusive").judge("nothing")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$", DOCUMENT),
        ('a["b.c"][0]', 1),
        ("a['b.c'][1].d", "x"),
        ('$.a["b.c"][-1].d', "x"),
        ("e", []),
        ("n", None),
    ],
)
def test_json_path_finds_the_value(text: str, expected: Any) -> None:
    assert value_at(DOCUMENT, parse_path(text), text) == expected


@pytest.mark.parametrize("text", ["a.x", "e[0]", "n.x", "a.0", "a[0]", 'a["b.c"].d', "x"])
def test_json_path_to_nothing_fails_by_name(text: str) -> None:
    with pytest.raises(ProbeFailedError, match="the answer has no"):
        value_at(DOCUMENT, parse_path(text), text)


@pytest.mark.parametrize("text", ["a..b", "a[", "a[x]", ".a", "a.", "a]", "", "a b["])
def test_json_path_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ProbeRefusedError, match="not a JSON path"):
        parse_path(text)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.text(alphabet="ab.[]0-1'\"$", max_size=12))
def test_json_path_of_any_text_is_read_or_refused(text: str) -> None:
    try:
        steps = parse_path(text)
    except ProbeRefusedError:
        return
    assert all(isinstance(step, (str, int)) for step in steps)


@pytest.mark.parametrize("text", ["", "{", "<html>", "[" * 100_000])
def test_json_document_that_is_none_fails(text: str) -> None:
    with pytest.raises(ProbeFailedError, match="not JSON"):
        parse_document(text)


@pytest.mark.parametrize(
    ("pattern", "lines", "expected"),
    [
        ("b", ["abc", "xyz", ""], [True, False, False]),
        ("^$", ["a", ""], [False, True]),
        (r"(?i)ERROR.*time", ["an error at time 3", "fine"], [True, False]),
        (r"(a+)+$", ["aaaa", "b"], [True, False]),
        ("x", [], []),
    ],
)
def test_pattern_answers_for_each_line(
    pattern: str, lines: list[str], expected: list[bool]
) -> None:
    assert Pattern.compile(pattern, "text").matches(lines, Leash(30)) == expected


def test_pattern_that_would_take_years_ends_with_its_leash() -> None:
    with pytest.raises(LeashExpiredError):
        Pattern.compile(r"(a|aa)+$", "text").found_in("a" * 60 + "b", Leash(0.3))


def test_pattern_that_is_slow_in_a_long_text_does_not_run_in_this_process() -> None:
    # In this process it would hold every thread for minutes, whatever the leash says.
    with pytest.raises(LeashExpiredError):
        Pattern.compile(".*x.*y.*z", "text").found_in("xy" * 20_000, Leash(0.3))


NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()
AT = datetime(2026, 11, 22, 3, 57, 50, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2026-11-22T03:57:50Z boom", AT),
        ("2026-11-22 03:57:50.500+00:00 boom", AT + 0.5),
        ("2026-11-22 03:57:50,250 +0000 ERROR", AT + 0.25),
        ("[2026-11-22T05:57:50+02:00] x", AT),
        ("2026-11-21 22:27:50-0530 x", AT),
        ('1.2.3.4 - - [22/Nov/2026:03:57:50 +0000] "GET /"', AT),
        ("no time here", None),
        ("2026-13-45 99:99:99Z", None),
        ("x" * 100 + "2026-11-22T03:57:50Z", None),
    ],
)
def test_stamp_of_a_line_is_read(line: str, expected: float | None) -> None:
    assert stamp_of(line, now=NOW) == expected


@pytest.mark.parametrize(
    "line", ["Nov 22 03:57:50 host app[1]: x", "2026/11/22 03:57:50 [error] x"]
)
def test_stamp_without_a_zone_is_local_time(line: str) -> None:
    local = datetime(2026, 11, 22, 3, 57, 50).timestamp()
    assert stamp_of(line, now=NOW) == local


def test_stamp_without_a_year_is_never_in_the_future() -> None:
    new_year = datetime(2027, 1, 1, 0, 5, tzinfo=UTC).timestamp()
    stamp = stamp_of("Dec 31 23:59:00 host x", now=new_year)
    assert stamp is not None
    assert abs(new_year - stamp) < 2 * 86400
