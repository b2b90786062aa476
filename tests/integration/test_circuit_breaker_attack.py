"""circuit_breaker killed at any moment, and operators who do not know of each other."""

from __future__ import annotations

import contextlib
import json

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._breaker_pybreaker_keys import (
    HELD_OPENED_AT,
)
from tests.module_runner import RunModule, killed_at_many_moments, start_module
from tests.real_servers import RedisServer
from tests.redis_topologies import RedisClusterServers

pytestmark = [pytest.mark.integration, pytest.mark.attack]

_NAMES = [f"service-{number}" for number in range(40)]


def _is_sound(server: RedisServer | RedisClusterServers) -> bool:
    """No breaker is open in a way that lets the next call through."""
    with contextlib.closing(server.client()) as client:
        for name in _NAMES:
            state = client.get(f"{name}:pybreaker:state")
            opened_at = client.get(f"{name}:pybreaker:opened_at")
            if state == b"open" and opened_at != b"%d" % HELD_OPENED_AT:
                return False
    return True


@pytest.mark.parametrize("where", ["valkey_server", "cluster"])
@pytest.mark.parametrize(("state", "other"), [("open", "closed"), ("closed", "open")])
def test_a_killed_module_leaves_every_breaker_as_before_or_done(
    where: str, state: str, other: str, request: pytest.FixtureRequest, run_module: RunModule
) -> None:
    server: RedisServer | RedisClusterServers = request.getfixturevalue(where)
    options = {**server.login, "breakers": _NAMES, "holder": "inc-1"}
    run_module("circuit_breaker", {**options, "state": other})
    killed = {**options, "state": state}
    for _turn in killed_at_many_moments("circuit_breaker", lambda _turn: killed, turns=30):
        assert state == "closed" or _is_sound(server)

        result = run_module("circuit_breaker", {**options, "state": other})
        assert {each["state"] for each in result["after"].values()} == {other}


def test_of_operators_that_race_one_holds_and_all_know_it(
    valkey_server: RedisServer,
) -> None:
    for _round in range(5):
        valkey_server.client().flushall()
        options = {**valkey_server.login, "breakers": _NAMES, "state": "open"}
        racing = [
            start_module("circuit_breaker", {**options, "holder": f"inc-{number}"})
            for number in range(8)
        ]
        results = [json.loads(process.communicate()[0]) for process in racing]

        redis = valkey_server.client()
        holders = {json.loads(redis.get(f"{name}:rollback:hold"))["holder"] for name in _NAMES}
        assert len(holders) == 1
        winner = int(holders.pop()[4:])
        for number, result in enumerate(results):
            if number != winner:
                assert set(result["held_by_others"]) == set(_NAMES)
                assert f"inc-{winner}" in json.dumps(result["held_by_others"])
                assert not result["changed"]
