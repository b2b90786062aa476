"""health_gate and certificates: over HTTPS, by themselves, and in files."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gate_servers import (
    Authority,
    HttpApp,
    ProbeOnce,
    app,
    authority,
    http_app,
    probe_once,
    raw_server,
)

__all__ = ["app", "authority", "probe_once"]

pytestmark = pytest.mark.integration


@contextlib.contextmanager
def tls_app(authority: Authority, name: str, days: float = 30) -> Iterator[HttpApp]:
    with http_app(authority.server_context(name, days=days)) as running:
        yield running


def test_https_with_a_trusted_certificate_passes(
    authority: Authority, probe_once: ProbeOnce
) -> None:
    with tls_app(authority, "127.0.0.1") as app:
        check = probe_once("http", url=app.url(), ca_cert=authority.ca_cert)
        assert check["state"] == "passed", check["last_error"]


@pytest.mark.parametrize(
    ("name", "days", "trusted", "error"),
    [
        pytest.param("127.0.0.1", 30, False, "is not trusted: ", id="unknown authority"),
        pytest.param("127.0.0.1", -1, True, "certificate has expired", id="expired"),
        pytest.param("other.example", 30, True, "not valid for '127.0.0.1'", id="other name"),
    ],
)
def test_https_with_a_certificate_not_to_be_trusted_fails_unless_told_not_to_care(
    authority: Authority, probe_once: ProbeOnce, name: str, days: float, trusted: bool, error: str
) -> None:
    ca_cert = {"ca_cert": authority.ca_cert} if trusted else {}
    with tls_app(authority, name, days) as app:
        assert error in probe_once("http", url=app.url(), **ca_cert)["last_error"]
        check = probe_once("http", url=app.url(), validate_certs=False)
        assert check["state"] == "passed", check["last_error"]


def test_https_with_a_client_certificate_shows_it(
    authority: Authority, probe_once: ProbeOnce
) -> None:
    context = authority.server_context("127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca_cert)
    certificate, key = authority.issue("monitor.example")
    with http_app(context) as app:
        with_certificate = probe_once(
            "http",
            url=app.url(),
            ca_cert=authority.ca_cert,
            client_cert=certificate,
            client_key=key,
        )
        without = probe_once("http", url=app.url(), ca_cert=authority.ca_cert)
    assert with_certificate["state"] == "passed", with_certificate["last_error"]
    assert without["state"] == "failed"


def test_https_to_a_server_without_tls_says_so(app: HttpApp, probe_once: ProbeOnce) -> None:
    check = probe_once("http", url=app.url().replace("http:", "https:"), validate_certs=False)
    assert check["state"] == "failed"
    assert "TLS with" in check["last_error"]


def test_https_server_that_never_shakes_hands_is_a_failure_in_time(probe_once: ProbeOnce) -> None:
    with raw_server(lambda _connection: threading.Event().wait(30) and None) as port:
        check = probe_once(
            "http", timeout=0.3, url=f"https://127.0.0.1:{port}/", validate_certs=False
        )
    assert check["last_error"] == "no answer within 0.3 s"


def test_https_server_that_trickles_after_the_handshake_is_a_failure_in_time(
    authority: Authority, probe_once: ProbeOnce
) -> None:
    context = authority.server_context("127.0.0.1")

    def trickle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(4096)
            secure.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                secure.sendall(b"x")
                threading.Event().wait(0.01)

    with raw_server(trickle) as port:
        check = probe_once(
            "http", timeout=0.5, url=f"https://127.0.0.1:{port}/", ca_cert=authority.ca_cert
        )
    assert check["last_error"] == "no answer within 0.5 s"


def test_tls_certificate_of_a_server_is_judged(authority: Authority, probe_once: ProbeOnce) -> None:
    certificate, key = authority.issue("127.0.0.1", days=20)
    _other, other_key = authority.issue("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http_app(context) as app:
        at = {"host": "127.0.0.1", "port": app.port, "ca_cert": authority.ca_cert}
        assert probe_once("tls", **at, min_days_left=10, private_key=key)["last_error"] is None
        days = probe_once("tls", **at, min_days_left=30)["last_error"]
        key_error = probe_once("tls", **at, private_key=other_key)["last_error"]
        name = probe_once("tls", **at, server_name="shop.example")["last_error"]
        missing = probe_once("tls", **at, private_key="/nonexistent")["last_error"]
    assert "the certificate ends in 20.0 days" in days
    assert key_error == f"the certificate does not belong to the key {other_key}"
    assert "not valid for 'shop.example'" in name
    assert "cannot be read: No such file or directory" in missing


def test_tls_certificate_in_files_is_judged_before_any_server_has_it(
    authority: Authority, probe_once: ProbeOnce
) -> None:
    certificate, key = authority.issue("shop.example", days=20)
    _other, other_key = authority.issue("shop.example")
    expired, expired_key = authority.issue("shop.example", days=-1)

    def error(**options: Any) -> str | None:
        found: str | None = probe_once(
            "tls",
            **{
                "certificate": certificate,
                "private_key": key,
                "server_name": "shop.example",
                "ca_cert": authority.ca_cert,
                **options,
            },
        )["last_error"]
        return found

    assert error() is None
    assert "does not belong to the key" in str(error(private_key=other_key))
    assert "has expired" in str(error(certificate=expired, private_key=expired_key))
    assert "not valid for 'api.example'" in str(error(server_name="api.example"))
    assert "ends in 20.0 days" in str(error(min_days_left=21))
    assert "cannot be read" in str(error(certificate=key))
