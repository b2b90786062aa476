# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Split SQL text into statements, as far as deciding what a migration file does needs it.

The rules are PostgreSQL's lexical structure (https://www.postgresql.org/docs/current/
sql-syntax-lexical.html) with standard_conforming_strings on.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<space>\s+|--[^\n]*)
    | (?P<comment>/\*)
    | (?P<escape>[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z))
    | (?P<string>'(?:[^']|'')*(?:'|\Z))
    | (?P<name>"(?:[^"]|"")*(?:"|\Z))
    | (?P<dollar>\$(?P<tag>(?:[^\W\d]\w*)?)\$)
    | (?P<word>[^\W\d][\w$]*)
    | (?P<number>\d[\w.]*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_ROUTINES = ({"CREATE", "FUNCTION"}, {"CREATE", "PROCEDURE"})
# Words that are kept of a statement: enough to tell what it is.
_WORDS_KEPT = 12


@dataclass(frozen=True)
class Statement:
    """One statement, without the semicolon; ``line`` is where it begins, ``words`` its first
    words in capitals, ``meta`` whether it holds a command of psql."""

    text: str
    line: int
    words: tuple[str, ...]
    meta: bool


class _Reader:
    """The statement being read."""

    def __init__(self) -> None:
        self.begin: int | None = None
        self.words: list[str] = []
        self.meta = False
        self._parentheses = 0
        self._blocks = 0
        self._previous = ""

    def take(self, position: int, kind: str, text: str) -> None:
        """Take a token that is neither space nor comment."""
        if self.begin is None:
            self.begin = position
        if kind == "word":
            self._take_word(text.upper())
        elif kind == "other":
            self._parentheses += {"(": 1, ")": -1}.get(text, 0)
            self.meta = self.meta or text == "\\"
        self._previous = text.upper()

    def _take_word(self, word: str) -> None:
        if len(self.words) < _WORDS_KEPT:
            self.words.append(word)
        # CREATE FUNCTION … BEGIN ATOMIC …; …; END: semicolons in there end nothing.
        if not any(routine <= set(self.words) for routine in _ROUTINES):
            return
        if (word == "ATOMIC" and self._previous == "BEGIN") or (self._blocks and word == "CASE"):
            self._blocks += 1
        elif self._blocks and word == "END":
            self._blocks -= 1

    @property
    def may_end(self) -> bool:
        """Whether a semicolon ends the statement."""
        return self._parentheses <= 0 and not self._blocks

    def statement(self, text: str, end: int) -> Statement:
        """The statement, ending before ``end``."""
        begin = end if self.begin is None else self.begin
        line = text.count("\n", 0, begin) + 1
        return Statement(text[begin:end].rstrip(), line, tuple(self.words), self.meta)


def split_statements(text: str) -> list[Statement]:
    """The statements of ``text``; empty ones are left out. Raises nothing: an open quote goes on
    to the end, and the server will say so."""
    found, reader = [], _Reader()
    for position, kind, piece in _tokens(text):
        if piece == ";" and reader.may_end:
            if reader.begin is not None:
                found.append(reader.statement(text, position))
            reader = _Reader()
        else:
            reader.take(position, kind, piece)
    if reader.begin is not None:
        found.append(reader.statement(text, len(text)))
    return found


def _tokens(text: str) -> t.Iterator[tuple[int, str, str]]:
    position = 0
    while position < len(text):
        match = t.cast("re.Match[str]", _TOKEN.match(text, position))
        kind, end = str(match.lastgroup), match.end()
        if match.group("comment"):
            position = _comment_end(text, end)
            continue
        if match.group("dollar"):
            kind, end = "string", _dollar_end(text, match)
        if not match.group("space"):
            yield position, kind, text[position:end]
        position = end


def _comment_end(text: str, position: int) -> int:
    depth = 1
    for edge in _COMMENT_EDGE.finditer(text, position):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(text)


def _dollar_end(text: str, match: re.Match[str]) -> int:
    closing = text.find(match.group("dollar"), match.end())
    return len(text) if closing < 0 else closing + len(match.group("dollar"))
