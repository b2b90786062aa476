"""health_gate against real PostgreSQL and Valkey servers."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._probes import postgres
from ansible_collections.sre.rollback.plugins.module_utils._probes.base import Leash
from tests.gate_servers import ProbeOnce, probe_once, raw_server
from tests.module_runner import RunModule
from tests.real_servers import PostgresServer, RedisServer, free_port

__all__ = ["probe_once"]

pytestmark = pytest.mark.integration


@pytest.fixture
def login(postgres_server: PostgresServer) -> dict[str, Any]:
    options = dict(postgres_server.login)
    options.pop("bin_dir")
    return options


@pytest.mark.parametrize(
    ("options", "state", "error"),
    [
        pytest.param({}, "passed", None, id="it answers"),
        pytest.param({"query": "SELECT 3", "expected": 3}, "passed", None, id="equal"),
        pytest.param({"query": "SELECT 3", "expected": "3"}, "passed", None, id="equal as text"),
        pytest.param({"query": "SELECT 1.5", "min": 1, "max": 2}, "passed", None, id="numeric"),
        pytest.param({"query": "SELECT true", "expected": True}, "passed", None, id="boolean"),
        pytest.param({"query": "SELECT 'a-7'", "matches": "^a"}, "passed", None, id="matches"),
        pytest.param(
            {"query": "SELECT 4", "expected": 3},
            "failed",
            "the query's answer is '4', expected '3'",
            id="other value",
        ),
        pytest.param(
            {"query": "SELECT 1 WHERE false", "expected": 1},
            "failed",
            "the query returned no row",
            id="no row",
        ),
        pytest.param(
            {"query": "SELECT NULL", "min": 0}, "failed", "the query's answer is null", id="null"
        ),
        pytest.param(
            {"query": "SELECT 'NaN'::float8", "min": 0},
            "inconclusive",
            "the query's answer is not a number (NaN)",
            id="NaN",
        ),
        pytest.param(
            {"query": "SELEC 1", "expected": 1},
            "failed",
            'syntax error at or near "SELEC"',
            id="bad SQL",
        ),
        pytest.param(
            {"query": "CREATE TABLE gate_was_here ()", "expected": 1},
            "failed",
            "cannot execute CREATE TABLE in a read-only transaction",
            id="writing",
        ),
        pytest.param(
            {"query": "SET work_mem = '4MB'", "expected": 1},
            "failed",
            "the query returns no rows by its nature; ask with SELECT",
            id="no result",
        ),
        pytest.param(
            {"database": "no_such_database"},
            "failed",
            'database "no_such_database" does not exist',
            id="no database",
        ),
    ],
)
def test_postgres_answer_is_judged(
    login: dict[str, Any],
    probe_once: ProbeOnce,
    options: dict[str, Any],
    state: str,
    error: str | None,
) -> None:
    check = probe_once("postgres", **login, **options)
    assert check["state"] == state
    assert error is None or error in check["last_error"]


def test_postgres_with_a_wrong_password_fails_without_showing_it(
    login: dict[str, Any], run_module: RunModule
) -> None:
    check = {"name": "db", "postgres": {**login, "login_password": "wrong-pass-word"}}
    args = {"checks": [check], "failure_threshold": 1, "timeout": 10}
    result = run_module("health_gate", args)
    assert "password authentication failed" in result["msg"]
    assert "wrong-pass-word" not in str(result)


def test_postgres_query_that_takes_too_long_is_a_failure_in_time_and_ends_on_the_server(
    postgres_server: PostgresServer, login: dict[str, Any], probe_once: ProbeOnce
) -> None:
    mark = f"gate-{uuid.uuid4()}"
    check = probe_once(
        "postgres",
        timeout=0.5,
        **login,
        query=f"SELECT 1 FROM pg_sleep(60) -- {mark}",
        expected=1,
    )
    assert check["last_error"] == "no answer within 0.5 s"
    with postgres_server.connect() as connection:
        for _attempt in range(200):
            count = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
                "AND pid <> pg_backend_pid() AND query LIKE %s",
                [f"%{mark}"],
            ).fetchone()
            if count == (0,):
                return
            connection.execute("SELECT pg_sleep(0.05)")
    pytest.fail("the query is still running")


def test_postgres_connection_that_is_lost_when_its_time_is_up_does_not_end_the_gate(
    postgres_server: PostgresServer,
) -> None:
    leash = Leash(60)
    connection = postgres_server.connect()
    with leash.on_expiry(lambda: postgres._cut(connection)):
        connection.close()
        leash.expire()
    assert leash.overdue


def test_postgres_server_that_is_silent_is_a_failure_in_time(probe_once: ProbeOnce) -> None:
    def listen_only(connection: Any) -> None:
        while connection.recv(1024):
            pass

    with raw_server(listen_only) as port:
        check = probe_once("postgres", timeout=0.3, login_host="127.0.0.1", login_port=port)
    assert check["last_error"] == "no answer within 0.3 s"


def test_postgres_where_nobody_listens_fails(probe_once: ProbeOnce) -> None:
    check = probe_once("postgres", login_host="127.0.0.1", login_port=free_port())
    assert "Connection refused" in check["last_error"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        pytest.param({}, None, id="it answers"),
        pytest.param({"info": [{"field": "role", "expected": "master"}]}, None, id="field"),
        pytest.param(
            {"info": [{"field": "role", "expected": "slave"}]},
            "role is 'master', expected 'slave'",
            id="other role",
        ),
        pytest.param(
            {"info": [{"field": "connected_clients", "max": 0}]}, "above 0", id="too many"
        ),
        pytest.param(
            {"info": [{"field": "rdb_last_bgsave_status", "matches": "^ok$"}]}, None, id="matches"
        ),
        pytest.param({"info": [{"field": "flux"}]}, "INFO has no field flux", id="no field"),
        pytest.param({"db": 99}, "does not have that database", id="no database"),
    ],
)
def test_redis_answer_is_judged(
    valkey_server: RedisServer, probe_once: ProbeOnce, options: dict[str, Any], error: str | None
) -> None:
    check = probe_once("redis", **valkey_server.login, **options)
    if error is None:
        assert check["state"] == "passed", check["last_error"]
    else:
        assert error in check["last_error"]


@pytest.fixture
def acl_user(valkey_server: RedisServer) -> Iterator[str]:
    client = valkey_server.client()
    client.execute_command("ACL", "SETUSER", "monitor", "on", ">right", "+ping", "+info")
    yield "monitor"
    client.execute_command("ACL", "DELUSER", "monitor")


def test_redis_user_with_few_rights_can_probe_and_a_wrong_password_fails(
    valkey_server: RedisServer, acl_user: str, probe_once: ProbeOnce
) -> None:
    as_user = {**valkey_server.login, "login_user": acl_user}
    fields = [{"field": "loading", "expected": 0}]
    right = probe_once("redis", **as_user, login_password="right", info=fields)
    wrong = probe_once("redis", **as_user, login_password="not-the-word")
    assert right["state"] == "passed", right["last_error"]
    assert "refused the password of user 'monitor'" in wrong["last_error"]
    assert "not-the-word" not in str(wrong)


def test_redis_that_is_paused_is_a_failure_in_time(
    valkey_server: RedisServer, probe_once: ProbeOnce
) -> None:
    client = valkey_server.client()
    client.execute_command("CLIENT", "PAUSE", 1000, "ALL")
    check = probe_once("redis", timeout=0.2, **valkey_server.login)
    # Answers when the pause is over, so that it does not meet the next test.
    client.ping()
    assert check["state"] == "failed"
    assert check["last_error"] == "no answer within 0.2 s"


def test_redis_server_that_sends_one_byte_a_moment_is_a_failure_in_time(
    probe_once: ProbeOnce,
) -> None:
    def trickle(connection: Any) -> None:
        connection.sendall(b"+")
        while True:
            connection.sendall(b"x")
            threading.Event().wait(0.02)

    with raw_server(trickle) as port:
        check = probe_once("redis", timeout=0.4, login_host="127.0.0.1", login_port=port)
    assert check["last_error"] == "no answer within 0.4 s"
