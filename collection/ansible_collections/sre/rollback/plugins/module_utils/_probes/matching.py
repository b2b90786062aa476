# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Regular expressions that cannot hold the gate up.

Python searches without ever letting another thread run, and an unlucky expression can take years.
So a search is made in this process only when it is certainly short; any other is made by a
process that can be ended.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import json
import re
import sys
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Leash,
    ProbeFailedError,
    ProbeInconclusiveError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.program import run_program

# Steps of a backtracking search that take well under a second.
_SHORT = 50_000_000
_REPEATS = re.compile(r"[*+{]")
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_BACKREFERENCE = re.compile(r"\\[1-9]|\(\?P=")
_PROGRAM = """
import json, re, sys
wanted = json.load(sys.stdin)
found = re.compile(wanted["pattern"])
print("".join("1" if found.search(line) else "0" for line in wanted["lines"]))
"""


@dataclass(frozen=True)
class Pattern:
    """A regular expression and the most that a search with it can cost."""

    text: str
    regex: re.Pattern[str]

    @classmethod
    def compile(cls, text: str, option: str) -> Pattern:
        """Raises ProbeRefusedError for an invalid expression."""
        try:
            return cls(text, re.compile(text))
        except (re.error, OverflowError, RecursionError) as exc:
            raise ProbeRefusedError(
                f"{option} {text!r} is not a valid regular expression: {exc}"
            ) from None

    def steps(self, length: int) -> float:
        """More than a search in ``length`` characters can take, as a power of the length."""
        if _REPEATED_GROUP.search(self.text) or _BACKREFERENCE.search(self.text):
            return float("inf")
        power = len(_REPEATS.findall(self.text)) + 1
        return float(max(length, 2)) ** power

    def found_in(self, text: str, leash: Leash) -> bool:
        """Whether it matches anywhere in ``text``. Raises LeashExpiredError."""
        return self.matches([text], leash)[0]

    def matches(self, lines: t.Sequence[str], leash: Leash) -> list[bool]:
        """For each line whether it matches. Raises LeashExpiredError."""
        longest = max(map(len, lines), default=0)
        if self.steps(longest) * len(lines) <= _SHORT:
            return [self.regex.search(line) is not None for line in lines]
        return _matches_apart(self.text, lines, leash)


def _matches_apart(pattern: str, lines: t.Sequence[str], leash: Leash) -> list[bool]:
    question = json.dumps({"pattern": pattern, "lines": list(lines)}).encode()
    try:
        done = run_program([sys.executable, "-I", "-c", _PROGRAM], leash, stdin=question)
    except ProbeFailedError as exc:
        raise ProbeInconclusiveError(f"could not search for {pattern!r}: {exc}") from exc
    answers = done.stdout.strip()
    if done.rc != 0 or len(answers) != len(lines):
        raise ProbeInconclusiveError(f"could not search for {pattern!r}")
    return [answer == "1" for answer in answers]
