"""health_gate and WebSockets: aiohttp's server, and servers that only pretend."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from tests.gate_servers import (
    Authority,
    HttpApp,
    ProbeOnce,
    app,
    authority,
    probe_once,
    raw_server,
    reply,
)

__all__ = ["app", "authority", "probe_once"]

pytestmark = pytest.mark.integration


async def _converse(request: web.Request) -> web.WebSocketResponse:
    if request.headers.get("Authorization", "Bearer letmein") != "Bearer letmein":
        raise web.HTTPForbidden
    channel = web.WebSocketResponse(protocols=("chat",))
    await channel.prepare(request)
    if request.path == "/chatty":
        await channel.send_str("welcome")
        await channel.ping(b"are you there")
        await channel.send_str("x" * 70_000)
        await channel.send_str("ready: 7 workers")
    if request.path == "/goodbye":
        await channel.close(code=1012, message=b"restarting")
    async for message in channel:
        if message.type == WSMsgType.TEXT and request.path != "/mute":
            await channel.send_str(message.data)
    return channel


class WebSocketServer:
    """aiohttp's server in a thread of its own."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._started.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._runner = self._loop.run_until_complete(self._start())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _start(self) -> web.AppRunner:
        application = web.Application()
        application.router.add_get("/{path:.*}", _converse)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture(scope="module")
def server() -> Iterator[WebSocketServer]:
    running = WebSocketServer()
    yield running
    running.stop()


@pytest.mark.parametrize(
    ("path", "options", "error"),
    [
        pytest.param("/", {}, None, id="ping and pong"),
        pytest.param("/", {"send": "hello é"}, None, id="echo"),
        pytest.param("/", {"send": "y" * 70_000}, None, id="long echo"),
        pytest.param("/", {"send": ""}, None, id="empty echo"),
        pytest.param("/chatty", {"expect": r"ready: \d+ workers"}, None, id="message among others"),
        pytest.param("/chatty", {"send": "mine"}, None, id="echo among others"),
        pytest.param("/", {"subprotocols": ["other", "chat"]}, None, id="subprotocol"),
        pytest.param("/", {"bearer_token": "letmein"}, None, id="token"),
        pytest.param(
            "/",
            {"bearer_token": "wrong"},
            "the handshake was refused with HTTP status 403",
            id="wrong token",
        ),
        pytest.param(
            "/",
            {"subprotocols": ["other"]},
            "the server speaks none of the subprotocols",
            id="other subprotocol",
        ),
        pytest.param(
            "/goodbye",
            {"send": "x"},
            "no message came that is the echo of what was sent: "
            "the server closed the WebSocket (code 1012)",
            id="closed",
        ),
    ],
)
def test_websocket_conversation_is_judged(
    server: WebSocketServer,
    probe_once: ProbeOnce,
    path: str,
    options: dict[str, Any],
    error: str | None,
) -> None:
    check = probe_once("websocket", url=f"ws://127.0.0.1:{server.port}{path}", **options)
    assert check["last_error"] == error


def test_websocket_without_the_echo_is_a_failure_in_time(
    server: WebSocketServer, probe_once: ProbeOnce
) -> None:
    url = f"ws://127.0.0.1:{server.port}/mute"
    check = probe_once("websocket", timeout=0.3, url=url, send="hello")
    assert check["last_error"] == "no answer within 0.3 s"


def test_websocket_over_tls_needs_a_trusted_certificate(
    authority: Authority, probe_once: ProbeOnce
) -> None:
    server = WebSocketServer(authority.server_context("127.0.0.1"))
    try:
        url = f"wss://127.0.0.1:{server.port}/"
        trusted = probe_once("websocket", url=url, ca_cert=authority.ca_cert, send="x")
        unknown = probe_once("websocket", url=url, send="x")
    finally:
        server.stop()
    assert trusted["state"] == "passed", trusted["last_error"]
    assert "is not trusted" in unknown["last_error"]


def test_websocket_at_a_plain_web_page_fails(app: HttpApp, probe_once: ProbeOnce) -> None:
    app.answer = lambda request: reply(request, 200, "hello")
    check = probe_once("websocket", url=app.url().replace("http", "ws", 1))
    assert check["last_error"] == "the handshake was refused with HTTP status 200"


@pytest.mark.parametrize(
    ("what", "error"),
    [
        (b"", "the server closed the connection"),
        (b"220 smtp ready\r\n\r\n", "the server did not answer the handshake in HTTP"),
        (
            b"HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: bm8=\r\n\r\n",
            "the handshake was answered by something that knows no WebSocket",
        ),
        (b"x" * 100_000, "the answer to the handshake does not end"),
    ],
)
def test_websocket_server_that_only_pretends_fails(
    probe_once: ProbeOnce, what: bytes, error: str
) -> None:
    def pretend(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(what)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(4096)

    with raw_server(pretend) as port:
        check = probe_once("websocket", url=f"ws://127.0.0.1:{port}/")
    assert check["last_error"] == error
