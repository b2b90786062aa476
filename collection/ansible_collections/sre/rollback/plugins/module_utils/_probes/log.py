# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe kind ``log``: a pattern appears in a log not too often, or often enough.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import heapq
import time
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
from ansible_collections.sre.rollback.plugins.module_utils._probes.docker_api import docker_options
from ansible_collections.sre.rollback.plugins.module_utils._probes.log_container import (
    ContainerLog,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.log_file import FileLog
from ansible_collections.sre.rollback.plugins.module_utils._probes.log_journal import JournalLog
from ansible_collections.sre.rollback.plugins.module_utils._probes.matching import Pattern


def _options() -> dict[str, t.Any]:
    return {
        "path": {"type": "path"},
        "unit": {"type": "str"},
        "container": {"type": "str"},
        **docker_options(),
        "pattern": {"type": "str", "required": True},
        "since": {"type": "float", "default": 0.0},
        "window": {"type": "float"},
        "max_matches": {"type": "int"},
        "min_matches": {"type": "int", "default": 0},
    }


_SOURCES = ["path", "unit", "container"]
_CONSTRAINTS = {"mutually_exclusive": [_SOURCES], "required_one_of": [_SOURCES]}


class Matches:
    """Counts matching lines, all or those of the last ``window`` seconds."""

    def __init__(self, *, at_least: int, at_most: int | None, window: float | None) -> None:
        self._at_least = at_least
        self._at_most = at_most
        self._window = window
        self._count = 0
        self._moments: list[float] = []

    def add(self, at: float) -> None:
        """One more matching line, written at this time (seconds since the epoch)."""
        self._count += 1
        if self._window is not None:
            heapq.heappush(self._moments, at)

    def judge(self, now: float) -> None:
        """Raise ProbeFailedError when there are too many or too few."""
        while self._window is not None and self._moments and self._moments[0] <= now - self._window:
            heapq.heappop(self._moments)
            self._count -= 1
        period = "" if self._window is None else f" in the last {self._window:g} s"
        if self._at_most is not None and self._count > self._at_most:
            raise ProbeFailedError(
                f"{self._count} matching lines{period}, at most {self._at_most} are allowed"
            )
        if self._count < self._at_least:
            raise ProbeFailedError(
                f"{self._count} matching lines{period}, at least {self._at_least} are demanded"
            )


def prepare(options: Options, context: Context) -> Probe:
    """Read the options. Raises ProbeRefusedError."""
    pattern = Pattern.compile(options["pattern"], "pattern")
    matches = _read_limits(options)
    cutoff = context.started_epoch - options["since"]
    log = _open(options, cutoff)

    def probe(leash: Leash) -> None:
        for lines in log.read(leash):
            found = pattern.matches([line.text for line in lines], leash)
            for line, matching in zip(lines, found):
                if matching:
                    matches.add(line.at)
        matches.judge(time.time())

    return probe


def _read_limits(options: Options) -> Matches:
    most, least, window = options.get("max_matches"), options["min_matches"], options.get("window")
    if not 0 <= options["since"] <= 30 * 86400:
        raise ProbeRefusedError("since must be from 0 to 30 days, in seconds")
    if window is not None and not window > 0:
        raise ProbeRefusedError("window must be above 0")
    if least < 0 or (most is not None and most < 0):
        raise ProbeRefusedError("min_matches and max_matches must not be below 0")
    if most is None and not least:
        # Nothing is said: then the pattern is what must not appear.
        most = 0
    if most is not None and least > most:
        raise ProbeRefusedError("min_matches is above max_matches")
    return Matches(at_least=least, at_most=most, window=window)


def _open(options: Options, cutoff: float) -> FileLog | JournalLog | ContainerLog:
    if options.get("path"):
        return FileLog(options["path"], None if not options["since"] else cutoff)
    if options.get("unit"):
        return JournalLog(options["unit"], cutoff)
    if options.get("container"):
        return ContainerLog(options, cutoff)
    raise ProbeRefusedError("path, unit or container is empty")


KIND = Kind("log", _options, prepare, instrument=True, constraints=_CONSTRAINTS)
