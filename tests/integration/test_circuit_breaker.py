"""circuit_breaker with breakers of pybreaker: what clients in other processes see."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest

from tests.breaker_client import StartClient
from tests.module_runner import RunModule
from tests.real_servers import RedisServer
from tests.redis_topologies import RedisClusterServers, wait_until

pytestmark = pytest.mark.integration


def _options(server: RedisServer | RedisClusterServers, **options: Any) -> dict[str, Any]:
    return {**server.login, "breakers": ["payments"], **options}


@pytest.mark.parametrize("name", ["payments", "a*b?[c]\\", "", "x:pybreaker", "Zahlung ü"])
def test_open_makes_a_client_refuse_past_its_timeout_until_closed(
    any_server: RedisServer, run_module: RunModule, start_client: StartClient, name: str
) -> None:
    client = start_client(any_server.port, name or None, reset_timeout=0.1)
    assert client.call() == "ok"

    opened = run_module("circuit_breaker", _options(any_server, breakers=[name], state="open"))
    first = client.call()
    time.sleep(0.3)
    later = client.call()
    closed = run_module("circuit_breaker", _options(any_server, breakers=[name], state="closed"))

    assert (opened["changed"], first, later, closed["changed"]) == (
        True,
        "refused",
        "refused",
        True,
    )
    assert client.call() == "ok"


def test_a_closed_breaker_trips_and_recovers_by_itself_as_before(
    valkey_server: RedisServer, run_module: RunModule, start_client: StartClient
) -> None:
    # pybreaker keeps whole seconds: a timeout below one may be over at once.
    client = start_client(valkey_server.port, "payments", reset_timeout=1.3)
    run_module("circuit_breaker", _options(valkey_server, state="open"))
    run_module("circuit_breaker", _options(valkey_server, state="closed"))

    tripping = [client.call(fails=True) for _each in range(4)]

    assert tripping == ["failed", "failed", "refused", "refused"]
    wait_until(lambda: client.call() == "ok", 4)


def test_all_opens_every_breaker_and_nothing_else(
    valkey_server: RedisServer, run_module: RunModule, start_client: StartClient
) -> None:
    names = ["", "a", "b*", "c:d"]
    clients = [start_client(valkey_server.port, name or None) for name in names]
    assert {client.call() for client in clients} == {"ok"}
    redis = valkey_server.client()
    redis.set("note:pybreaker:states", "closed")
    redis.set("pybreaker:state:old", "closed")

    result = run_module("circuit_breaker", _options(valkey_server, breakers=["all"], state="open"))

    assert sorted(result["after"]) == names
    assert {client.call() for client in clients} == {"refused"}
    assert redis.get("note:pybreaker:states") == redis.get("pybreaker:state:old") == b"closed"


def test_a_lease_lets_a_client_try_again_after_it_and_not_before(
    valkey_server: RedisServer, run_module: RunModule, start_client: StartClient
) -> None:
    client = start_client(valkey_server.port, "payments", reset_timeout=0)
    client.call()

    begun = time.time()
    result = run_module("circuit_breaker", _options(valkey_server, state="open", lease=1.5))
    early = client.call()

    assert early == "refused"
    assert not result["after"]["payments"]["held"]
    wait_until(lambda: client.call() == "ok", 6)
    assert time.time() >= begun + 1.5
    wait_until(lambda: not valkey_server.client().exists("payments:rollback:hold"), 1)


def test_half_open_lets_one_trial_decide(
    valkey_server: RedisServer, run_module: RunModule, start_client: StartClient
) -> None:
    client = start_client(valkey_server.port, "payments", reset_timeout=1.3)
    run_module("circuit_breaker", _options(valkey_server, state="open"))
    assert client.call() == "refused"

    result = run_module("circuit_breaker", _options(valkey_server, state="half_open"))
    failed_trial = client.call(fails=True)
    after_failure = client.call()
    wait_until(lambda: client.call() == "ok", 4)

    assert result["after"]["payments"]["state"] == "half_open"
    assert (failed_trial, after_failure) == ("refused", "refused")
    assert valkey_server.client().get("payments:pybreaker:state") == b"closed"


def test_a_breaker_opened_beforehand_refuses_the_first_call_of_a_new_client(
    valkey_server: RedisServer, run_module: RunModule, start_client: StartClient
) -> None:
    result = run_module("circuit_breaker", _options(valkey_server, state="open"))

    client = start_client(valkey_server.port, "payments")

    assert result["created"] == ["payments"]
    assert result["before"]["payments"]["state"] == "absent"
    assert client.call() == "refused"


def test_a_trial_call_under_way_cannot_close_an_opened_breaker(
    valkey_server: RedisServer, run_module: RunModule, start_client: StartClient
) -> None:
    client = start_client(valkey_server.port, "payments")
    client.call()
    run_module("circuit_breaker", _options(valkey_server, state="half_open"))
    client.begin(0.5)
    time.sleep(0.2)

    result = run_module("circuit_breaker", _options(valkey_server, state="open", settle=1.0))

    assert client.outcome() == "ok"
    assert result["reopened"] == ["payments"]
    assert client.call() == "refused"


def test_a_breaker_that_only_looks_open_is_opened_for_real(
    valkey_server: RedisServer, run_module: RunModule, start_client: StartClient
) -> None:
    client = start_client(valkey_server.port, "payments")
    # Without opened_at the next call is a trial: this is what a script that sets one key leaves.
    valkey_server.client().set("payments:pybreaker:state", "open")
    assert client.call() == "ok"
    valkey_server.client().set("payments:pybreaker:state", "open")

    result = run_module("circuit_breaker", _options(valkey_server, state="open", settle=0))

    assert (result["changed"], result["before"]["payments"]["held"]) == (True, False)
    assert client.call() == "refused"


def test_breakers_that_somebody_flushed_are_seen_to_be_gone_and_opened_again(
    valkey_server: RedisServer, run_module: RunModule, start_client: StartClient
) -> None:
    client = start_client(valkey_server.port, "payments")
    options = _options(valkey_server, state="open", holder="inc-1")
    run_module("circuit_breaker", options)
    assert client.call() == "refused"

    valkey_server.client().flushdb()
    assert client.call() == "ok"
    again = run_module("circuit_breaker", options)

    assert again["changed"]
    assert not again["before"]["payments"]["held"]
    assert client.call() == "refused"


def test_failures_reported_while_open_do_not_shorten_it(
    valkey_server: RedisServer, run_module: RunModule, start_client: StartClient
) -> None:
    client = start_client(valkey_server.port, "payments")
    client.call(fails=True)
    client.call(fails=True)
    client.begin(0.4, fails=True)
    time.sleep(0.1)

    run_module("circuit_breaker", _options(valkey_server, state="open"))
    client.outcome()
    time.sleep(1.4)

    assert client.call() == "refused"


@pytest.mark.parametrize("target", ["open", "closed", "half_open"])
def test_undo_brings_back_every_kind_of_state(
    valkey_server: RedisServer, run_module: RunModule, target: str
) -> None:
    redis = valkey_server.client()
    now = int(time.time())
    keys = {
        "shut:pybreaker:state": b"closed",
        "shut:pybreaker:fail_counter": b"2",
        "shut:pybreaker:success_counter": b"0",
        "tripped:pybreaker:state": b"open",
        "tripped:pybreaker:opened_at": b"%d" % now,
        "tripped:pybreaker:fail_counter": b"3",
        "tripped:pybreaker:success_counter": b"0",
        "trying:pybreaker:state": b"half-open",
        "trying:pybreaker:fail_counter": b"3",
        "trying:pybreaker:success_counter": b"1",
    }
    redis.mset(keys)
    names = ["shut", "tripped", "trying", "absent", "all the same"]
    options = {**valkey_server.login, "breakers": names, "state": target, "holder": "inc-1"}

    done = run_module("circuit_breaker", {**options, "settle": 0})
    undone = run_module("circuit_breaker", {**valkey_server.login, **done["undo"]["args"]})

    assert undone["after"] == {name: done["before"][name] for name in undone["after"]}
    assert {key.decode(): redis.get(key) for key in redis.scan_iter()} == keys


def test_open_twice_by_the_same_holder_changes_nothing_the_second_time(
    valkey_server: RedisServer, run_module: RunModule
) -> None:
    options = _options(valkey_server, state="open", holder="inc-1", reason="double charges")

    first, second = (run_module("circuit_breaker", options) for _each in range(2))

    assert (first["changed"], second["changed"], second["undo"]) == (True, False, None)
    assert second["after"] == first["after"]


@pytest.mark.parametrize("state", ["open", "closed", "half_open"])
def test_check_mode_predicts_the_result_and_changes_nothing(
    valkey_server: RedisServer, run_module: RunModule, state: str
) -> None:
    redis = valkey_server.client()
    redis.mset({"payments:pybreaker:state": "open", "payments:pybreaker:opened_at": 1})
    options = _options(valkey_server, state=state, settle=0)

    predicted = run_module("circuit_breaker", options, check=True, diff=True)
    untouched = redis.get("payments:pybreaker:opened_at")
    done = run_module("circuit_breaker", options, diff=True)

    assert untouched == b"1"
    for result in (predicted, done):
        result.pop("elapsed")
        for view in (result["after"], result["diff"]["after"]):
            (view["payments"]["hold"] or {}).pop("since", None)
    assert predicted == done


def test_a_breaker_of_another_holder_is_reported_and_left_alone(
    valkey_server: RedisServer, run_module: RunModule
) -> None:
    run_module("circuit_breaker", _options(valkey_server, state="open", holder="A", reason="why"))

    opened = run_module("circuit_breaker", _options(valkey_server, state="open", holder="B"))
    closed = run_module("circuit_breaker", _options(valkey_server, state="closed", holder="B"))
    taken = run_module(
        "circuit_breaker", _options(valkey_server, state="closed", holder="B", take_over=True)
    )

    assert not opened["changed"]
    assert opened["held_by_others"]["payments"]["holder"] == "A"
    assert closed["failed"]
    assert "held by 'A'" in closed["msg"]
    assert "why" in closed["msg"]
    assert taken["after"]["payments"]["state"] == "closed"


def test_breakers_in_a_cluster_open_and_close_for_real_clients(
    cluster: RedisClusterServers, run_module: RunModule, start_client: StartClient
) -> None:
    names = [f"service-{number}" for number in range(6)]
    clients = [start_client(cluster.ports[0], name, cluster=True) for name in names]
    assert {client.call() for client in clients} == {"ok"}
    options = {**cluster.login, "breakers": ["all"], "holder": "inc-1"}

    opened = run_module("circuit_breaker", {**options, "state": "open"})
    refused = {client.call() for client in clients}
    run_module("circuit_breaker", {**options, "state": "closed"})

    assert sorted(opened["after"]) == names
    assert refused == {"refused"}
    assert {client.call() for client in clients} == {"ok"}
    with contextlib.closing(cluster.client()) as redis:
        assert redis.get("service-1:rollback:hold") is None
