# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A folder of CSV files with an index, which appears whole or not at all.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import typing as t
import urllib.parse
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

_PARTIAL = ".partial"
_LOCK = ".lock"
_READ_SIZE = 1 << 20
# A file name may have 255 bytes; the number in front and the suffix need some of them.
_LONGEST_STEM = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class FolderError(RollbackError):
    """A folder of rows cannot be written or read."""


class CsvFile:
    """A CSV file being written, its digest on the way. Without a path only the digest is made."""

    def __init__(self, path: Path | None, columns: t.Sequence[str]) -> None:
        self.path = path
        self.rows = 0
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._handle = None if path is None else _create(path)
        header = ",".join('"' + column.replace('"', '""') + '"' for column in columns)
        self._put(header.encode() + b"\n")

    def write(self, line: bytes) -> None:
        """Append one row, a line of CSV with its end."""
        self.rows += 1
        self._put(line)

    def close(self) -> None:
        """Bring what was written to the disk."""
        if self._handle is None:
            return
        try:
            self._handle.flush()
            os.fsync(self._handle.fileno())
        except OSError as exc:
            raise _cannot_write(t.cast(Path, self.path), exc) from exc
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file, whatever became of its content."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self._handle.close()
            self._handle = None

    def entry(self) -> dict[str, t.Any]:
        """The file in the folder's index."""
        return {"rows": self.rows, "bytes": self._bytes, "sha256": self._digest.hexdigest()}

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._bytes += len(data)
        if self._handle is None:
            return
        try:
            self._handle.write(data)
        except OSError as exc:
            raise _cannot_write(t.cast(Path, self.path), exc) from exc


class NewFolder:
    """``<dest>/<id>``, built under a temporary name until :meth:`publish`."""

    def __init__(self, dest: Path, kind: str, *, name: str | None = None, pretend: bool) -> None:
        self.id = _unique_name(kind) if name is None else _free_name(dest, name)
        self.path = dest / self.id
        self._dest = dest
        self._pretend = pretend
        self._partial = dest / f".{self.id}{_PARTIAL}"
        self._files: dict[str, CsvFile] = {}
        self._lock: int | None = None
        self._published = False
        if not pretend:
            self._begin()

    def file(self, table: str, content: str, columns: t.Sequence[str]) -> CsvFile:
        """A new CSV file for ``content`` of ``table``; give its index entry to the index."""
        name = f"{len(self._files) + 1:04d}_{_file_stem(table)}.{content}.csv"
        file = CsvFile(None if self._pretend else self._partial / name, columns)
        self._files[name] = file
        return file

    def name_of(self, file: CsvFile) -> str:
        """The name ``file`` has in the folder."""
        return next(name for name, each in self._files.items() if each is file)

    def publish(self, index: t.Mapping[str, t.Any]) -> None:
        """Write the index and give the folder its name. A no-op of a pretended folder."""
        for file in self._files.values():
            file.close()
        if self._pretend:
            return
        try:
            with _create(self._partial / "index.json") as handle:
                handle.write(json.dumps(index, ensure_ascii=False, indent=1).encode() + b"\n")
                handle.flush()
                os.fsync(handle.fileno())
            (self._partial / _LOCK).unlink()
            _sync_folder(self._partial)
            self._partial.rename(self.path)
            self._published = True
            _sync_folder(self._dest)
        except OSError as exc:
            raise _cannot_write(self._dest, exc) from exc
        finally:
            self._unlock()

    def discard(self) -> None:
        """Forget what was written, also when it was published already."""
        for file in self._files.values():
            file.abandon()
        if not self._pretend:
            written = self.path if self._published else self._partial
            shutil.rmtree(written, ignore_errors=True)
            self._unlock()

    def _begin(self) -> None:
        try:
            self._dest.mkdir(mode=0o700, parents=True, exist_ok=True)
            remove_abandoned(self._dest)
            self._partial.mkdir(mode=0o700)
            self._lock = os.open(self._partial / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise _cannot_write(self._dest, exc) from exc

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _unique_name(kind: str) -> str:
    moment = dt.datetime.now(dt.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    return f"{moment}-{kind}-{secrets.token_hex(3)}"


def _free_name(dest: Path, name: str) -> str:
    """``name``, or with a number when an earlier attempt has left a folder of that name."""
    if not _NAME.fullmatch(name):
        raise FolderError(
            f"{name!r} cannot name a folder: it may have letters, digits, '.', '_' and '-', and "
            "begins with a letter or a digit. Nothing was changed."
        )
    free, number = name, 1
    while (dest / free).exists():
        number += 1
        free = f"{name}-{number}"
    return free


def remove_abandoned(dest: Path) -> None:
    """Remove what killed runs left half-written; the lock of a living run keeps its folder."""
    for partial in dest.glob(f".*{_PARTIAL}"):
        try:
            lock = os.open(partial / _LOCK, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(partial, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(lock)


def read_index(path: Path, kind: str) -> dict[str, t.Any]:
    """The index of a published folder. Raises FolderError when there is none of that kind."""
    try:
        index = json.loads((path / "index.json").read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise FolderError(
            f"{path} is not a readable folder of pg_salvage ({exc}). Nothing was changed."
        ) from exc
    if not isinstance(index, dict) or index.get("kind") != kind:
        raise FolderError(f"{path} is not a {kind} of pg_salvage. Nothing was changed.")
    return index


def newest(dest: Path, kind: str) -> t.Iterator[tuple[Path, dict[str, t.Any]]]:
    """The published folders of ``kind`` below ``dest`` with their index, newest first."""
    for path in sorted(dest.glob("[0-9]*"), reverse=True):
        try:
            yield path, read_index(path, kind)
        except FolderError:
            continue


def intact(path: Path, entry: t.Mapping[str, t.Any]) -> bool:
    """Whether the file is still the one that was written."""
    try:
        if path.stat().st_size != entry["bytes"]:
            return False
        digest = hashlib.sha256()
        with path.open("rb") as handle:
            for block in iter(lambda: handle.read(_READ_SIZE), b""):
                digest.update(block)
    except OSError:
        return False
    return digest.hexdigest() == entry["sha256"]


def _create(path: Path) -> t.BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return os.fdopen(os.open(path, flags, 0o600), "wb", buffering=1 << 16)
    except OSError as exc:
        raise _cannot_write(path, exc) from exc


def _file_stem(table: str) -> str:
    return urllib.parse.quote(table, safe=" ,()+=@")[:_LONGEST_STEM]


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cannot_write(path: Path, exc: OSError) -> FolderError:
    return FolderError(
        f"cannot write below {path}: {exc.strerror or exc}. Nothing was changed. "
        "Give a folder on a disk with room that this user may write to."
    )
