# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replace a file in one step: readers see the old content or the new, and never a part.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError


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


def replace(path: str, content: bytes, *, mode: int = 0o644) -> None:
    """Write beside, sync, rename, sync the folder.

    An existing file keeps its mode and its owner; ``mode`` is for a new one. A symbolic link is
    followed, so that the link stays. Raises FileError; the old content is still there then.
    """
    target = Path(path).resolve()
    descriptor, partial = -1, ""
    try:
        descriptor, partial = tempfile.mkstemp(prefix=f".{target.name}.", dir=str(target.parent))
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            _like(target, partial, mode)
            os.fsync(file.fileno())
        Path(partial).replace(target)
        _sync_folder(target.parent)
    except OSError as exc:
        with contextlib.suppress(OSError):
            Path(partial).unlink()
        raise FileError(f"{path} cannot be written: {exc.strerror}. It is as it was.") from exc


def remove(path: str) -> None:
    """Remove a file that may be gone already. Raises FileError."""
    try:
        Path(path).unlink()
    except FileNotFoundError:
        return
    except OSError as exc:
        raise FileError(f"{path} cannot be removed: {exc.strerror}.") from exc


def _like(target: Path, partial: str, mode: int) -> None:
    try:
        status = target.stat()
    except FileNotFoundError:
        Path(partial).chmod(mode)
        return
    shutil.copymode(str(target), partial)
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(partial, status.st_uid, status.st_gid)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(str(folder), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
