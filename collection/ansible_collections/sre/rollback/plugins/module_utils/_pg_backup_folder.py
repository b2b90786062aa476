# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The folder of a backup: it appears whole or not at all, and goes when there are enough.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import typing as t
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_backups import list_backups

PARTIAL = ".partial"


class DumpError(RollbackError):
    """No backup was made."""


@contextlib.contextmanager
def partial_folder(dest: Path, identity: str) -> t.Iterator[Path]:
    """A folder that only its maker may use, gone again unless it was renamed."""
    folder = dest / f".{identity}{PARTIAL}"
    try:
        dest.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_abandoned(dest)
        folder.mkdir(mode=0o700)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as exc:
        raise DumpError(f"cannot write to {dest}: {exc.strerror}. No backup was made.") from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    except OSError as exc:
        raise DumpError(f"cannot write to {folder}: {exc.strerror}. No backup was made.") from exc
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def remove_abandoned(dest: Path) -> None:
    """Remove what backups that were killed left behind; whoever still works holds its lock."""
    for folder in dest.glob(f".*{PARTIAL}"):
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Younger ones may be between being made and being locked.
                if time.time() - folder.stat().st_mtime > 5:
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def surplus(dest: Path, database: str, retention: int, *, coming: int = 0) -> list[Path]:
    """The backups of ``database`` that are more than the newest ``retention``.

    ``coming`` of them are yet to be made. The newest one that a restore has proved stays in any
    case, and so does every one that is not whole: somebody may want to know why.
    """
    if not retention:
        return []
    whole = [one for one in list_backups(dest, database) if one.complete]
    proved = [one.id for one in whole if one.proved][:1]
    return [Path(one.path) for one in whole[retention - coming :] if one.id not in proved]


def remove(backup: Path) -> None:
    """Remove a backup; it is no backup any more from the first moment on."""
    doomed = backup.with_name(f".{backup.name}{PARTIAL}")
    backup.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
