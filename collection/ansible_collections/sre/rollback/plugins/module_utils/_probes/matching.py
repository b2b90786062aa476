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
import subprocess
import sys
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Leash,
    LeashExpiredError,
    ProbeInconclusiveError,
    ProbeRefusedError,
)

# Steps of a backtracking search that take well under a second.
_SHORT = 50_000_000
_REPEATS = re.compile(r"[*+{]")
_REPEATED_GROUP = re.compile(r"\)[*+{]")
_BACKREFERENCE = re.compile(r"\\[1-9]|\(\?P=")
_PROGRAM = """
import json, re, sys
wanted = json.load(sys.stdin)
found = re.compile(wanted["pattern"])
print(sum(1 for line in wanted["lines"] if found.search(line)))
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
        return self.count([text], leash) > 0

    def count(self, lines: t.Sequence[str], leash: Leash) -> int:
        """In how many of ``lines`` it matches. Raises LeashExpiredError."""
        if not lines:
            return 0
        longest = max(len(line) for line in lines)
        if self.steps(longest) * len(lines) <= _SHORT:
            return sum(1 for line in lines if self.regex.search(line))
        return _count_apart(self.text, lines, leash)


def _count_apart(pattern: str, lines: t.Sequence[str], leash: Leash) -> int:
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _PROGRAM],
            input=json.dumps({"pattern": pattern, "lines": list(lines)}).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=leash.remaining(),
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise LeashExpiredError from None
    except (OSError, subprocess.CalledProcessError) as exc:
        raise ProbeInconclusiveError(f"could not search for {pattern!r}: {exc}") from exc
    return int(done.stdout)
