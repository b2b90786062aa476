# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Glob patterns of Redis, matched here exactly as the server matches them.

The rules are those of the server's ``stringmatchlen``: ``*``, ``?``, ``[a-c]``, ``[^a]`` and
``\\x``, over bytes; a class may end with the pattern, and the bounds of a range may be swapped.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

_STAR, _ANY = -1, -2

# A token is one of the two above, a byte, or the set of bytes of a class.
_Token = t.Union[int, t.FrozenSet[int]]
_EVERY_BYTE = frozenset(range(256))


@dataclass(frozen=True)
class Glob:
    """One pattern. ``literal`` is a run of bytes that every matching key contains."""

    pattern: bytes
    literal: bytes
    expression: t.Pattern[bytes]

    def matches(self, key: bytes) -> bool:
        # The server compares nothing when the key is empty, and SCAN takes '*' for no pattern.
        if not key:
            return self.pattern in (b"", b"*")
        return self.expression.fullmatch(key) is not None


def parse_glob(pattern: bytes) -> Glob:
    """Compile a pattern. Every byte string is one."""
    tokens = list(_tokens(pattern))
    expression = re.compile(b"".join(_expressions(tokens)), re.DOTALL)
    return Glob(pattern, _longest_literal(tokens), expression)


class GlobSet:
    """Patterns of which a key may match any."""

    def __init__(self, patterns: t.Iterable[bytes]) -> None:
        self.globs = tuple(parse_glob(pattern) for pattern in dict.fromkeys(patterns))
        self._literals = tuple({glob.literal for glob in self.globs})

    def __bool__(self) -> bool:
        return bool(self.globs)

    def may_match_within(self, text: bytes) -> bool:
        """False only when no key that is part of ``text`` can match: a cheap look at many keys."""
        return any(literal in text for literal in self._literals)

    def first_match(self, key: bytes) -> bytes | None:
        """The first pattern that the key matches."""
        for glob in self.globs:
            if glob.literal in key and glob.matches(key):
                return glob.pattern
        return None


def example_key(pattern: bytes, filler: str) -> bytes:
    """A key that the pattern matches, unlikely to exist when ``filler`` is random."""
    parts = []
    for token in _tokens(pattern):
        if token == _STAR:
            parts.append(filler.encode())
        elif token == _ANY:
            parts.append(b"x")
        else:
            members = {token} if isinstance(token, int) else token
            parts.append(bytes(sorted(members)[:1]))
    return b"".join(parts)


def _tokens(pattern: bytes) -> t.Iterator[_Token]:
    position = 0
    while position < len(pattern):
        byte = pattern[position : position + 1]
        position += 1
        if byte == b"*":
            yield _STAR
        elif byte == b"?":
            yield _ANY
        elif byte == b"[":
            members, position = _class(pattern, position)
            yield members
        elif byte == b"\\" and position < len(pattern):
            yield pattern[position]
            position += 1
        else:
            yield byte[0]


def _class(pattern: bytes, position: int) -> tuple[frozenset[int], int]:
    """The bytes of the class that starts at ``position``, and where the pattern goes on."""
    negated = pattern[position : position + 1] == b"^"
    position += negated
    members: set[int] = set()
    while position < len(pattern) and pattern[position] != ord("]"):
        rest = pattern[position : position + 3]
        if len(rest) >= 2 and rest[:1] == b"\\":
            members.add(rest[1])
            position += 2
        elif len(rest) == 3 and rest[1:2] == b"-":
            members.update(range(min(rest[0], rest[2]), max(rest[0], rest[2]) + 1))
            position += 3
        else:
            members.add(rest[0])
            position += 1
    chosen = _EVERY_BYTE - members if negated else frozenset(members)
    return chosen, position + 1


def _expressions(tokens: t.Sequence[_Token]) -> t.Iterator[bytes]:
    """Each star takes the nearest place where what follows it fits, and never looks back.

    That is right for globs, and keeps a pattern of many stars from taking exponential time.
    """
    runs: list[list[bytes]] = [[]]
    for token in tokens:
        if token == _STAR:
            runs.append([])
        else:
            runs[-1].append(_expression(token))
    yield from runs[0]
    for number, run in enumerate(runs[1:-1]):
        if run:
            yield b"(?=(?P<star%d>.*?%s))(?P=star%d)" % (number, b"".join(run), number)
    if len(runs) > 1:
        yield b".*" + b"".join(runs[-1])


def _expression(token: _Token) -> bytes:
    if token == _ANY:
        return b"."
    if isinstance(token, int):
        return re.escape(bytes([token]))
    if not token:
        return b"(?!)"
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(token)) + b"]"


def _longest_literal(tokens: t.Sequence[_Token]) -> bytes:
    longest = run = b""
    for token in tokens:
        is_byte = isinstance(token, int) and token >= 0
        run = run + bytes([t.cast(int, token)]) if is_byte else b""
        longest = max(longest, run, key=len)
    return longest
