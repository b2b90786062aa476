"""The rule for every change of a lease, without a backend."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ansible_collections.sre.rollback.plugins.module_utils._lock_lease import (
    LONGEST,
    Lease,
    LockError,
    Request,
    change,
    fields_of,
    is_renewal,
    lease_from,
)

_NOW = 1_700_000_000.0


def _ask(state: str = "held", holder: str = "ann", **options: object) -> Request:
    return Request("prod", state, holder=holder, **{"ttl": 60.0, **options})  # type: ignore[arg-type]


def _held(**options: object) -> Lease:
    return change(_ask(**options), Lease(), _NOW)  # type: ignore[arg-type]


def test_lease_refusal_says_who_since_when_why_until_when_and_how_to_take_over() -> None:
    lease = _held(reason="double charges")

    with pytest.raises(LockError) as refused:
        change(_ask(holder="bob"), lease, _NOW + 10)

    for words in (
        "prod is locked: held by ann since 2023-11-14T22:13:20Z (double charges)",
        "until 2023-11-14T22:14:20Z, for another 50 s",
        "Nothing was changed",
        "state=stolen",
    ):
        assert words in str(refused.value)
    assert refused.value.result["lock"]["expires_in"] == 50.0


def test_lease_taken_over_keeps_from_whom_and_why() -> None:
    lease = change(
        _ask("stolen", holder="bob", reason="ann is asleep"), _held(reason="charges"), _NOW + 5
    )

    assert (lease.token, lease.holder, lease.reason) == (2, "bob", "ann is asleep")
    assert lease.as_result(_NOW)["taken_from"] == {
        "holder": "ann",
        "token": 1,
        "since": "2023-11-14T22:13:20Z",
        "reason": "charges",
        "at": "2023-11-14T22:13:25Z",
    }


def test_lease_that_nobody_holds_is_not_taken_from_anybody_by_stealing() -> None:
    lease = change(_ask("stolen", reason="to be sure"), _held(holder="bob"), _NOW + 61)

    assert lease.as_result(_NOW)["taken_from"] is None


def test_lease_that_expired_and_nobody_took_is_renewed_with_its_token() -> None:
    lease = _held()

    renewed = change(_ask(token=1), lease, _NOW + 500)

    assert is_renewal(lease, renewed)
    assert renewed.since == lease.since


@pytest.mark.parametrize(
    ("token", "words"),
    [
        pytest.param(2, "was released already", id="released"),
        pytest.param(1, "is an old one", id="old"),
        pytest.param(9, "was never given out", id="unknown"),
    ],
)
def test_lease_that_is_free_is_not_held_on_to_with_a_spent_token(token: int, words: str) -> None:
    with pytest.raises(LockError, match=words):
        change(_ask(token=token), Lease(token=2), _NOW)


def test_lease_released_by_a_late_holder_of_a_free_environment_changes_nothing() -> None:
    lease = _held(holder="bob")

    assert change(_ask("released", token=0), lease, _NOW + 61) is lease


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"ttl": 0.0}, id="no time"),
        pytest.param({"ttl": float("nan")}, id="not a number"),
        pytest.param({"ttl": float("inf")}, id="for ever"),
        pytest.param({"ttl": LONGEST * 2}, id="too long"),
        pytest.param({"holder": "  "}, id="nobody"),
        pytest.param({"holder": "a\nb"}, id="two lines"),
        pytest.param({"reason": "x" * 1001}, id="too much reason"),
        pytest.param({"state": "stolen"}, id="stolen without a reason"),
        pytest.param({"state": "released", "token": None}, id="released without a token"),
    ],
)
def test_request_that_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(LockError, match="Nothing was changed"):
        _ask(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("environment", ["", " ", "x" * 101])
def test_request_for_no_environment_is_refused(environment: str) -> None:
    with pytest.raises(LockError, match="environment must be"):
        Request(environment, "held", holder="ann", ttl=1)


@given(
    st.builds(
        Lease,
        token=st.integers(0, 2**62),
        holder=st.text(),
        reason=st.text(),
        since=st.floats(0, 4e9),
        expires=st.floats(0, 4e9),
        taken_from=st.dictionaries(st.text(), st.text() | st.integers()),
    )
)
@settings(max_examples=50, derandomize=True)
def test_lease_survives_being_stored(lease: Lease) -> None:
    assert lease_from(fields_of(lease)) == lease


class LeaseMachine(RuleBasedStateMachine):
    """Several people with clocks that only go on; a model keeps who ought to have the lease."""

    @initialize()
    def begin(self) -> None:
        self.lease, self.now = Lease(), _NOW
        self.tokens: dict[str, int] = {}
        self.last_token = 0

    def _try(self, request: Request) -> Lease | None:
        try:
            after = change(request, self.lease, self.now)
        except LockError:
            return None
        assert after.token >= self.lease.token
        self.lease = after
        return after

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(holder=st.sampled_from("abc"), state=st.sampled_from(["held", "stolen"]))
    def take(self, holder: str, state: str) -> None:
        was_held = self.lease.is_held(self.now)
        after = self._try(_ask(state, holder=holder, reason="why"))
        assert (after is None) == (was_held and state == "held")
        if after is not None:
            assert after.token > self.last_token
            self.last_token = self.tokens[holder] = after.token

    @rule(holder=st.sampled_from("abc"))
    def renew(self, holder: str) -> None:
        token = self.tokens.get(holder)
        if token is None:
            return
        entitled = token == self.lease.token and bool(self.lease.holder)
        assert (self._try(_ask(holder=holder, token=token)) is not None) == entitled

    @rule(holder=st.sampled_from("abc"))
    def release(self, holder: str) -> None:
        token = self.tokens.get(holder)
        if token is None:
            return
        was_held, was_present = self.lease.is_held(self.now), token == self.lease.token
        after = self._try(Request("prod", "released", ttl=1.0, token=token))
        assert (after is None) == (was_held and not was_present)

    @invariant()
    def the_holder_is_who_got_the_last_token(self) -> None:
        if self.lease.holder:
            assert self.tokens[self.lease.holder] == self.lease.token == self.last_token


LeaseMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True
)
test_lease_of_many_people_keeps_its_promises = LeaseMachine.TestCase
