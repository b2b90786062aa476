# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP/1.1 requests under a leash: straight to the server, without proxies or kept connections.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import time
import typing as t
import urllib.parse
from dataclasses import dataclass, replace

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Leash,
    Options,
    ProbeFailedError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.network import (
    Endpoint,
    connected,
    split_url,
    tls_context,
    tls_options,
)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
MAX_BODY = 4 * 1024 * 1024
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_OF_ONE_ORIGIN = ("authorization", "cookie", "host")


@dataclass(frozen=True)
class Request:
    """One request, ready to be sent."""

    method: str
    scheme: str
    where: Endpoint
    path: str
    headers: t.Mapping[str, str]
    body: bytes | None = None
    tls: ssl.SSLContext | None = None
    follow_redirects: bool = False


@dataclass(frozen=True)
class Answer:
    """The last response. ``latency`` is in seconds, up to the end of the body."""

    status: int
    headers: t.Mapping[str, str]
    body: bytes
    complete: bool
    latency: float

    def text(self) -> str:
        """The body as text. Raises ProbeFailedError when it is too long to be judged."""
        if not self.complete:
            raise ProbeFailedError(f"the answer is longer than {MAX_BODY // 2**20} MiB")
        return self.body.decode("utf-8", "replace")


def request_options() -> dict[str, t.Any]:
    """The options of every kind that sends HTTP requests."""
    return {
        "url": {"type": "str", "required": True},
        "headers": {"type": "dict", "default": {}},
        "url_username": {"type": "str"},
        "url_password": {"type": "str", "no_log": True},
        "bearer_token": {"type": "str", "no_log": True},
        **tls_options(),
    }


def prepare_request(options: Options, *, url: str | None = None, body: t.Any = None) -> Request:
    """The request that the options ask for. Raises ProbeRefusedError."""
    parts = split_url(url or options["url"], ("http", "https"))
    headers = request_headers(options, parts)
    if body is not None and not isinstance(body, str):
        body = json.dumps(body)
        headers.setdefault("Content-Type", "application/json")
    secure = parts.scheme == "https"
    return Request(
        method=options.get("method") or "GET",
        scheme=parts.scheme,
        where=_where(parts, options.get("unix_socket")),
        path=_path(parts),
        headers=headers,
        body=None if body is None else body.encode(),
        tls=tls_context(options) if secure or options.get("follow_redirects") else None,
        follow_redirects=bool(options.get("follow_redirects")),
    )


def request_headers(options: Options, parts: urllib.parse.SplitResult) -> dict[str, str]:
    """The headers to send, with the credentials. Raises ProbeRefusedError."""
    headers = {str(name): str(value) for name, value in (options.get("headers") or {}).items()}
    for name, value in headers.items():
        if not name or not name.isprintable() or ":" in name or " " in name:
            raise ProbeRefusedError(f"{name!r} is not the name of a header")
        if "\r" in value or "\n" in value:
            raise ProbeRefusedError(f"the header {name} contains a line break")
    credentials = _credentials(options, parts)
    if credentials:
        headers["Authorization"] = credentials
    headers.setdefault("User-Agent", "rollback-playbook health_gate")
    return headers


def _credentials(options: Options, parts: urllib.parse.SplitResult) -> str | None:
    if options.get("bearer_token"):
        return f"Bearer {options['bearer_token']}"
    user = options.get("url_username") or urllib.parse.unquote(parts.username or "")
    secret = options.get("url_password") or urllib.parse.unquote(parts.password or "")
    if not user and not secret:
        return None
    return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()


def _where(parts: urllib.parse.SplitResult, unix_socket: str | None = None) -> Endpoint:
    default = 443 if parts.scheme == "https" else 80
    return Endpoint(parts.hostname or "", parts.port or default, unix_socket)


def _path(parts: urllib.parse.SplitResult) -> str:
    path = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~-._?[]{}|\"<>\\^`")
    return f"{path}?{query}" if query else path


