# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The log of a Docker container.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import re
import typing as t
from datetime import datetime, timezone

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Leash,
    Options,
    ProbeFailedError,
    ProbeInconclusiveError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.docker_api import (
    DockerEngine,
    unframed,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.log_file import Line

_STAMP = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z ?(.*)$", re.DOTALL)


class ContainerLog:
    """Lines of both output streams since a time in seconds since the epoch, each read once."""

    def __init__(self, options: Options, cutoff: float) -> None:
        self._engine = DockerEngine(options)
        self._container = options["container"]
        self._since = cutoff
        self._last = ""

    def read(self, leash: Leash) -> t.Iterator[list[Line]]:
        """The lines since the last call, as one batch. Raises ProbeInconclusiveError.

        They count as read when more is asked for.
        """
        try:
            known = self._engine.inspect(self._container, leash)
            raw = self._engine.logs(self._container, since=self._since, leash=leash)
        except ProbeFailedError as exc:
            raise ProbeInconclusiveError(f"{self._container}: {exc}") from exc
        has_terminal = bool(known.get("Config", {}).get("Tty"))
        text = raw if has_terminal else b"".join(unframed(raw))
        lines = []
        for stamp, at, line in parse_lines(text.decode("utf-8", "replace")):
            if stamp > self._last:
                lines.append((stamp, Line(line, at)))
        yield [line for _stamp, line in lines]
        if lines:
            # Asked again, Docker repeats the lines of the last moment.
            self._last = max(stamp for stamp, _line in lines)
            self._since = max(line.at for _stamp, line in lines)


def parse_lines(text: str) -> t.Iterator[tuple[str, float, str]]:
    """Each line with its time: as a string that sorts, and in seconds since the epoch."""
    for line in text.split("\n"):
        # A terminal ends its lines with both characters.
        found = _STAMP.match(line.rstrip("\r"))
        if found is None:
            continue
        moment = datetime.strptime(found[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
        fraction = (found[2] or "").ljust(9, "0")
        yield f"{found[1]}.{fraction}", moment.timestamp() + float(f"0.{fraction}"), found[3]
