# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many commands on their way to one Redis at once, without building an object per key.

A SCAN reply lists keys in the very encoding in which a request lists its arguments. So the reply
can be sent back behind the word UNLINK as it came, which is what makes a flush of millions of keys
fast in Python.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import binascii
import contextlib
import secrets
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._redis_errors import RedisCommandError

with contextlib.suppress(ImportError):
    import redis

_RECEIVE = 1 << 18

FIRST_CURSOR = b"0"


@dataclass(frozen=True)
class Answer:
    """Answers to the removals that were under way, and to a SCAN.

    ``removals`` has the number of removed keys, or the error, of every removal in its order.
    ``encoded`` are ``number`` keys as the server sent them.
    """

    removals: tuple[int | str, ...]
    cursor: bytes
    number: int
    encoded: bytes


class Wire:
    """One connection of a client, taken out of its pool and used by one caller alone."""

    def __init__(self, client: redis.Redis) -> None:
        self._connection = client.connection_pool.make_connection()
        self._connection.connect()
        # No key contains it, so it marks the end of an answer of any length.
        self._mark = secrets.token_hex(16).encode()
        self._received = b""
        self._unanswered = 0

    def close(self) -> None:
        self._connection.disconnect()

    def exchange(self, *commands: tuple[t.Any, ...]) -> list[t.Any]:
        """Send all commands, then read all answers. An error is an answer, and is not raised."""
        self._connection.send_packed_command(self._connection.pack_commands(commands))
        return [self._answer() for _command in commands]

    def exchange_encoded(self, commands: t.Sequence[bytes]) -> list[t.Any]:
        """The same for commands that are encoded already: for many small ones, much faster."""
        mark = encode_command(b"PING", self._mark)
        self._connection._sock.sendall(b"".join([*commands, mark]))
        return parse_replies(self._receive_to_mark(), len(commands))

    def exchange_all(self, *commands: tuple[t.Any, ...]) -> list[t.Any]:
        """The same, but the first error is raised."""
        answers = self.exchange(*commands)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def _answer(self) -> t.Any:
        try:
            return self._connection.read_response()
        except redis.ResponseError as exc:
            return exc

    def scan(self, request: bytes, removals: t.Sequence[bytes] = ()) -> Answer:
        """Send an encoded SCAN and encoded removals after it, and return when SCAN is answered.

        The server works on the removals while the caller works on the answer. What became of them
        comes with the next answer, or with ``settled``. Raises RedisCommandError when the server
        refuses the SCAN, OSError when it goes away.
        """
        mark = encode_command(b"PING", self._mark)
        self._connection._sock.sendall(b"".join([request, mark, *removals]))
        answer = parse_answer(self._receive_to_mark(), removals=self._unanswered)
        self._unanswered = len(removals)
        return answer

    def send(self, removals: t.Sequence[bytes]) -> None:
        """Send encoded removals alone, when none are under way."""
        self._connection._sock.sendall(b"".join(removals))
        self._unanswered = len(removals)

    def settled(self) -> tuple[int | str, ...]:
        """What became of the last removals."""
        self._connection._sock.sendall(encode_command(b"PING", self._mark))
        answers, _end = parse_removals(self._receive_to_mark(), self._unanswered)
        self._unanswered = 0
        return answers

    def idle_round_trip(self) -> float:
        """Seconds that an answer takes when the server has nothing to do for it."""
        return min(self._time_one_ping() for _attempt in range(3))

    def _time_one_ping(self) -> float:
        started = time.monotonic()
        self.exchange(("PING",))
        return time.monotonic() - started

    def _receive_to_mark(self) -> bytes:
        """What comes before the mark. What comes after it is kept for the next call."""
        mark = b"$%d\r\n%s\r\n" % (len(self._mark), self._mark)
        received, looked_at = bytearray(self._received), 0
        while (position := received.find(mark, looked_at)) < 0:
            looked_at = max(0, len(received) - len(mark))
            chunk = self._connection._sock.recv(_RECEIVE)
            if not chunk:
                raise ConnectionResetError("the server closed the connection")
            received += chunk
        self._received = bytes(received[position + len(mark) :])
        return bytes(received[:position])


