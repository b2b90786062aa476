# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A log in systemd's journal: the entries of one unit.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Leash,
    ProbeFailedError,
    ProbeInconclusiveError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.log_file import Line
from ansible_collections.sre.rollback.plugins.module_utils._probes.program import run_program

_CURSOR = "-- cursor: "
_UNIT = re.compile(r"^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*$")


class JournalLog:
    """Entries of a unit since a time in seconds since the epoch, each read once."""

    def __init__(self, unit: str, cutoff: float) -> None:
        if not _UNIT.match(unit):
            raise ProbeRefusedError(f"{unit!r} is not the name of a unit")
        self._unit = unit
        self._cutoff = cutoff
        self._cursor: str | None = None
        self._known = False

    def read(self, leash: Leash) -> t.Iterator[list[Line]]:
        """The entries since the last call, as one batch. Raises ProbeInconclusiveError.

        They count as read when more is asked for.
        """
        if not self._known:
            self._require_known(leash)
        start = f"--since=@{self._cutoff:.6f}"
        if self._cursor is not None:
            start = f"--after-cursor={self._cursor}"
        text = self._run([start, "--show-cursor", "--output=short-unix"], leash)
        lines, cursor = parse_journal(text)
        yield lines
        self._cursor = cursor or self._cursor

    def _require_known(self, leash: Leash) -> None:
        # No matches in the log of a unit that does not exist would be no news.
        if not self._run(["--lines=1", "--output=cat"], leash).strip():
            raise ProbeInconclusiveError(f"the journal has no entry of {self._unit}")
        self._known = True

    def _run(self, options: t.Sequence[str], leash: Leash) -> str:
        argv = ["journalctl", "--no-pager", "--quiet", f"--unit={self._unit}", *options]
        try:
            done = run_program(argv, leash, environment={"LC_ALL": "C"})
        except ProbeFailedError as exc:
            raise ProbeInconclusiveError(f"the journal cannot be read: {exc}") from exc
        complaint = " ".join(done.stderr.split())[:200]
        # Without an entry to show it ends with 1 and says nothing.
        if done.rc not in (0, 1) or complaint:
            reason = complaint or f"journalctl ended with exit code {done.rc}"
            raise ProbeInconclusiveError(f"the journal cannot be read: {reason}")
        return done.stdout


def parse_journal(text: str) -> tuple[list[Line], str | None]:
    """The entries in the format ``short-unix``, and the cursor of the last one."""
    lines: list[Line] = []
    cursor = None
    for line in text.splitlines():
        if line.startswith(_CURSOR):
            cursor = line[len(_CURSOR) :].strip()
            continue
        stamp, _space, entry = line.partition(" ")
        try:
            lines.append(Line(entry, float(stamp)))
        except ValueError:
            # A further line of the entry before.
            lines.append(Line(line, lines[-1].at if lines else 0.0))
    return lines, cursor
