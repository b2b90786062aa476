"""health_gate over HTTP and TLS: what a service may answer, and how one can misbehave."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.gate_servers import (
    Handler,
    HttpApp,
    ProbeOnce,
    app,
    authority,
    http_app,
    probe_once,
    raw_server,
    reply,
)

__all__ = ["app", "authority", "probe_once"]

pytestmark = pytest.mark.integration

JSON_BODY = '{"status": "ok", "queue": [{"depth": 3}], "ratio": NaN, "none": null}'


@pytest.mark.parametrize(
    ("options", "error"),
    [
        pytest.param({}, None, id="200"),
        pytest.param({"status": [204, 201]}, "HTTP status 200, expected 204 or 201", id="status"),
        pytest.param({"response_headers": {"x-release": r"^v1\."}}, None, id="header"),
        pytest.param(
            {"response_headers": {"X-Release": "v2"}},
            "the header X-Release does not match 'v2'",
            id="other header",
        ),
        pytest.param(
            {"response_headers": {"X-Nothing": "."}}, "the answer has no header X-Nothing", id="no"
        ),
        pytest.param({"text": r'"status":\s*"ok"'}, None, id="text"),
        pytest.param({"text": "maintenance"}, "the answer does not contain 'maintenance'", id="tx"),
        pytest.param({"json": [{"path": "status", "expected": "ok"}]}, None, id="JSON"),
        pytest.param(
            {"json": [{"path": "queue[0].depth", "max": 2}]},
            "queue[0].depth is 3, above 2",
            id="JSON above",
        ),
        pytest.param({"json": [{"path": "none"}]}, "none is null", id="JSON null"),
        pytest.param(
            {"json": [{"path": "workers"}]}, "the answer has no workers", id="JSON nothing"
        ),
        pytest.param(
            {"json": [{"path": "ratio", "min": 0}]}, "ratio is not a number (NaN)", id="n"
        ),
        pytest.param({"max_latency": 30}, None, id="quick enough"),
    ],
)
def test_http_answer_is_judged(
    app: HttpApp, probe_once: ProbeOnce, options: dict[str, Any], error: str | None
) -> None:
    app.answer = lambda request: reply(request, 200, JSON_BODY, {"X-Release": "v1.4"})
    check = probe_once("http", url=app.url("/health?full=1"), **options)
    assert check["last_error"] == error
    assert (check["state"] == "passed") == (error is None)


def test_http_answer_that_takes_longer_than_max_latency_fails(
    app: HttpApp, probe_once: ProbeOnce
) -> None:
    def slowly(request: Handler) -> None:
        threading.Event().wait(0.2)
        reply(request, 200)

    app.answer = slowly
    check = probe_once("http", url=app.url(), max_latency=0.1)
    assert check["last_error"].endswith("allowed are 0.1 s")


def test_http_request_is_sent_as_asked(app: HttpApp, probe_once: ProbeOnce) -> None:
    seen: dict[str, Any] = {}

    def remember(request: Handler) -> None:
        length = int(request.headers["Content-Length"])
        seen.update(
            path=request.path,
            method=request.command,
            body=request.rfile.read(length),
            headers=dict(request.headers),
        )
        reply(request, 201)

    app.answer = remember
    check = probe_once(
        "http",
        url=f"http://me:p%40ss@127.0.0.1:{app.port}/orders?a=b%20c",
        method="POST",
        body={"item": 1},
        headers={"Host": "shop.example", "X-Trace": "7"},
        status=[201],
    )
    assert check["state"] == "passed"
    assert (seen["method"], seen["path"], seen["body"]) == (
        "POST",
        "/orders?a=b%20c",
        b'{"item": 1}',
    )
    assert seen["headers"]["Host"] == "shop.example"
    assert seen["headers"]["X-Trace"] == "7"
    assert seen["headers"]["Content-Type"] == "application/json"
    assert seen["headers"]["Authorization"] == "Basic bWU6cEBzcw=="


def test_http_redirect_is_an_answer_like_any_other_unless_followed(
    app: HttpApp, probe_once: ProbeOnce
) -> None:
    app.answer = lambda request: (
        reply(request, 302, headers={"Location": "/there"})
        if request.path == "/"
        else reply(request, 200)
    )
    assert probe_once("http", url=app.url())["last_error"] == "HTTP status 302, expected 200"
    assert probe_once("http", url=app.url(), follow_redirects=True)["state"] == "passed"


def test_http_redirect_to_another_server_takes_no_credentials_along(
    app: HttpApp, probe_once: ProbeOnce
) -> None:
    with http_app() as other:
        app.answer = lambda request: reply(
            request, 307, headers={"Location": f"http://localhost:{other.port}/"}
        )
        check = probe_once(
            "http",
            url=app.url(),
            follow_redirects=True,
            bearer_token="a-secret-token",
            headers={"Cookie": "sid=secret-cookie", "X-Kept": "yes"},
        )
        assert check["state"] == "passed"
        headers = other.requests[0].headers
        assert (headers["Authorization"], headers["Cookie"]) == (None, None)
        assert headers["X-Kept"] == "yes"
    assert app.requests[0].headers["Authorization"] == "Bearer a-secret-token"


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("/", "more than 5 redirects"),
        ("ftp://127.0.0.1/", "redirects to a place that cannot be asked"),
        ("http://[::bad/", "redirects to a place that cannot be asked"),
    ],
)
def test_http_redirect_that_leads_nowhere_fails(
    app: HttpApp, probe_once: ProbeOnce, target: str, error: str
) -> None:
    app.answer = lambda request: reply(request, 301, headers={"Location": target})
    check = probe_once("http", url=app.url(), follow_redirects=True)
    assert check["last_error"].startswith(error)


def test_http_over_a_unix_socket_is_asked_there(tmp_path: Path, probe_once: ProbeOnce) -> None:
    with http_app(unix_socket=tmp_path / "s") as served:
        check = probe_once("http", url="http://app/health", unix_socket=str(tmp_path / "s"))
        assert check["state"] == "passed"
        assert served.requests[0].headers["Host"] == "app"
    check = probe_once("http", url="http://app/", unix_socket=str(tmp_path / "missing"))
    assert check["last_error"].endswith("does not exist")


def _endless(connection: socket.socket, *, first: bytes, piece: bytes) -> None:
    connection.recv(4096)
    connection.sendall(first)
    while True:
        connection.sendall(piece)
        threading.Event().wait(0.01)


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        pytest.param(b"", b"", id="silence"),
        pytest.param(HEAD, b"X", id="a header byte by byte"),
        pytest.param(HEAD + b"Content-Length: 9999\r\n\r\n", b"x", id="a body byte by byte"),
        pytest.param(HEAD + b"\r\n", b"x", id="a body without end"),
        pytest.param(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", id="chunks without end"
        ),
    ],
)
def test_http_server_that_never_finishes_is_a_failure_in_time(
    probe_once: ProbeOnce, first: bytes, piece: bytes
) -> None:
    with raw_server(lambda c: _endless(c, first=first, piece=piece)) as port:
        check = probe_once("http", timeout=0.4, url=f"http://127.0.0.1:{port}/")
    assert check["state"] == "failed"
    assert check["last_error"] == "no answer within 0.4 s"
    assert check["latency"]["max"] is None


def _say(connection: socket.socket, *, what: bytes) -> None:
    connection.recv(4096)
    connection.sendall(what)


@pytest.mark.parametrize(
    ("what", "error"),
    [
        pytest.param(b"", "closed the connection without an answer", id="nothing"),
        pytest.param(b"SSH-2.0-x\r\n", "did not answer in HTTP", id="another protocol"),
        pytest.param(b"HTTP/1.1 banana\r\n\r\n", "did not answer in HTTP", id="no status"),
        pytest.param(
            HEAD + b"Content-Length: 100\r\n\r\nhalf", "in the middle of its answer", id="half"
        ),
        pytest.param(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\nhalf",
            "in the middle of its answer",
            id="half a chunk",
        ),
        pytest.param(HEAD + b"A: b\r\n" * 200 + b"\r\n", "did not answer in HTTP", id="headers"),
        pytest.param(HEAD + b"A: " + b"b" * 99999, "did not answer in HTTP", id="long header"),
    ],
)
def test_http_server_that_breaks_off_is_a_failure(
    probe_once: ProbeOnce, what: bytes, error: str
) -> None:
    with raw_server(lambda c: _say(c, what=what)) as port:
        check = probe_once("http", url=f"http://127.0.0.1:{port}/")
    assert check["state"] == "failed"
    assert error in check["last_error"]


def test_http_answer_too_long_to_judge_fails_only_if_it_must_be_judged(
    app: HttpApp, probe_once: ProbeOnce
) -> None:
    app.answer = lambda request: reply(request, 200, "x" * (5 * 1024 * 1024))
    assert probe_once("http", url=app.url())["state"] == "passed"
    check = probe_once("http", url=app.url(), text="x")
    assert check["last_error"] == "the answer is longer than 4 MiB"


def test_http_on_a_port_where_nobody_listens_says_so(probe_once: ProbeOnce) -> None:
    check = probe_once("http", url="http://127.0.0.1:1/")
    assert check["last_error"] == "127.0.0.1:1 refuses connections: nothing listens there"


def test_http_host_that_does_not_exist_says_so(probe_once: ProbeOnce) -> None:
    check = probe_once("http", url="http://no-such-host.invalid/", timeout=30)
    assert check["last_error"].startswith("the host no-such-host.invalid cannot be found")


def test_tcp_port_that_accepts_passes_and_one_that_does_not_fails(
    app: HttpApp, probe_once: ProbeOnce
) -> None:
    assert probe_once("tcp", host="127.0.0.1", port=app.port)["state"] == "passed"
    assert "refuses" in probe_once("tcp", host="127.0.0.1", port=1)["last_error"]


def test_tcp_banner_is_awaited_across_packets(probe_once: ProbeOnce) -> None:
    def greet(connection: socket.socket) -> None:
        assert connection.recv(100) == b"HELO\r\n"
        for piece in (b"220 ma", b"il rea", b"dy\r\n"):
            connection.sendall(piece)
            threading.Event().wait(0.02)

    with raw_server(greet) as port:
        at = {"host": "127.0.0.1", "port": port, "send": "HELO\r\n"}
        assert probe_once("tcp", **at, expect="^220 mail ready")["state"] == "passed"
        check = probe_once("tcp", **at, expect="^250")
    assert check["last_error"] == "the server never said '^250'"