def encode_command(*arguments: bytes) -> bytes:
    return b"*%d\r\n%s" % (len(arguments), encode_keys(arguments))


def encode_keys(keys: t.Iterable[bytes]) -> bytes:
    return b"".join([b"$%d\r\n%s\r\n" % (len(key), key) for key in keys])


def encode_removal(verb: bytes, encoded: bytes, number: int) -> bytes:
    """``verb`` for keys that are encoded already."""
    return b"*%d\r\n%s%s" % (number + 1, encode_keys([verb]), encoded)


def encode_scan(cursor: bytes, pattern: bytes | None, count: int) -> bytes:
    match = [] if pattern is None else [b"MATCH", pattern]
    return encode_command(b"SCAN", cursor, *match, b"COUNT", b"%d" % count)


def decode_keys(encoded: bytes) -> list[bytes]:
    """The keys of an answer."""
    keys, position = [], 0
    while position < len(encoded):
        line_end = encoded.index(b"\r\n", position)
        start = line_end + 2
        end = start + int(encoded[position + 1 : line_end])
        keys.append(encoded[start:end])
        position = end + 2
    return keys


def parse_replies(data: bytes, number: int) -> list[t.Any]:
    """The first ``number`` answers: bytes, int, None, a list of these, or an error as an object."""
    replies, position = [], 0
    for _each in range(number):
        reply, position = _parse_reply(data, position)
        replies.append(reply)
    return replies


def _parse_reply(data: bytes, position: int) -> tuple[t.Any, int]:
    kind, end = data[position], data.index(b"\r\n", position)
    text, after = data[position + 1 : end], end + 2
    if kind == ord("$"):
        length = int(text)
        return (None, after) if length < 0 else (data[after : after + length], after + length + 2)
    if kind == ord(":"):
        return int(text), after
    if kind == ord("-"):
        return redis.ResponseError(text.decode(errors="replace")), after
    if kind == ord("*"):
        return _parse_array(data, int(text), after)
    return text, after


def _parse_array(data: bytes, length: int, position: int) -> tuple[list[t.Any] | None, int]:
    if length < 0:
        return None, position
    members = []
    for _each in range(length):
        member, position = _parse_reply(data, position)
        members.append(member)
    return members, position


def parse_removals(data: bytes, number: int) -> tuple[tuple[int | str, ...], int]:
    """The first ``number`` answers, and where the next one starts."""
    answers: list[int | str] = []
    position = 0
    for _each in range(number):
        end = data.index(b"\r\n", position)
        text = data[position + 1 : end]
        answers.append(int(text) if data[position] == ord(":") else text.decode(errors="replace"))
        position = end + 2
    return tuple(answers), position


def parse_answer(data: bytes, *, removals: int) -> Answer:
    """What ``Wire.scan`` received. Raises RedisCommandError for a refused SCAN."""
    answers, position = parse_removals(data, removals)
    cursor_start = data.find(b"\r\n", position + 4) + 2
    if not data.startswith(b"*2\r\n$", position):
        text = data[position + 1 : data.find(b"\r\n", position)].decode(errors="replace")
        raise RedisCommandError(f"Redis refused SCAN: {text}.")
    cursor_end = data.index(b"\r\n", cursor_start)
    keys_start = data.index(b"\r\n", cursor_end + 2) + 2
    return Answer(
        removals=answers,
        cursor=data[cursor_start:cursor_end],
        number=int(data[cursor_end + 3 : keys_start - 2]),
        encoded=data[keys_start:],
    )


def key_slot(key: bytes) -> int:
    """The cluster slot of a key: CRC16 of its hash tag, or of the whole key without one."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return binascii.crc_hqx(key, 0) % 16384
