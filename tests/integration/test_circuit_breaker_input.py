"""circuit_breaker when what it is given is wrong: one clear message, and nothing changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule
from tests.real_servers import RedisServer, free_port, start_valkey, stop

pytestmark = pytest.mark.integration

_PASSWORD = "a secret 'of\" ours"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"breakers": None}, "missing: breakers", id="no breakers"),
        pytest.param({"breakers": []}, "breakers is empty", id="empty"),
        pytest.param({"breakers": ["all", "a"]}, "'all' and other names", id="all and more"),
        pytest.param({"breakers": ["all"]}, "There is no breaker here", id="all of none"),
        pytest.param({"lease": 0}, "lease goes with state=open alone", id="lease of zero"),
        pytest.param({"lease": 1e12}, "lease goes with state=open alone", id="endless lease"),
        pytest.param({"state": "closed", "lease": 5}, "lease goes with", id="lease to close"),
        pytest.param({"settle": -1}, "settle must not be negative", id="negative settle"),
        pytest.param({"holder": ""}, "holder not empty", id="no holder"),
        pytest.param({"login_timeout": 0}, "login_timeout must be above 0", id="timeout"),
        pytest.param({"db": 4711}, "Correct db", id="database"),
        pytest.param({"login_password": _PASSWORD}, "Leave login_password out", id="password"),
        pytest.param({"sentinels": ["nonsense"]}, "sentinel_service", id="sentinel without name"),
        pytest.param(
            {"state": "restored", "breakers": None, "snapshot": {"a": 1}},
            "snapshot holds breakers by name",
            id="snapshot of numbers",
        ),
        pytest.param(
            {"state": "restored", "breakers": None, "snapshot": {"a": {"state": "open"}}},
            "is not what this module returned",
            id="snapshot without facts",
        ),
    ],
)
def test_circuit_breaker_with_bad_input_says_so_and_changes_nothing(
    valkey_server: RedisServer, run_module: RunModule, options: dict[str, Any], words: str
) -> None:
    given = {**valkey_server.login, "breakers": ["payments"], "state": "open", **options}

    result = run_module("circuit_breaker", {k: v for k, v in given.items() if v is not None})

    assert result["failed"]
    assert words in result["msg"]
    assert valkey_server.client().dbsize() == 0
    assert _PASSWORD not in json.dumps({**result, "exception": ""})


def test_circuit_breaker_with_keys_that_pybreaker_cannot_read_touches_none(
    valkey_server: RedisServer, run_module: RunModule
) -> None:
    redis = valkey_server.client()
    redis.mset({"good:pybreaker:state": "closed", "bad:pybreaker:opened_at": "yesterday"})
    redis.set("bad:pybreaker:state", "open")

    result = run_module(
        "circuit_breaker", {**valkey_server.login, "breakers": ["all"], "state": "open"}
    )

    assert "bad:pybreaker:opened_at holds b'yesterday'" in result["msg"]
    assert redis.get("good:pybreaker:state") == b"closed"


def test_circuit_breaker_with_a_key_of_another_type_touches_none(
    valkey_server: RedisServer, run_module: RunModule
) -> None:
    redis = valkey_server.client()
    redis.lpush("payments:pybreaker:state", "x")

    result = run_module(
        "circuit_breaker", {**valkey_server.login, "breakers": ["payments"], "state": "open"}
    )

    assert "WRONGTYPE" in result["msg"]
    assert redis.dbsize() == 1


def test_circuit_breaker_whose_user_may_not_write_says_so(
    valkey_server: RedisServer, run_module: RunModule
) -> None:
    redis = valkey_server.client()
    rules = "on nopass ~* +@read +@connection +time +multi +exec +watch +info"
    redis.execute_command("ACL", "SETUSER", "reader", *rules.split())

    result = run_module(
        "circuit_breaker",
        {
            **valkey_server.login,
            "login_user": "reader",
            "login_password": "any",
            "breakers": ["payments"],
            "state": "open",
        },
    )
    redis.acl_deluser("reader")

    assert "ACL does not allow" in result["msg"] or "NOPERM" in result["msg"]
    assert redis.dbsize() == 0


def test_circuit_breaker_warns_when_the_server_may_evict_breakers(
    tmp_path: Path, run_module: RunModule
) -> None:
    port = free_port()
    limits = ("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
    process = start_valkey(tmp_path, port, *limits)

    given = {"login_host": "127.0.0.1", "login_port": port, "breakers": ["a"], "state": "open"}
    result = run_module("circuit_breaker", given)
    stop(process)

    assert any("may evict breaker keys" in str(warning) for warning in result["warnings"])


def test_circuit_breaker_leaves_out_names_that_are_not_utf8_and_says_so(
    valkey_server: RedisServer, run_module: RunModule
) -> None:
    redis = valkey_server.client()
    redis.mset({b"a:pybreaker:state": b"closed", b"\xff\xfe:pybreaker:state": b"closed"})

    result = run_module(
        "circuit_breaker", {**valkey_server.login, "breakers": ["all"], "state": "open"}
    )

    assert list(result["after"]) == ["a"]
    assert any("not UTF-8" in str(warning) for warning in result["warnings"])
