# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replace a file in one step: readers see the old content or the new, and never a part.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
import time
import typing as t
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

_WAIT = 0.02
_ABANDONED = 60.0
_LATER_NS = 1_000_000
#: NFS locks only what is open for writing, which a folder never is.
_UNLOCKABLE = (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP)


class FileError(RollbackError):
    """A file could not be read or written; it is as it was."""


def read(path: str) -> bytes | None:
    """The content, or None when there is no such file. Raises FileError."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise FileError(f"{path} cannot be read: {exc.strerror}. Nothing was changed.") from exc


@contextlib.contextmanager
def alone(path: str, *, timeout: float = 10.0) -> t.Iterator[None]:
    """Keep other processes that use this out of the file's folder, for reading and writing back.

    It is the folder that is locked, so nothing is left behind, and the kernel unlocks it when the
    process dies. ``timeout`` is in seconds. Raises FileError.
    """
    folder = Path(path).resolve().parent
    try:
        descriptor = os.open(str(folder), os.O_RDONLY)
    except OSError as exc:
        raise FileError(
            f"{path} cannot be written: its folder cannot be opened ({exc.strerror}). Nothing was "
            "changed. Check the path."
        ) from exc
    try:
        deadline = time.monotonic() + timeout
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                raise FileError(
                    f"another process has been changing files in {folder} for {timeout:g} s. "
                    "Nothing was changed. Run it again when that one has ended."
                )
            time.sleep(_WAIT)
        yield
    finally:
        os.close(descriptor)


def replace(path: str, content: bytes, *, mode: int = 0o644) -> None:
    """Write beside, sync, rename, sync the folder.

    An existing file keeps its mode, owner and extended attributes; ``mode`` is for a new one. A
    symbolic link is followed, so that the link stays. The new file is always younger than the old
    one: readers that poll (OpenFeature's do) compare the times. Raises FileError; the old content
    is still there then.
    """
    target = Path(path).resolve()
    partial = None
    try:
        _remove_abandoned(target)
        descriptor, partial = tempfile.mkstemp(prefix=_prefix(target), dir=str(target.parent))
        with os.fdopen(descriptor, "wb") as file:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(content)
            file.flush()
            _like(target, partial, mode)
            os.fsync(descriptor)
            Path(partial).replace(target)
        _sync_folder(target.parent)
    except OSError as exc:
        if partial is not None:
            with contextlib.suppress(OSError):
                Path(partial).unlink()
        raise FileError(f"{path} cannot be written: {exc.strerror}. It is as it was.") from exc


def remove(path: str) -> None:
    """Remove a file that may be gone already. Raises FileError."""
    target = Path(path)
    try:
        target.unlink()
        _sync_folder(target.parent)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise FileError(f"{path} cannot be removed: {exc.strerror}.") from exc


def _prefix(target: Path) -> str:
    # Hidden, so that an include of "folder/*" in somebody's configuration does not find it.
    return f".{target.name}.rollback-"


def _remove_abandoned(target: Path) -> None:
    """What killed writers left: old, and without the lock that a living writer holds."""
    prefix, now = _prefix(target), time.time()
    for name in os.listdir(str(target.parent)):  # noqa: PTH208 - no objects for a large folder
        if not name.startswith(prefix):
            continue
        part = target.parent / name
        with contextlib.suppress(OSError):
            descriptor = os.open(str(part), os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if now - os.fstat(descriptor).st_mtime > _ABANDONED:
                    part.unlink()
            finally:
                os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        return exc.errno in _UNLOCKABLE
    return True


def _like(target: Path, partial: str, mode: int) -> None:
    try:
        status = target.stat()
    except FileNotFoundError:
        Path(partial).chmod(mode)
        return
    made = Path(partial).stat()
    if (status.st_uid, status.st_gid) != (made.st_uid, made.st_gid):
        os.chown(partial, status.st_uid, status.st_gid)
    _copy_attributes(str(target), partial)
    Path(partial).chmod(status.st_mode & 0o7777)
    youngest = max(made.st_mtime_ns, status.st_mtime_ns + _LATER_NS)
    os.utime(partial, ns=(youngest, youngest))


def _copy_attributes(source: str, partial: str) -> None:
    """Access control lists and security labels, as far as the file system and rights allow."""
    with contextlib.suppress(OSError):
        for name in os.listxattr(source):
            with contextlib.suppress(OSError):
                os.setxattr(partial, name, os.getxattr(source, name))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(str(folder), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
