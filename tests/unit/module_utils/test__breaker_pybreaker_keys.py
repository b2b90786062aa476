"""What pybreaker's keys mean, and what they have to be for a wish."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.sre.rollback.plugins.module_utils import _breaker_provider as core
from ansible_collections.sre.rollback.plugins.module_utils._breaker_pybreaker_keys import (
    HELD_OPENED_AT,
    breaker_name,
    hold_key,
    is_settled,
    parse_breaker,
    parse_hold,
    storage_key,
    target_of,
)

_NOW = 1_772_600_000.4
_KEYS = {"state": None, "opened_at": None, "fail_counter": None, "success_counter": None}


def _breaker(**keys: bytes) -> core.Breaker:
    return parse_breaker("a", {**_KEYS, "hold": None, **keys})


@settings(derandomize=True)
@given(st.text(max_size=12))
def test_breaker_name_is_read_back_from_every_key(name: str) -> None:
    assert breaker_name(storage_key(name, "state").encode("utf-8", "surrogatepass")) == name


@pytest.mark.parametrize("key", [b"pybreaker:state:x", b"xpybreaker:state", b"a:pybreaker:states"])
def test_breaker_name_of_another_key_is_none(key: bytes) -> None:
    assert breaker_name(key) is None


def test_the_empty_name_is_the_storage_without_a_namespace() -> None:
    assert (storage_key("", "state"), hold_key("")) == ("pybreaker:state", "rollback:hold")


@pytest.mark.parametrize(
    ("keys", "state", "held"),
    [
        pytest.param({}, "absent", False, id="absent"),
        pytest.param({"state": b"closed"}, "closed", False, id="closed"),
        pytest.param({"state": b"half-open"}, "half_open", False, id="half open"),
        pytest.param({"state": b"open"}, "open", False, id="open for the next call"),
        pytest.param({"state": b"open", "opened_at": b"1"}, "open", False, id="tripped"),
        pytest.param(
            {"state": b"open", "opened_at": b"%d" % HELD_OPENED_AT}, "open", True, id="held"
        ),
        pytest.param(
            {"state": b"closed", "opened_at": b"%d" % HELD_OPENED_AT}, "closed", False, id="slipped"
        ),
    ],
)
def test_parse_breaker_sees_what_a_client_sees(
    keys: dict[str, bytes], state: str, held: bool
) -> None:
    breaker = _breaker(**keys)

    assert (breaker.state, breaker.held) == (state, held)


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b'{"holder": "a"}', b"\xff", b"null"])
def test_parse_hold_of_something_else_belongs_to_somebody_unknown(value: bytes) -> None:
    hold = parse_hold(value)

    assert hold is not None
    assert hold.holder == "unknown"


@settings(derandomize=True)
@given(st.builds(core.Hold, st.text(), st.text(), st.integers(), st.none() | st.integers()))
def test_parse_hold_reads_back_what_was_written(hold: core.Hold) -> None:
    assert parse_hold(json.dumps(hold.as_dict()).encode()) == hold


def test_target_of_open_refuses_for_good_and_says_who_wants_it() -> None:
    wish = core.Wish(core.OPEN, holder="inc-1", reason="why")

    target = target_of(_breaker(state=b"closed", fail_counter=b"2"), wish, now=_NOW)

    assert (target.held, target.facts["opened_at"]) == (True, HELD_OPENED_AT)
    assert target.facts["fail_counter"] == 2
    assert target.hold == core.Hold("inc-1", "why", 1_772_600_000, None)


def test_target_of_open_with_a_lease_never_ends_before_the_lease() -> None:
    target = target_of(_breaker(), core.Wish(core.OPEN, lease=2), now=_NOW)

    assert target.facts["opened_at"] == 1_772_600_003
    assert not target.held


@pytest.mark.parametrize("state", [core.CLOSED, core.HALF_OPEN])
def test_target_of_closed_and_half_open_forgets_when_it_was_opened(state: str) -> None:
    held = _breaker(state=b"open", opened_at=b"%d" % HELD_OPENED_AT, fail_counter=b"5")

    target = target_of(held, core.Wish(state), now=_NOW)

    assert target.facts == {"opened_at": None, "fail_counter": 0, "success_counter": 0}
    assert target.hold is None


def test_target_of_closing_an_absent_breaker_is_to_leave_it() -> None:
    absent = _breaker()

    assert target_of(absent, core.Wish(core.CLOSED), now=_NOW) is absent


@pytest.mark.parametrize(
    ("wish", "settled"),
    [
        pytest.param(core.Wish(core.OPEN, holder="A", reason="r"), True, id="the same"),
        pytest.param(core.Wish(core.OPEN, holder="A", reason="s"), False, id="another reason"),
        pytest.param(core.Wish(core.OPEN, holder="B", reason="r"), False, id="another holder"),
        pytest.param(core.Wish(core.OPEN, holder="A", reason="r", lease=9), False, id="a lease"),
        pytest.param(core.Wish(core.CLOSED, holder="A"), False, id="closed"),
    ],
)
def test_is_settled_compares_state_holder_and_reason(wish: core.Wish, settled: bool) -> None:
    opened = target_of(_breaker(), core.Wish(core.OPEN, holder="A", reason="r"), now=_NOW)

    assert is_settled(opened, target_of(opened, wish, now=_NOW), wish) == settled
