"""Servers that health_gate is pointed at: well-behaved ones, and ones that misbehave on purpose."""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.module_runner import RunModule

Handler = http.server.BaseHTTPRequestHandler


@dataclass
class HttpApp:
    """An HTTP server. What it answers is the test's ``answer``, which may be replaced."""

    server: http.server.ThreadingHTTPServer
    scheme: str = "http"
    answer: Callable[[Handler], None] = lambda request: reply(request, 200)
    requests: list[Handler] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def url(self, path: str = "/") -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"


def reply(
    request: Handler, status: int, body: str = "", headers: dict[str, str] | None = None
) -> None:
    """Answer with a status, headers and a body."""
    data = body.encode()
    request.send_response(status)
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    with contextlib.suppress(OSError):
        request.wfile.write(data)


class _QuietServer(http.server.ThreadingHTTPServer):
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is nothing to report."""


@contextlib.contextmanager
def http_app(tls: ssl.SSLContext | None = None, unix_socket: Path | None = None) -> Iterator[Any]:
    """An :class:`HttpApp` on a free loopback port, or on a Unix socket."""

    class Dispatch(Handler):
        def handle_any(self) -> None:
            app.requests.append(self)
            app.answer(self)

        do_GET = do_POST = do_HEAD = do_PUT = handle_any

        def log_message(self, *_args: Any) -> None:
            return

        def address_string(self) -> str:
            return "client"

    if unix_socket is None:
        server = _QuietServer(("127.0.0.1", 0), Dispatch)
    else:
        server = _unix_server(unix_socket, Dispatch)
    if tls is not None:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    app = HttpApp(server, "http" if tls is None else "https")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield app
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _unix_server(path: Path, handler: type[Handler]) -> Any:
    class UnixServer(_QuietServer):
        address_family = socket.AF_UNIX

        def server_bind(self) -> None:
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = "docker", 0

    return UnixServer(str(path), handler)  # type: ignore[arg-type]


@pytest.fixture
def app() -> Iterator[HttpApp]:
    """An HTTP server that answers 200 until the test wants something else."""
    with http_app() as running:
        yield running


@contextlib.contextmanager
def raw_server(converse: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a TCP server that hands each connection to ``converse`` in a thread."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        ended = threading.Event()
        accepted: list[socket.socket] = []

        def serve() -> None:
            while not ended.is_set():
                try:
                    connection, _address = listener.accept()
                except OSError:
                    return
                accepted.append(connection)
                threading.Thread(target=talk, args=[connection], daemon=True).start()

        def talk(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                converse(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            ended.set()
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            for connection in accepted:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
            thread.join(5)


@dataclass(frozen=True)
class Authority:
    """A certificate authority that issues certificates into a folder."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def ca_cert(self) -> str:
        return str(self.folder / "ca.pem")

    def issue(self, name: str, *, days: float = 30) -> tuple[str, str]:
        """Certificate and key files for a host name or address."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _signed(name, key, self.certificate.subject, self.key, days=days)
        stem = f"{name}-{certificate.serial_number}"
        chain, private = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(_private_bytes(key))
        return str(chain), str(private)

    def server_context(self, name: str, *, days: float = 30) -> ssl.SSLContext:
        """A context that shows a certificate for ``name``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(name, days=days))
        return context


def _private_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    days: float,
    authority: bool = False,
) -> x509.Certificate:
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    ends = datetime.now(UTC) + timedelta(days=days)
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=3650))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(_key_usage(authority), critical=True)
        .add_extension(key_id, critical=False)
        .add_extension(issuer_id, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _key_usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority for the whole session."""
    folder = tmp_path_factory.mktemp("authority")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _signed(
        "Test authority", key, _subject("Test authority"), key, days=300, authority=True
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(folder, key, certificate)


ProbeOnce = Callable[..., dict[str, Any]]


@pytest.fixture
def probe_once(run_module: RunModule) -> ProbeOnce:
    """The result of one check after a single probe: its state, and why it is not healthy."""

    def probe(kind: str, *, timeout: float = 5, **options: Any) -> dict[str, Any]:
        result = run_module(
            "health_gate",
            {
                "checks": [{"name": "the check", kind: options}],
                "success_threshold": 1,
                "failure_threshold": 1,
                "timeout": timeout,
                "deadline": 60,
            },
        )
        assert "checks" in result, result["msg"]
        check: dict[str, Any] = result["checks"][0]
        assert check["attempts"] == 1
        return check

    return probe