def fetch(request: Request, leash: Leash) -> Answer:
    """Send the request. Raises ProbeFailedError when there is no whole answer."""
    started = time.monotonic()
    for _redirect in range(_MAX_REDIRECTS + 1):
        answer = _exchange(request, leash, started)
        target = answer.headers.get("location")
        if not (request.follow_redirects and answer.status in _REDIRECTS and target):
            return answer
        request = _redirected(request, answer.status, target)
    raise ProbeFailedError(f"more than {_MAX_REDIRECTS} redirects")


def _redirected(request: Request, status: int, target: str) -> Request:
    origin = f"{request.scheme}://{request.where}"
    try:
        parts = split_url(urllib.parse.urljoin(origin + request.path, target), ("http", "https"))
    except (ProbeRefusedError, ValueError) as exc:
        raise ProbeFailedError(f"redirects to a place that cannot be asked: {exc}") from None
    where, headers = _where(parts), dict(request.headers)
    here = replace(request.where, unix_socket=None)
    if (parts.scheme, where) == (request.scheme, here):
        where = request.where
    else:
        headers = {k: v for k, v in headers.items() if k.lower() not in _OF_ONE_ORIGIN}
    keeps_method = status in (307, 308) or request.method == "HEAD"
    return replace(
        request,
        method=request.method if keeps_method else "GET",
        body=request.body if keeps_method else None,
        scheme=parts.scheme,
        where=where,
        path=_path(parts),
        headers=headers,
    )


class _Connection(http.client.HTTPConnection):
    """An HTTP connection over a socket that is already open."""

    def __init__(self, request: Request, opened: socket.socket) -> None:
        default = 443 if request.scheme == "https" else 80
        super().__init__(request.where.host, request.where.port)
        # Decides whether the Host header carries the port.
        self.default_port = default
        self.sock = opened


def _exchange(request: Request, leash: Leash, started: float) -> Answer:
    tls = request.tls if request.scheme == "https" else None
    with connected(request.where, leash, tls=tls) as opened:
        try:
            return _converse(request, opened, started)
        except http.client.HTTPException as exc:
            raise ProbeFailedError(_protocol_error(exc, request.where)) from exc


def _converse(request: Request, opened: socket.socket, started: float) -> Answer:
    connection = _Connection(request, opened)
    try:
        headers = {**request.headers, "Connection": "close"}
        connection.request(request.method, request.path, body=request.body, headers=headers)
        response = connection.getresponse()
        body = response.read(MAX_BODY + 1)
        complete = len(body) <= MAX_BODY
        if complete and response.length:
            raise http.client.IncompleteRead(body, response.length)
        return Answer(
            status=response.status,
            headers=_joined(response.getheaders()),
            body=body[:MAX_BODY],
            complete=complete,
            latency=time.monotonic() - started,
        )
    finally:
        connection.close()


def _joined(pairs: t.Iterable[tuple[str, str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in pairs:
        known = headers.get(name.lower())
        headers[name.lower()] = value if known is None else f"{known}, {value}"
    return headers


def _protocol_error(exc: http.client.HTTPException, where: Endpoint) -> str:
    if isinstance(exc, http.client.IncompleteRead):
        return f"{where} closed the connection in the middle of its answer"
    if isinstance(exc, http.client.RemoteDisconnected):
        return f"{where} closed the connection without an answer"
    return f"{where} did not answer in HTTP ({type(exc).__name__})"


def require_status(answer: Answer, allowed: t.Collection[int]) -> None:
    """Raise ProbeFailedError unless the status is one of ``allowed``."""
    if answer.status not in allowed:
        wanted = " or ".join(str(status) for status in allowed)
        raise ProbeFailedError(f"HTTP status {answer.status}, expected {wanted}")


def read_statuses(given: t.Iterable[int]) -> tuple[int, ...]:
    """The statuses that are a success. Raises ProbeRefusedError."""
    statuses = tuple(given)
    wrong = [status for status in statuses if not 100 <= status <= 599]
    if wrong or not statuses:
        raise ProbeRefusedError(f"status must be HTTP status codes, got {list(statuses)}")
    return statuses
