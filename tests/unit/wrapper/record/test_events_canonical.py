"""One byte sequence for one value."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollback_playbook.events.canonical import canonical, json_value

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@given(_VALUES)
@settings(max_examples=150)
def test_canonical_reads_back_as_the_same_value_and_the_same_bytes(value: Any) -> None:
    text = canonical(value)
    assert json.loads(text) == json_value(value)
    assert canonical(json.loads(text)) == text


@given(_VALUES)
@settings(max_examples=150)
def test_canonical_is_what_the_standard_encoder_writes(value: Any) -> None:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert canonical(value) == text.encode()


def test_canonical_refuses_no_value_that_holds_itself() -> None:
    value: dict[str, Any] = {}
    value["itself"] = value
    assert b"[cut: too deep]" in canonical(value)


@given(st.dictionaries(st.text(), _VALUES, min_size=2, max_size=8), st.randoms())
@settings(max_examples=80)
def test_canonical_does_not_depend_on_the_order_of_keys(value: dict[str, Any], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert canonical(dict(items)) == canonical(value)


@given(st.text())
@settings(max_examples=80)
def test_canonical_is_the_same_for_escaped_and_plain_text(text: str) -> None:
    escaped = json.dumps({"a": text}, ensure_ascii=True)
    plain = json.dumps({"a": text}, ensure_ascii=False)
    assert canonical(json.loads(escaped)) == canonical(json.loads(plain))


class _Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param({"b": 1, "a": [1, 1.0]}, b'{"a":[1,1.0],"b":1}', id="integers-and-floats"),
        pytest.param({10: "x", 9: "y"}, b'{"10":"x","9":"y"}', id="number-keys-sort-as-text"),
        pytest.param({True: 1, None: 2}, b'{"null":2,"true":1}', id="other-keys"),
        pytest.param([math.nan, math.inf, -math.inf], b'["NaN","Infinity","-Infinity"]', id="nan"),
        pytest.param("\ud800x", "\"\ufffdx\"".encode(), id="lone-surrogate"),
        pytest.param({"\udcff": 1}, "{\"\ufffd\":1}".encode(), id="surrogate-key"),
        pytest.param(Path("/a"), b'"/a"', id="path"),
        pytest.param(datetime(2026, 11, 22, tzinfo=UTC), b'"2026-11-22T00:00:00+00:00"', id="time"),
        pytest.param({"x": {3, 1, 2}}, b'{"x":[1,2,3]}', id="set"),
        pytest.param(b"\xff\x00a", '"\ufffd\\u0000a"'.encode(), id="bytes"),
        pytest.param(_Colour.RED, b'"red"', id="enum"),
        pytest.param(10**5000, b'"[cut: integer too large]"', id="enormous-integer"),
        pytest.param(2**70, b"1180591620717411303424", id="large-integer"),
        pytest.param((1, 2), b"[1,2]", id="tuple"),
    ],
)  # fmt: skip
def test_canonical_spells_out_what_json_lacks(value: Any, text: bytes) -> None:
    assert canonical(value) == text


def test_canonical_of_a_very_deep_value_is_cut_and_does_not_raise() -> None:
    value: Any = "x"
    for _ in range(5000):
        value = [value]
    assert b"[cut: too deep]" in canonical(value)
