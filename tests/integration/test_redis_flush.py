"""redis_flush on real servers: what goes, what stays, and what is said about it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.breaker_client import StartClient
from tests.module_runner import RunModule
from tests.real_servers import RedisServer
from tests.redis_topologies import RedisClusterServers

pytestmark = pytest.mark.integration

_MODES = [
    pytest.param({"patterns": ["*"]}, id="pattern"),
    pytest.param({"mode": "db"}, id="db"),
    pytest.param({"mode": "all"}, id="all"),
]


@pytest.fixture(params=["valkey_server", "redis_server", "cluster"])
def anywhere(request: pytest.FixtureRequest) -> RedisServer | RedisClusterServers:
    """Valkey, Redis, then a cluster, each emptied for this test."""
    server: RedisServer | RedisClusterServers = request.getfixturevalue(request.param)
    return server


def _fill(
    server: RedisServer | RedisClusterServers, pattern: str = "page:%d", n: int = 500
) -> None:
    with contextlib.closing(server.client()) as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(n):
            pipeline.set(pattern % number, "x" * 50)
        pipeline.execute()


def _keys(server: RedisServer | RedisClusterServers) -> set[bytes]:
    with contextlib.closing(server.client()) as client:
        return set(client.scan_iter(count=1000))


@pytest.mark.parametrize("options", _MODES)
def test_an_open_breaker_and_a_held_lock_survive_every_mode(
    anywhere: RedisServer | RedisClusterServers,
    run_module: RunModule,
    start_client: StartClient,
    options: dict[str, Any],
) -> None:
    _fill(anywhere)
    clustered = isinstance(anywhere, RedisClusterServers)
    port = anywhere.ports[0] if clustered else anywhere.port
    breaker = {**anywhere.login, "breakers": ["payments"], "state": "open"}
    run_module("circuit_breaker", breaker)
    with contextlib.closing(anywhere.client()) as client:
        client.set("rollback:lock:prod", "inc-1")
        client.hset("session:1", "user", "u")

    result = run_module("redis_flush", {**anywhere.login, **options})

    assert _keys(anywhere) == {
        b"payments:pybreaker:state",
        b"payments:pybreaker:opened_at",
        b"payments:pybreaker:fail_counter",
        b"payments:pybreaker:success_counter",
        b"payments:rollback:hold",
        b"rollback:lock:prod",
        b"session:1",
    }
    assert result["counts"] == [
        {
            "pattern": "*",
            "matched": 507,
            "removed": 500,
            "spared": 7,
            "excluded": 0,
            "written_meanwhile": 0,
        }
    ]
    assert (result["before"]["keys"], result["after"]["keys"]) == (507, 7)
    assert bool(result["why"]) == ("patterns" not in options)
    assert start_client(port, "payments", cluster=clustered).call() == "refused"


@pytest.mark.parametrize("options", _MODES)
def test_without_protected_keys_everything_goes_and_a_second_run_changes_nothing(
    anywhere: RedisServer | RedisClusterServers, run_module: RunModule, options: dict[str, Any]
) -> None:
    _fill(anywhere)

    predicted = run_module("redis_flush", {**anywhere.login, **options}, check=True)
    untouched = len(_keys(anywhere))
    done = run_module("redis_flush", {**anywhere.login, **options}, diff=True)
    again = run_module("redis_flush", {**anywhere.login, **options})

    assert untouched == 500
    assert _keys(anywhere) == set()
    assert (done["changed"], again["changed"], done["why"]) == (True, False, [])
    for key in ("changed", "before", "after", "counts", "spared", "why", "undo"):
        assert predicted[key] == done[key]
    assert done["diff"] == {"before": done["before"], "after": done["after"]}


def test_all_empties_every_database_and_db_only_one(
    any_server: RedisServer, run_module: RunModule
) -> None:
    for db in (0, 3, 9):
        any_server.client(db).set("a", "1")

    one = run_module("redis_flush", {**any_server.login, "mode": "db", "db": 3})
    left = [any_server.client(db).dbsize() for db in (0, 3, 9)]
    every = run_module("redis_flush", {**any_server.login, "mode": "all"})

    assert (one["before"]["keys"], left) == (1, [1, 0, 1])
    assert every["before"]["keys"] == 2
    assert [any_server.client(db).dbsize() for db in (0, 3, 9)] == [0, 0, 0]


def test_patterns_exclude_and_protect_decide_key_by_key(
    valkey_server: RedisServer, run_module: RunModule
) -> None:
    redis = valkey_server.client()
    for key in ("page:1", "page:2", "page:top", "page:cart:1", "price:1", "price:lock", "user:1"):
        redis.set(key, "1")

    result = run_module(
        "redis_flush",
        {
            **valkey_server.login,
            "patterns": ["page:*", "p[a-z]*", "none:*"],
            "exclude": ["page:to?"],
            "protect": ["*:cart:*"],
        },
    )

    assert _keys(valkey_server) == {b"page:top", b"page:cart:1", b"price:lock", b"user:1"}
    numbers = ("matched", "removed", "spared", "excluded")
    assert {c["pattern"]: tuple(c[n] for n in numbers) for c in result["counts"]} == {
        "page:*": (4, 2, 1, 1),
        "p[a-z]*": (2, 1, 1, 0),
        "none:*": (0, 0, 0, 0),
    }
    assert result["spared"] == {"*:cart:*": 1, "*:lock": 1}
    assert result["before"]["by_pattern"] == {"page:*": 4, "p[a-z]*": 2, "none:*": 0}
    assert result["after"]["by_pattern"] == {"page:*": 2, "p[a-z]*": 1, "none:*": 0}


def test_sessions_go_when_they_are_not_to_be_spared(
    valkey_server: RedisServer, run_module: RunModule
) -> None:
    redis = valkey_server.client()
    redis.mset({"session:1": "u", "lock:a": "1"})
    options = {**valkey_server.login, "patterns": ["session:*"]}

    spared = run_module("redis_flush", options)
    gone = run_module("redis_flush", {**options, "spare": ["breakers", "locks"]})

    assert not spared["changed"]
    assert "all 1 keys that match are protected" in str(spared["warnings"])
    assert gone["changed"]
    assert _keys(valkey_server) == {b"lock:a"}


def test_keys_of_every_type_and_any_bytes_go(
    any_server: RedisServer, run_module: RunModule
) -> None:
    redis = any_server.client()
    odd = [b"", b"\r\n", b"$3\r\nabc\r\n", b"*1\r\n", b"\x00\xff", "ü".encode(), b"a" * 70000]
    for key in odd:
        redis.set(b"odd:" + key, "1")
    redis.rpush("odd:list", *range(2000))
    redis.sadd("odd:set", *range(2000))
    redis.hset("odd:hash", mapping=dict.fromkeys(map(str, range(2000)), "1"))
    redis.xadd("odd:stream", {"a": "1"})

    result = run_module("redis_flush", {**any_server.login, "patterns": ["odd:*"]})

    assert result["counts"][0]["removed"] == len(odd) + 4
    assert redis.dbsize() == 0


def test_synchronous_flushes_remove_the_same(
    valkey_server: RedisServer, run_module: RunModule
) -> None:
    for options in ({"patterns": ["*"]}, {"mode": "db"}):
        _fill(valkey_server)
        result = run_module(
            "redis_flush", {**valkey_server.login, **options, "asynchronous": False}
        )
        assert result["counts"][0]["removed"] == 500
        assert _keys(valkey_server) == set()


_WRITER = """
import redis, sys
client = redis.Redis(port=int(sys.argv[1]))
number = 0
while True:
    client.set(f"page:new:{number}", "x")
    number += 1
    number == 1 and print("writing", flush=True)
