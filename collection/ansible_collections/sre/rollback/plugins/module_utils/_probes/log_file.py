# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A log in a file: what is written from now on, or since a moment, across rotations.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import os
import time
import typing as t
import weakref
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Leash,
    ProbeInconclusiveError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.timestamps import stamp_of

_LONGEST_BACKLOG = 16 * 1024 * 1024
_PIECE = 1024 * 1024
_LONGEST_LINE = 64 * 1024


@dataclass(frozen=True)
class Line:
    """One line of a log and when it was written, in seconds since the epoch."""

    text: str
    at: float


class _Opened:
    """An open file that is closed when nobody needs it any more."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        found = os.fstat(self._descriptor)
        self.identity = (found.st_ino, found.st_dev)
        self.size = found.st_size

    def read_at(self, position: int) -> bytes:
        return os.pread(self._descriptor, _PIECE, position)


class FileLog:
    """New lines of a file. With ``cutoff`` also the old ones that are not older.

    A file that is replaced is read to its end first, one that is cut is read from its beginning.
    """

    def __init__(self, path: str, cutoff: float | None) -> None:
        self._path = Path(path)
        self._cutoff = cutoff
        self._backlog_due = cutoff is not None
        self._rest = b""
        self._file: _Opened | None = None
        self._position = 0
        self._inode: int | None = None
        if cutoff is None:
            self._start_at_end()

    def _start_at_end(self) -> None:
        try:
            found = self._path.stat()
        except OSError:
            # Created later, it will be read from its beginning.
            return
        self._position, self._inode = found.st_size, found.st_ino

    def read(self, leash: Leash) -> t.Iterator[list[Line]]:
        """The lines since the last call, in batches. Raises ProbeInconclusiveError.

        A batch counts as read when the next one is asked for: what the caller could not finish
        comes again.
        """
        try:
            if self._backlog_due:
                yield self._read_backlog(leash)
                self._backlog_due = False
            yield from self._read_news(leash)
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
            raise ProbeInconclusiveError(f"{self._path} cannot be read: {reason}") from exc

    def _read_news(self, leash: Leash) -> t.Iterator[list[Line]]:
        if self._file is None:
            self._file = self._reopened()
        current = self._path.stat()
        if (current.st_ino, current.st_dev) != self._file.identity:
            yield from self._drain(leash)
            self._inode, self._position, self._rest = None, 0, b""
            self._file = _Opened(self._path)
        elif current.st_size < self._position:
            self._position, self._rest = 0, b""
        yield from self._drain(leash)

    def _reopened(self) -> _Opened:
        opened = _Opened(self._path)
        if self._inode is not None and opened.identity[0] != self._inode:
            # Replaced between the start of the gate and the first look.
            self._position = 0
        return opened

    def _drain(self, leash: Leash) -> t.Iterator[list[Line]]:
        opened = t.cast(_Opened, self._file)
        while True:
            leash.remaining()
            piece = opened.read_at(self._position)
            if not piece:
                return
            *whole, rest = (self._rest + piece).split(b"\n")
            now = time.time()
            yield [Line(_decoded(line), now) for line in whole]
            self._position += len(piece)
            self._rest = rest[-_LONGEST_LINE:]

    def _read_backlog(self, leash: Leash) -> list[Line]:
        self._file = _Opened(self._path)
        self._position, self._rest = max(0, self._file.size - _LONGEST_BACKLOG), b""
        whole = self._position == 0
        lines = [line for batch in self._drain(leash) for line in batch]
        return dated(lines, cutoff=self._cutoff or 0.0, whole=whole)


def _decoded(line: bytes) -> str:
    return line[:_LONGEST_LINE].decode("utf-8", "replace").rstrip("\r")


def dated(lines: t.Sequence[Line], *, cutoff: float, whole: bool) -> list[Line]:
    """The lines that were not written before ``cutoff``. One without a time has that before it.

    Raises ProbeInconclusiveError when the times cannot be read, or the file begins too late.
    """
    now = time.time()
    kept: list[Line] = []
    stamp: float | None = None
    for line in lines:
        own = stamp_of(line.text, now=now)
        if stamp is None and own is not None and own >= cutoff and not whole:
            raise ProbeInconclusiveError(
                f"more than {_LONGEST_BACKLOG // 2**20} MiB were logged since then; lower since"
            )
        stamp = stamp if own is None else own
        if stamp is not None and stamp >= cutoff:
            kept.append(Line(line.text, stamp))
    if lines and stamp is None:
        raise ProbeInconclusiveError("the lines carry no time that can be read; leave since out")
    return kept
