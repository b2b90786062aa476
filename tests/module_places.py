"""A place for each module that acts in an emergency: options that work, and what is there.

A place is where one kind or provider of a module does its work: a server, a proxy, a file. Its
``seen`` is what others see there, to be compared before and after.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.actuator import StartActuator
from tests.gate_servers import http_app
from tests.proxies import Proxy
from tests.real_servers import PostgresServer, RedisServer, free_port, start_valkey, stop
from tests.unleash import ADMIN, CLIENT, Unleash

#: What no module may show. Shells, URLs and JSON each write it in another way.
SECRET = "c4n@ry p%ss/w:rd \"'\\"


@dataclass(frozen=True)
class Place:
    """``options`` make ``module`` change something; ``folder`` holds the files that it uses.

    ``files`` are those of them that it writes.
    """

    module: str
    options: dict[str, Any]
    seen: Callable[[], object]
    folder: Path
    files: list[Path] = field(default_factory=list)


@contextlib.contextmanager
def read_only(*paths: Path) -> Iterator[None]:
    """Nobody can change these files and folders, root neither."""
    modes = [path.stat().st_mode for path in paths]
    if os.geteuid() == 0 and subprocess.run(["chattr", "+i", *paths], check=False).returncode:
        pytest.skip("this file system keeps nothing from root")
    if os.geteuid() != 0:
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        if os.geteuid() == 0:
            subprocess.run(["chattr", "-i", *paths], check=True)
        else:
            for path, mode in zip(paths, modes, strict=True):
                path.chmod(mode)


@pytest.fixture(scope="session")
def guarded_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(free_port(), SECRET)
    process = start_valkey(
        tmp_path_factory.mktemp("guarded"), server.port, "--requirepass", server.password or ""
    )
    yield server
    stop(process)


@pytest.fixture
def guarded(guarded_process: RedisServer) -> RedisServer:
    """A Valkey with a password, and one key in it."""
    with contextlib.closing(guarded_process.client()) as client:
        client.flushall()
        client.set("page:1", "x")
    return guarded_process


def _keys(server: RedisServer) -> dict[bytes, Any]:
    with contextlib.closing(server.client()) as client:
        return {key: client.dump(key) for key in client.scan_iter()}


@pytest.fixture
def gate_place(tmp_path: Path) -> Iterator[Place]:
    """An application that is well. There is nothing that a gate could change."""
    with http_app() as app:
        options = {
            "checks": [{"name": "shop", "http": {"url": app.url()}}],
            "success_threshold": 1,
            "failure_threshold": 1,
            "timeout": 2,
            "deadline": 20,
        }
        yield Place("health_gate", options, lambda: None, tmp_path)


@pytest.fixture
def cache_place(guarded: RedisServer, tmp_path: Path) -> Place:
    options = {
        **guarded.login,
        "patterns": ["page:*"],
        "login_timeout": 2,
        "restore_point": str(tmp_path / "point"),
    }
    return Place("redis_flush", options, lambda: _keys(guarded), tmp_path)


@pytest.fixture
def pybreaker_place(guarded: RedisServer, tmp_path: Path) -> Place:
    options = {**guarded.login, "breakers": ["payments"], "state": "open", "login_timeout": 2}
    return Place("circuit_breaker", options, lambda: _keys(guarded), tmp_path)


@pytest.fixture
def resilience4j_place(start_actuator: StartActuator, tmp_path: Path) -> Place:
    actuator = start_actuator({"payments": "CLOSED"}, token=SECRET)
    options = {
        "provider": "resilience4j",
        "instances": [actuator.url],
        "bearer_token": SECRET,
        "breakers": ["payments"],
        "state": "open",
        "login_timeout": 2,
    }
    return Place("circuit_breaker", options, lambda: dict(actuator.states), tmp_path)


def _colours(proxy: Proxy) -> set[tuple[int, str]]:
    return {proxy.seen() for _each in range(8)}


@pytest.fixture
def haproxy_breaker_place(haproxy_proxy: Proxy) -> Place:
    options = {
        "provider": "haproxy",
        "haproxy_socket": haproxy_proxy.options["haproxy_socket"],
        "breakers": ["app/blue"],
        "state": "open",
        "login_timeout": 2,
    }
    folder = haproxy_proxy.root
    return Place("circuit_breaker", options, lambda: _colours(haproxy_proxy), folder)


@pytest.fixture
def flagd_place(tmp_path: Path) -> Place:
    on = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
    path = tmp_path / "flags.json"
    path.write_text(json.dumps({"flags": {"checkout": on}}), encoding="ascii")
    options = {
        "path": str(path),
        "flags": {"checkout": "off"},
        "restore_point": str(tmp_path / "point"),
    }
    return Place("feature_flag", options, path.read_bytes, tmp_path, [path])


@pytest.fixture
def launchdarkly_place(tmp_path: Path) -> Place:
    path = tmp_path / "flags.json"
    path.write_text(json.dumps({"flagValues": {"checkout": True}}), encoding="ascii")
    options = {
        "provider": "launchdarkly_file",
        "path": str(path),
        "flags": {"checkout": False},
        "restore_point": str(tmp_path / "point"),
    }
    return Place("feature_flag", options, path.read_bytes, tmp_path, [path])


@pytest.fixture
def unleash_place(unleash: Unleash, tmp_path: Path) -> Place:
    options = {
        "provider": "unleash",
        "url": unleash.url,
        "api_token": ADMIN,
        "client_token": CLIENT,
        "flags": {"checkout": False},
        "restore_point": str(tmp_path / "flags-point"),
        "timeout": 2,
    }
    return Place("feature_flag", options, lambda: list(unleash.changes), tmp_path)


@pytest.fixture
def nginx_place(proxy: Proxy) -> Place:
    """Users on green, to be kept out."""
    options = {**proxy.options, "timeout": 1, "state": "paused"}
    seen = lambda: (proxy.seen(), proxy.maintenance.read_bytes())  # noqa: E731
    return Place("traffic", options, seen, proxy.root, [proxy.maintenance])


@pytest.fixture
def haproxy_place(haproxy_proxy: Proxy) -> Place:
    """Users on both sides, to be kept out."""
    options = {**haproxy_proxy.options, "timeout": 1, "state": "paused"}
    state = haproxy_proxy.root / "server-state"
    state.touch()
    return Place("traffic", options, lambda: _colours(haproxy_proxy), haproxy_proxy.root, [state])


_LOCK = {"environment": "prod", "holder": "ann", "login_timeout": 2}


@pytest.fixture
def lock_file_place(tmp_path: Path) -> Place:
    folder = tmp_path / "locks"
    folder.mkdir()
    seen = lambda: sorted(path.name for path in folder.iterdir())  # noqa: E731
    return Place("environment_lock", {**_LOCK, "path": str(folder)}, seen, folder)


@pytest.fixture
def lock_redis_place(guarded: RedisServer, tmp_path: Path) -> Place:
    options = {**_LOCK, "backend": "redis", **guarded.login}
    return Place("environment_lock", options, lambda: _keys(guarded), tmp_path)


@pytest.fixture
def lock_postgres_place(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Place]:
    login = {name: value for name, value in postgres_server.login.items() if name != "bin_dir"}
    table = "rollback_environment_lock"

    def seen() -> object:
        with contextlib.closing(postgres_server.connect()) as connection:
            return connection.execute("SELECT to_regclass(%s)", [table]).fetchone()

    options = {**_LOCK, "backend": "postgres", **login}
    yield Place("environment_lock", options, seen, tmp_path)
    with contextlib.closing(postgres_server.connect()) as connection:
        connection.execute(f"DROP TABLE IF EXISTS {table}")
