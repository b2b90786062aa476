"""Two real pybreaker clients and an operator, in any order: who is held open stays so."""

from __future__ import annotations

import contextlib

import pybreaker
import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ansible_collections.sre.rollback.plugins.module_utils import _breaker_provider as core
from ansible_collections.sre.rollback.plugins.module_utils._breaker_change import change_breakers
from ansible_collections.sre.rollback.plugins.module_utils._breaker_pybreaker_redis import (
    PybreakerRedis,
)
from tests.real_servers import RedisServer

pytestmark = pytest.mark.integration

_CLIENTS = st.sampled_from([0, 1])
_STATES = st.sampled_from([core.OPEN, core.CLOSED, core.HALF_OPEN])


class ServiceFailedError(Exception):
    """What a call to the protected service raises."""


def _fail() -> None:
    raise ServiceFailedError


class Breakers(RuleBasedStateMachine):
    """``held`` is what the operator did last; everything else is on the server."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.redis = redis.Redis(port=self.server.port)
        self.redis.flushall()
        # An opened breaker lets the next call through at once: the hardest case to hold.
        self.clients = [
            pybreaker.CircuitBreaker(
                fail_max=2,
                reset_timeout=0,
                state_storage=pybreaker.CircuitRedisStorage(
                    pybreaker.STATE_CLOSED, self.redis, namespace="payments"
                ),
            )
            for _each in range(2)
        ]
        self.provider = PybreakerRedis({**self.server.login, "db": 0})
        self.held = False

    def teardown(self) -> None:
        self.provider.close()
        self.redis.close()

    @rule(client=_CLIENTS)
    def call(self, client: int) -> None:
        if self.held:
            with pytest.raises(pybreaker.CircuitBreakerError):
                self.clients[client].call(lambda: "ok")
        else:
            assert self.clients[client].call(lambda: "ok") == "ok"

    @rule(client=_CLIENTS)
    def failing_call(self, client: int) -> None:
        expected = pybreaker.CircuitBreakerError if self.held else Exception
        with pytest.raises(expected) as raised:
            self.clients[client].call(_fail)
        known = (pybreaker.CircuitBreakerError, ServiceFailedError)
        assert isinstance(raised.value, known)

    @rule(state=_STATES)
    def operate(self, state: str) -> None:
        outcome = change_breakers(
            self.provider, ["payments"], core.Wish(state), settle=0, check=False
        )
        self.held = state == core.OPEN
        assert outcome.after[0].held == self.held

    @rule(state=_STATES)
    def predict(self, state: str) -> None:
        wish = core.Wish(state)
        change_breakers(self.provider, ["payments"], wish, settle=0, check=True)

    @rule(state=_STATES)
    def operate_and_undo(self, state: str) -> None:
        wish = core.Wish(state)
        done = change_breakers(self.provider, ["payments"], wish, settle=0, check=False)
        snapshot = {each.name: each.as_dict() for each in done.before}
        back = core.Wish(core.RESTORED, snapshot=snapshot)
        change_breakers(self.provider, ["payments"], back, settle=0, check=False)
        assert self.provider.observe(["payments"])[0] == done.before[0]

    @invariant()
    def open_is_never_without_the_time_of_opening_while_held(self) -> None:
        state, opened_at = self.redis.mget(
            "payments:pybreaker:state", "payments:pybreaker:opened_at"
        )
        if self.held:
            assert state == b"open"
            assert opened_at is not None


def test_clients_and_operator_in_any_order(valkey_server: RedisServer) -> None:
    run_state_machine_as_test(
        type("BreakersOfTheServer", (Breakers,), {"server": valkey_server}),
        settings=settings(derandomize=True, max_examples=40, stateful_step_count=25, deadline=None),
    )


def test_a_new_holder_between_look_and_change_is_not_overwritten(
    valkey_server: RedisServer,
) -> None:
    late, quick = (PybreakerRedis({**valkey_server.login, "db": 0}) for _each in range(2))
    with contextlib.closing(late), contextlib.closing(quick):
        seen = late.observe(["payments"])
        quick.apply(quick.observe(["payments"]), core.Wish(core.OPEN, holder="B", reason="mine"))

        with pytest.raises(core.BreakerError, match="'B' took breaker 'payments'"):
            late.apply(seen, core.Wish(core.CLOSED, holder="A"))

        assert late.observe(["payments"])[0].held
