# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore points of keys: a file that has what a flush removed, written before it is removed.

A file is lines of JSON: a header, then one key a line, with the value as DUMP gives it (which
carries its own checksum). The last line may be torn: its key was not removed yet.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import pathlib
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

FORMAT = "sre.rollback.redis_flush restore point 1"


class RestorePointError(RollbackError):
    """A restore point that cannot be written, or cannot be read."""


@dataclass(frozen=True)
class KeptKey:
    """One key as it was. ``expires_at`` is in milliseconds since 1970; None means never."""

    db: int
    key: bytes
    dump: bytes
    expires_at: int | None

    def encode(self) -> bytes:
        expires_at = b"null" if self.expires_at is None else b"%d" % self.expires_at
        return b'{"db": %d, "key": "%s", "expires_at": %s, "dump": "%s"}\n' % (
            self.db,
            base64.b64encode(self.key),
            expires_at,
            base64.b64encode(self.dump),
        )


class RestorePointWriter:
    """A new restore point. Only the owner can read it."""

    def __init__(self, path: str, *, header: t.Mapping[str, t.Any], max_bytes: int) -> None:
        self.path = path
        self.keys = 0
        self._max_bytes = max_bytes
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise RestorePointError(
                f"{path} exists already, and may be the only copy of something. Nothing was "
                "changed. Give restore_point another path."
            ) from None
        except OSError as exc:
            raise _unwritable(path, exc) from exc
        # Without a buffer: one that cannot be written would fail again when the file is closed.
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        try:
            self._write(json.dumps({"format": FORMAT, **header}).encode() + b"\n")
            _sync_folder(path)
        except OSError as exc:
            self.finish()
            raise _unwritable(path, exc) from exc

    def position(self) -> int:
        return self._file.tell()

    def keep(self, kept: t.Sequence[KeptKey]) -> None:
        """Have these keys on the disk when this returns.

        Raises RestorePointError, the file being as before, when there is no room for them.
        """
        start = self.position()
        lines = b"".join([each.encode() for each in kept])
        if start + len(lines) > self._max_bytes:
            raise RestorePointError(
                f"The restore point {self.path} would become larger than "
                f"restore_point_max_bytes ({self._max_bytes})."
            )
        try:
            self._write(lines)
        except OSError as exc:
            self._cut(start)
            raise RestorePointError(
                f"The restore point {self.path} cannot be written: {exc.strerror}."
            ) from exc
        self.keys += len(kept)

    def forget(self, start: int, number: int) -> None:
        """Drop the last ``number`` keys, which begin at ``start`` and were not removed."""
        self._cut(start)
        self.keys -= number

    def finish(self) -> dict[str, t.Any] | None:
        """Close the file and say what is in it; a file without any key is removed."""
        size = self.position()
        self._file.close()
        if not self.keys:
            pathlib.Path(self.path).unlink()
            return None
        return {"path": self.path, "keys": self.keys, "bytes": size}

    def _cut(self, start: int) -> None:
        self._file.seek(start)
        self._file.truncate()

    def _write(self, lines: bytes) -> None:
        rest = memoryview(lines)
        while rest:
            rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())


def _unwritable(path: str, exc: OSError) -> RestorePointError:
    return RestorePointError(
        f"The restore point {path} cannot be written: {exc.strerror}. Nothing was changed."
    )


def _sync_folder(path: str) -> None:
    descriptor = os.open(pathlib.Path(path).resolve().parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class RestorePoint:
    """A restore point that has been read through once. ``torn`` tells of a cut last line."""

    path: str
    header: t.Mapping[str, t.Any]
    keys: int
    torn: bool

    def read(self) -> t.Iterator[KeptKey]:
        """The keys, in the order of their removal."""
        with pathlib.Path(self.path).open("rb") as lines:
            lines.readline()
            for number, line in enumerate(lines, start=2):
                if line.endswith(b"\n"):
                    yield _parse_line(line, self.path, number)


def open_restore_point(path: str) -> RestorePoint:
    """Read a file through. Raises RestorePointError when any line of it is damaged."""
    try:
        with pathlib.Path(path).open("rb") as lines:
            header = _parse_header(lines.readline(), path)
            keys, torn = 0, False
            for number, line in enumerate(lines, start=2):
                torn = not line.endswith(b"\n")
                if not torn:
                    _parse_line(line, path, number)
                    keys += 1
    except OSError as exc:
        raise RestorePointError(
            f"The restore point {path} cannot be read: {exc.strerror}. Nothing was changed."
        ) from exc
    return RestorePoint(path, header, keys, torn)


def _parse_header(line: bytes, path: str) -> dict[str, t.Any]:
    try:
        header = json.loads(line)
        known = header["format"] == FORMAT
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise RestorePointError(
            f"{path} is not a restore point of this module. Nothing was changed."
        )
    return t.cast("dict[str, t.Any]", header)


def _parse_line(line: bytes, path: str, number: int) -> KeptKey:
    try:
        entry = json.loads(line)
        expires_at = entry["expires_at"]
        return KeptKey(
            db=int(entry["db"]),
            key=base64.b64decode(entry["key"], validate=True),
            dump=base64.b64decode(entry["dump"], validate=True),
            expires_at=None if expires_at is None else int(expires_at),
        )
    except (ValueError, KeyError, TypeError, binascii.Error) as exc:
        raise RestorePointError(
            f"Line {number} of the restore point {path} is damaged. Nothing was changed. Take a "
            "copy of the file from a backup, or remove that line to restore the rest."
        ) from exc
