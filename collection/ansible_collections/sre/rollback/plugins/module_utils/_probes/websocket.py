# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe kind ``websocket``: the handshake of RFC 6455, and an answer over the connection.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Context,
    Kind,
    Leash,
    Options,
    Probe,
    ProbeFailedError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.http_client import (
    Request,
    prepare_request,
    request_options,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.matching import Pattern
from ansible_collections.sre.rollback.plugins.module_utils._probes.network import (
    connected,
    split_url,
)

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_LONGEST_HEAD = 32 * 1024
_LONGEST_FRAME = 1024 * 1024
_MOST_FRAMES = 1000
_CONTINUED, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def _options() -> dict[str, t.Any]:
    return {
        **request_options(),
        "subprotocols": {"type": "list", "elements": "str", "default": []},
        "send": {"type": "str"},
        "expect": {"type": "str"},
    }


def prepare(options: Options, _context: Context) -> Probe:
    """Read the options. Raises ProbeRefusedError."""
    split_url(options["url"], ("ws", "wss"))
    request = prepare_request(options, url="http" + options["url"][2:])
    protocols = tuple(options.get("subprotocols") or ())
    for name in protocols:
        if not name or not name.isprintable() or any(c in ' ,;"' for c in name):
            raise ProbeRefusedError(f"{name!r} is not the name of a subprotocol")
    sent = options.get("send")
    expect = Pattern.compile(options["expect"], "expect") if options.get("expect") else None

    def probe(leash: Leash) -> None:
        tls = request.tls if request.scheme == "https" else None
        with connected(request.where, leash, tls=tls) as opened:
            wire = Wire(opened)
            _shake_hands(wire, request, protocols)
            _converse(wire, sent, expect, leash)
            wire.send(_CLOSE, struct.pack("!H", 1000))

    return probe


def _converse(wire: Wire, sent: str | None, expect: Pattern | None, leash: Leash) -> None:
    if sent is not None:
        wire.send(_TEXT, sent.encode())
    if expect is not None:
        wire.await_text(lambda text: expect.found_in(text, leash), f"matches {expect.text!r}")
    elif sent is not None:
        wire.await_text(lambda text: text == sent, "is the echo of what was sent")
    else:
        wire.await_pong(os.urandom(8))


class Wire:
    """The frames of one connection, seen from the client."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._heard = b""

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def read(self, count: int) -> bytes:
        """Exactly so many bytes."""
        while len(self._heard) < count:
            self._hear()
        taken, self._heard = self._heard[:count], self._heard[count:]
        return taken

    def read_head(self) -> str:
        """Everything up to the empty line after the headers of the answer."""
        while b"\r\n\r\n" not in self._heard:
            if len(self._heard) > _LONGEST_HEAD:
                raise ProbeFailedError("the answer to the handshake does not end")
            self._hear()
        head, _end, self._heard = self._heard.partition(b"\r\n\r\n")
        return head.decode("latin-1")

    def _hear(self) -> None:
        piece = self._socket.recv(65536)
        if not piece:
            raise ProbeFailedError("the server closed the connection")
        self._heard += piece

    def send(self, opcode: int, payload: bytes) -> None:
        """Send one frame, masked as a client must (RFC 6455, section 5.3)."""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        self.write(bytes([0x80 | opcode]) + _length(len(payload)) + mask + masked)

    def _frame(self) -> tuple[int, bool, bytes]:
        first, second = self.read(2)
        if second & 0x80:
            raise ProbeFailedError("the server masks its frames, which RFC 6455 forbids")
        size = second & 0x7F
        if size >= 126:
            (size,) = struct.unpack(
                *(("!H", self.read(2)) if size == 126 else ("!Q", self.read(8)))
            )
        if size > _LONGEST_FRAME:
            raise ProbeFailedError("the server sent a frame of more than 1 MiB")
        return first & 0x0F, bool(first & 0x80), self.read(size)

    def _messages(self) -> t.Iterator[tuple[int, bytes]]:
        """Whole messages and control frames. Pings are answered on the way."""
        begun, parts = _TEXT, b""
        for _turn in range(_MOST_FRAMES):
            opcode, final, payload = self._frame()
            if opcode == _CLOSE:
                code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else "none"
                raise ProbeFailedError(f"the server closed the WebSocket (code {code})")
            if opcode == _PING:
                self.send(_PONG, payload)
            elif opcode == _PONG:
                yield opcode, payload
            else:
                begun = begun if opcode == _CONTINUED else opcode
                parts = (parts if opcode == _CONTINUED else b"") + payload
                if len(parts) > _LONGEST_FRAME:
                    raise ProbeFailedError("the server sent a message of more than 1 MiB")
                if final:
                    yield begun, parts
        raise ProbeFailedError(f"not among the first {_MOST_FRAMES} frames of the server")

    def await_text(self, wanted: t.Callable[[str], bool], what: str) -> None:
        """Return when a message is as wanted. Raises ProbeFailedError when none was."""
        try:
            for opcode, payload in self._messages():
                if opcode in (_TEXT, _BINARY) and wanted(payload.decode("utf-8", "replace")):
                    return
        except ProbeFailedError as exc:
            raise ProbeFailedError(f"no message came that {what}: {exc}") from exc

    def await_pong(self, payload: bytes) -> None:
        """Send a ping and return when its pong has come."""
        self.send(_PING, payload)
        for opcode, answer in self._messages():
            if opcode == _PONG and answer == payload:
                return


def _length(size: int) -> bytes:
    if size < 126:
        return bytes([0x80 | size])
    if size < 65536:
        return bytes([0x80 | 126]) + struct.pack("!H", size)
    return bytes([0x80 | 127]) + struct.pack("!Q", size)


def _shake_hands(wire: Wire, request: Request, protocols: t.Sequence[str]) -> None:
    key = base64.b64encode(os.urandom(16))
    headers = {
        "Host": _host(request),
        **request.headers,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key.decode(),
        "Sec-WebSocket-Version": "13",
    }
    if protocols:
        headers["Sec-WebSocket-Protocol"] = ", ".join(protocols)
    lines = [f"GET {request.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    wire.write("\r\n".join([*lines, "", ""]).encode("latin-1", "replace"))
    _judge_handshake(wire.read_head(), key, protocols)


def _host(request: Request) -> str:
    default = 443 if request.scheme == "https" else 80
    host = f"[{request.where.host}]" if ":" in request.where.host else request.where.host
    return host if request.where.port == default else f"{host}:{request.where.port}"


def _judge_handshake(head: str, key: bytes, protocols: t.Sequence[str]) -> None:
    status, *lines = head.split("\r\n")
    words = status.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1."):
        raise ProbeFailedError("the server did not answer the handshake in HTTP")
    if words[1] != "101":
        raise ProbeFailedError(f"the handshake was refused with HTTP status {words[1][:3]}")
    headers = {
        name.lower(): value.strip() for name, _colon, value in (s.partition(":") for s in lines)
    }
    # SHA-1 is what RFC 6455, section 4.2.2 prescribes here; nothing depends on its strength.
    digest = hashlib.sha1(key + _GUID).digest()  # noqa: S324
    if headers.get("sec-websocket-accept") != base64.b64encode(digest).decode():
        raise ProbeFailedError("the handshake was answered by something that knows no WebSocket")
    if protocols and headers.get("sec-websocket-protocol") not in protocols:
        raise ProbeFailedError("the server speaks none of the subprotocols")


KIND = Kind("websocket", _options, prepare)