"""


@contextlib.contextmanager
def _writing(server: RedisServer) -> Iterator[None]:
    """A client in a process of its own that goes on writing keys of the pattern."""
    arguments = [sys.executable, "-c", _WRITER, str(server.port)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        try:
            yield
        finally:
            writer.kill()


def test_keys_that_are_written_meanwhile_are_reported(
    valkey_server: RedisServer, run_module: RunModule
) -> None:
    _fill(valkey_server, n=50000)
    options = {**valkey_server.login, "patterns": ["page:*"], "max_stall_ms": 1}

    with _writing(valkey_server):
        result = run_module("redis_flush", options)

    assert result["counts"][0]["removed"] >= 50000
    assert result["written_meanwhile"] > 0
    assert result["after"]["keys"] >= result["written_meanwhile"]
    assert "were written while the flush ran" in str(result["warnings"])


def test_a_large_flush_takes_many_batches_and_removes_each_key_once(
    valkey_server: RedisServer, run_module: RunModule
) -> None:
    _fill(valkey_server, n=20000)
    _fill(valkey_server, "user:%d", n=20000)

    result = run_module(
        "redis_flush", {**valkey_server.login, "patterns": ["page:*"], "max_stall_ms": 1}
    )

    assert result["counts"][0]["removed"] == 20000
    assert result["longest_batch_ms"] > 0
    assert len(_keys(valkey_server)) == 20000
