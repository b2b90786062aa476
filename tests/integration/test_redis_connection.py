"""Reaching Redis: TLS, Sentinels, clusters, and what is said when it cannot be reached."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule
from tests.real_servers import RedisServer, free_port, start_valkey, stop
from tests.redis_topologies import (
    Certificates,
    RedisClusterServers,
    make_certificates,
    start_sentinel,
    tls_front,
    wait_until,
)

pytestmark = pytest.mark.integration

_FLUSH = {"patterns": ["page:*"]}


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


def test_tls_with_a_trusted_certificate_works(
    valkey_server: RedisServer, run_module: RunModule, certificates: Certificates
) -> None:
    valkey_server.client().mset({f"page:{number}": "x" for number in range(20000)})
    options = {"login_host": "127.0.0.1", "tls": True, "ca_certs": str(certificates.authority)}

    with tls_front(certificates, valkey_server.port) as port:
        result = run_module("redis_flush", {**options, "login_port": port, **_FLUSH})

    assert result["counts"][0]["removed"] == 20000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"tls": True}, "cannot be trusted", id="unknown authority"),
        pytest.param(
            {"tls": True, "login_host": "localhost", "own_authority": True},
            "cannot be trusted",
            id="another host",
        ),
        pytest.param({"tls": True, "ca_certs": "/no.pem"}, "does not exist", id="no file"),
        pytest.param({"login_timeout": 1}, "Nothing was changed", id="no TLS"),
    ],
)
def test_tls_that_does_not_fit_is_refused_with_the_reason(
    valkey_server: RedisServer,
    run_module: RunModule,
    certificates: Certificates,
    options: dict[str, Any],
    words: str,
) -> None:
    valkey_server.client().set("page:1", "x")
    given = dict(options)
    if given.pop("own_authority", False):
        given["ca_certs"] = str(certificates.authority)

    with tls_front(certificates, valkey_server.port) as port:
        login = {"login_host": "127.0.0.1", "login_port": port}
        result = run_module("redis_flush", {**login, **_FLUSH, **given})

    assert words in result["msg"]
    assert valkey_server.client().exists("page:1")


def test_tls_without_validation_works_when_asked_for(
    valkey_server: RedisServer, run_module: RunModule, certificates: Certificates
) -> None:
    with tls_front(certificates, valkey_server.port) as port:
        login = {"login_host": "localhost", "login_port": port, "tls": True}
        result = run_module("redis_flush", {**login, "validate_certs": False, **_FLUSH})

    assert "failed" not in result


@contextlib.contextmanager
def _talking(first_words: bytes) -> Iterator[int]:
    """A port on which something else answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _address = listener.accept()
                    with connection:
                        connection.recv(4096)
                        connection.sendall(first_words)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "Redis protocol", id="HTTP"),
        pytest.param(b"", "closed the connection at once", id="nothing"),
        pytest.param(b"-LOADING Redis is loading\r\n", "still loading", id="loading"),
    ],
)
def test_a_port_on_which_no_ready_redis_listens_is_named(
    run_module: RunModule, words: bytes, expected: str
) -> None:
    with _talking(words) as port:
        login = {"login_host": "127.0.0.1", "login_port": port, "login_timeout": 1}
        result = run_module("redis_flush", {**login, **_FLUSH})

    assert expected in result["msg"]
    assert "Nothing was changed" in result["msg"]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer, int]]:
    """A primary, its replica, and the port of a Sentinel that watches them as ``cache``."""
    processes: list[subprocess.Popen[bytes]] = []
    primary, replica = RedisServer(free_port()), RedisServer(free_port())
    at_once = ("--repl-diskless-sync-delay", "0")
    processes.append(start_valkey(tmp_path, primary.port, *at_once))
    follow = ("--replicaof", f"127.0.0.1 {primary.port}")
    processes.append(start_valkey(tmp_path, replica.port, *follow))
    wait_until(lambda: replica.client().info("replication")["master_link_status"] == "up")
    sentinel, process = start_sentinel(tmp_path, primary.port)
    processes.append(process)
    yield primary, replica, sentinel
    for each in processes:
        stop(each)


def test_sentinels_name_the_primary(
    watched: tuple[RedisServer, RedisServer, int], run_module: RunModule
) -> None:
    primary, replica, sentinel = watched
    primary.client().set("page:1", "x")
    options = {
        "sentinels": [f"127.0.0.1:{free_port()}", f"127.0.0.1:{sentinel}"],
        "sentinel_service": "cache",
    }

    result = run_module("redis_flush", {**options, **_FLUSH})

    assert result["counts"][0]["removed"] == 1
    wait_until(lambda: replica.client().dbsize() == 0)


def test_sentinels_that_do_not_know_the_service_say_what_they_watch(
    watched: tuple[RedisServer, RedisServer, int], run_module: RunModule
) -> None:
    _primary, _replica, sentinel = watched
    options = {"sentinels": [f"127.0.0.1:{sentinel}"], "sentinel_service": "sessions"}

    result = run_module("redis_flush", {**options, **_FLUSH})

    assert "No Sentinel knows a healthy primary of 'sessions'" in result["msg"]
    assert "watches cache" in result["msg"]


def test_a_replica_is_refused_before_anything_changes(
    watched: tuple[RedisServer, RedisServer, int], run_module: RunModule
) -> None:
    _primary, replica, _sentinel = watched
    breaker = {**replica.login, "breakers": ["a"], "state": "open"}

    flushed = run_module("redis_flush", {**replica.login, **_FLUSH})
    opened = run_module("circuit_breaker", breaker)

    for result in (flushed, opened):
        assert "is a replica" in result["msg"]
        assert "primary" in result["msg"]


def test_a_cluster_without_all_slots_is_refused(tmp_path: Path, run_module: RunModule) -> None:
    port, bus = free_port(), free_port()
    enabled = ("--cluster-enabled", "yes", "--cluster-port", str(bus))
    process = start_valkey(tmp_path, port, *enabled)

    result = run_module("redis_flush", {"login_host": "127.0.0.1", "login_port": port, **_FLUSH})
    stop(process)

    assert "the cluster cannot be used" in result["msg"]


def test_cluster_never_takes_one_node_alone(
    cluster: RedisClusterServers, run_module: RunModule
) -> None:
    nodes = [RedisServer(port).client() for port in cluster.ports]
    with contextlib.closing(cluster.client()) as client:
        for number in range(100):
            client.set(f"page:{number}", "x")
    own, *others = [node.dbsize() for node in nodes]

    result = run_module("redis_flush", {**cluster.login, **_FLUSH, "cluster": "never"})

    assert result["counts"][0]["removed"] == own
    assert [node.dbsize() for node in nodes] == [0, *others]


def test_a_cluster_has_no_other_database(
    cluster: RedisClusterServers, run_module: RunModule
) -> None:
    breaker = {**cluster.login, "breakers": ["a"], "state": "open", "db": 2}

    result = run_module("circuit_breaker", breaker)

    assert "Correct db. Nothing was changed" in result["msg"]
