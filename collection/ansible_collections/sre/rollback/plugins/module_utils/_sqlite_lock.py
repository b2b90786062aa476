# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who uses a SQLite database, and how to keep everybody out of it while it is exchanged.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
import typing as t
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._sqlite import SIDECARS, sidecar

# The bytes of the database file that SQLite locks: PENDING, RESERVED and 510 SHARED
# (https://sqlite.org/lockingv3.html; src/os.h). Nothing is stored there.
_PENDING_BYTE = 0x40000000
_LOCKED_BYTES = 512
_PAUSE = 0.05


class DatabaseInUseError(RollbackError):
    """Somebody has the database open, holds a lock on it, or is restoring it."""


def users_of(path: Path) -> list[dict[str, t.Any]]:
    """The other processes that have the database or a file beside it open, as far as visible.

    Root sees all processes, others see their own.
    """
    files = set()
    for file in (path, *(sidecar(path, suffix) for suffix in SIDECARS)):
        with contextlib.suppress(OSError):
            files.add(_identity(file.stat()))
    return [
        {"pid": pid, "name": _process_name(pid)}
        for pid in _processes()
        if pid != os.getpid() and _has_open(pid, files)
    ]


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _processes() -> list[int]:
    with contextlib.suppress(OSError):
        return sorted(int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit())
    return []


def _has_open(pid: int, files: set[tuple[int, int]]) -> bool:
    with contextlib.suppress(OSError):
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if _identity(handle.stat()) in files:
                    return True
    return False


def _process_name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    return ""


@contextlib.contextmanager
def exclusive_folder(folder: Path) -> t.Iterator[None]:
    """One restore at a time below ``folder``. Raises DatabaseInUseError when another one runs."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(handle)
        raise DatabaseInUseError(
            f"another restore is running in {folder}. Nothing was changed. Wait for it to end."
        ) from exc
    try:
        yield
    finally:
        os.close(handle)


def fold_log(path: Path, *, timeout: float) -> None:
    """Bring a write-ahead log or a hot journal into the database, unless somebody is in the way."""
    with contextlib.suppress(sqlite3.Error):
        connection = sqlite3.connect(str(path), timeout=timeout)
        with contextlib.closing(connection):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()


@contextlib.contextmanager
def locked(path: Path, *, timeout: float, force: bool) -> t.Iterator[None]:
    """SQLite's exclusive lock on ``path``, in its own terms but without opening it as a database:
    SQLite tidies up by name when it closes, and the name is about to be another's.

    Waits ``timeout`` seconds. Raises DatabaseInUseError unless ``force``.
    """
    handle = os.open(path, os.O_RDWR)
    try:
        deadline = time.monotonic() + timeout
        while not _try_lock(handle):
            if time.monotonic() >= deadline:
                if force:
                    break
                raise DatabaseInUseError(
                    f"{path} is locked by somebody{_named(users_of(path))}. Nothing was changed. "
                    "Stop what uses it, or restore with force=true."
                )
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCKED_BYTES, _PENDING_BYTE)
    except OSError:
        return False
    return True


def refuse_users(path: Path, *, force: bool) -> None:
    """Raise DatabaseInUseError when other processes have ``path`` open, unless ``force``.

    A connection in rollback-journal mode holds no lock while idle, and would go on writing to the
    file that was moved aside.
    """
    users = users_of(path)
    if users and not force:
        raise DatabaseInUseError(
            f"{path} is open{_named(users)}. Nothing was changed. Stop what uses it, or restore "
            "with force=true.",
            users=users,
        )


def _named(users: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    if not users:
        return ""
    return " in " + ", ".join(f"{user['name']} (pid {user['pid']})" for user in users)
