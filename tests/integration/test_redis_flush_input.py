"""redis_flush when it may not, or is asked for nonsense: refused, and nothing is removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule, start_module
from tests.real_servers import RedisServer, free_port, start_valkey, stop
from tests.redis_topologies import wait_until

pytestmark = pytest.mark.integration

_PASSWORD = "a secret 'of\" ours"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"patterns": []}, "mode=pattern needs patterns", id="no pattern"),
        pytest.param({"mode": "db"}, "the other modes take none", id="db with patterns"),
        pytest.param({"patterns": [""]}, "A pattern is empty", id="empty pattern"),
        pytest.param({"exclude": [""]}, "A pattern is empty", id="empty exclusion"),
        pytest.param({"max_stall_ms": 0}, "max_stall_ms", id="no time"),
        pytest.param(
            {"restore_point": "/tmp/x", "restore_point_max_bytes": 0}, "above 0", id="max"
        ),
        pytest.param({"db": 16}, "Correct db", id="database"),
        pytest.param({"state": "restored"}, "restore_point", id="restored from nothing"),
        pytest.param(
            {"state": "restored", "restore_point": "/no/file"}, "cannot be read", id="no file"
        ),
    ],
)
def test_redis_flush_with_bad_input_says_so_and_removes_nothing(
    valkey_server: RedisServer, run_module: RunModule, options: dict[str, Any], words: str
) -> None:
    valkey_server.client().set("page:1", "x")

    result = run_module("redis_flush", {**valkey_server.login, "patterns": ["*"], **options})

    assert result["failed"]
    assert words in result["msg"]
    assert valkey_server.client().exists("page:1")


def _allow(server: RedisServer, rules: str) -> dict[str, Any]:
    """The login of a new user with these rules."""
    server.client().execute_command("ACL", "SETUSER", "op", "reset", "on", ">pw", *rules.split())
    return {**server.login, "login_user": "op", "login_password": "pw"}


@pytest.mark.parametrize(
    ("rules", "options", "words"),
    [
        pytest.param("~* +ping +select", {}, "refuses SCAN, DBSIZE, UNLINK", id="commands"),
        pytest.param("~user:* +@all", {}, "refuses UNLINK for user 'op'", id="keys"),
        pytest.param("~* +@all -unlink", {}, "refuses UNLINK for user 'op'", id="one command"),
        pytest.param(
            "~* +@all -dump", {"restore_point": "/tmp/never"}, "refuses DUMP", id="restore point"
        ),
        pytest.param("~* +@all -ping", {}, "Extend the ACL", id="connecting"),
        pytest.param(
            "~* +@all -info", {"mode": "all", "patterns": []}, "ACL does not allow", id="databases"
        ),
    ],
)
def test_redis_flush_whose_user_may_not_names_what_is_missing(
    guarded: RedisServer, run_module: RunModule, rules: str, options: dict[str, Any], words: str
) -> None:
    login = _allow(guarded, rules)

    result = run_module("redis_flush", {**login, "patterns": ["page:*"], **options})

    assert words in result["msg"]
    assert "Nothing was changed" in result["msg"]
    assert guarded.client().exists("page:1")
    assert not Path("/tmp/never").exists()


@pytest.mark.parametrize("asynchronous", [True, False])
def test_redis_flush_with_the_least_rights_works(
    guarded: RedisServer, run_module: RunModule, asynchronous: bool
) -> None:
    verb = "+unlink" if asynchronous else "+del"
    login = _allow(guarded, f"~page:* +ping +select +scan +dbsize {verb}")
    options = {"patterns": ["page:*"], "asynchronous": asynchronous}

    result = run_module("redis_flush", {**login, **options})

    assert result["counts"][0]["removed"] == 1
    assert guarded.client().dbsize() == 0


def test_redis_flush_without_the_right_to_flush_removes_key_by_key(
    guarded: RedisServer, run_module: RunModule
) -> None:
    login = _allow(guarded, "~* +@all -flushdb")

    result = run_module("redis_flush", {**login, "mode": "db"})

    assert "does not allow FLUSHDB" in result["why"][0]
    assert guarded.client().dbsize() == 0


def test_redis_flush_on_a_server_without_flushdb_removes_key_by_key(
    tmp_path: Path, run_module: RunModule
) -> None:
    server = RedisServer(free_port())
    process = start_valkey(tmp_path, server.port, "--rename-command", "FLUSHDB", "")
    server.client().set("page:1", "x")

    result = run_module("redis_flush", {**server.login, "mode": "all"})
    left = server.client().dbsize()
    stop(process)

    assert "does not allow FLUSHDB" in result["why"][0]
    assert left == 0


def test_redis_flush_on_a_server_that_cannot_save_is_refused(
    tmp_path: Path, run_module: RunModule
) -> None:
    server = RedisServer(free_port())
    process = start_valkey(tmp_path, server.port, "--min-replicas-to-write", "1")

    result = run_module("redis_flush", {**server.login, "patterns": ["page:*"]})
    stop(process)

    assert "NOREPLICAS" in result["msg"]
    assert "Nothing was changed" in result["msg"]


def test_redis_flush_whose_server_dies_says_what_was_left(tmp_path: Path) -> None:
    server = RedisServer(free_port())
    process = start_valkey(tmp_path, server.port)
    client = server.client()
    client.mset({f"page:{number}": "x" for number in range(100000)})
    options = {**server.login, "patterns": ["page:*"], "max_stall_ms": 1, "login_timeout": 2}
    flushing = start_module("redis_flush", options)
    wait_until(lambda: client.dbsize() < 99000)
    process.kill()
    process.wait()
    result = json.loads(flushing.communicate()[0])

    assert "Some keys are removed, some not" in result["msg"]
    assert "again" in result["msg"]
