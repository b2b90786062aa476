# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Exchange a SQLite database for another file, and keep the former one aside under a name.

At every moment the database's name is either the former file or the new one.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._sqlite import (
    SIDECARS,
    copy_database,
    prove,
    require_proof,
    sidecar,
)
from ansible_collections.sre.rollback.plugins.module_utils._sqlite_lock import (
    exclusive_folder,
    fold_log,
    locked,
    refuse_users,
)

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_integrity import Check
    from ansible_collections.sre.rollback.plugins.module_utils._sqlite import Proof


class RestoreRefusedError(RollbackError):
    """The restore cannot be made; nothing was changed."""


class RestoreFailedError(RollbackError):
    """The file system refused a step."""


@dataclass(frozen=True)
class Restore:
    """A database and the names its versions have around one restore.

    Only of a ``sound`` database is the write-ahead log brought into it. SQLite would also do that
    to a damaged one, or throw the log away.
    """

    database: Path
    restore_id: str
    lock_timeout: float
    force: bool
    sound: bool

    @property
    def predecessor(self) -> Path:
        """What was there before. An empty file when nothing was: SQLite reads both alike."""
        return self.database.with_name(f"{self.database.name}.before-{self.restore_id}")

    @property
    def staging(self) -> Path:
        """The proved copy before it takes the database's name."""
        return self.database.with_name(f".{self.database.name}.restoring-{self.restore_id}")

    @property
    def successors(self) -> list[Path]:
        """Restored databases that were swapped out again, oldest first."""
        found = self.database.parent.iterdir() if self.database.parent.is_dir() else iter(())
        prefix = f"{self.database.name}.after-{self.restore_id}-"
        return sorted(
            path
            for path in found
            if path.name.startswith(prefix) and not path.name.endswith(SIDECARS)
        )

    @property
    def done(self) -> bool:
        """Whether the restore took place: the predecessor is there, and is not the database.

        They are the same file, or there is no database, when a run was killed between the two
        steps of the swap.
        """
        return self.database.exists() and self.can_go_back

    @property
    def can_go_back(self) -> bool:
        """Whether the predecessor is there, and is not the database."""
        return self.predecessor.exists() and not _same_file(self.predecessor, self.database)

    def new_successor(self) -> Path:
        """The name to keep the restored database under when it is swapped out."""
        for path in self.successors:
            if _same_file(path, self.database):
                return path
        moment = dt.datetime.now(dt.timezone.utc).strftime("%Y%m%dT%H%M%S%fZ")
        return self.database.with_name(f"{self.database.name}.after-{self.restore_id}-{moment}")


def bring_in(
    restore: Restore, backup: Path, checks: t.Sequence[Check], *, foreign_keys: bool
) -> Proof:
    """Copy ``backup``, prove the copy, and give it the database's name.

    Raises BackupUnusableError and DatabaseInUseError before the database is touched.
    """
    with _in_words(restore), exclusive_folder(restore.database.parent):
        refuse_users(restore.database, force=restore.force)
        _remove(restore.staging)
        try:
            copy_database(backup, restore.staging)
            proof = prove(restore.staging, checks, foreign_keys=foreign_keys)
            require_proof(proof, backup)
            _take_over_owner(restore.staging, restore.database, backup)
            _swap_in(restore)
        finally:
            _remove(restore.staging)
    return proof


def _swap_in(restore: Restore) -> None:
    database = restore.database
    if not database.exists():
        restore.predecessor.touch(mode=0o600)
        _set_aside_sidecars(database, restore.predecessor)
        _rename(restore.staging, database)
        return
    if restore.sound:
        fold_log(database, timeout=restore.lock_timeout)
    with locked(database, timeout=restore.lock_timeout, force=restore.force):
        refuse_users(database, force=restore.force)
        _link(database, restore.predecessor)
        # Before the database's own name changes: a log of the former file beside the new one would
        # be replayed into it.
        _set_aside_sidecars(database, restore.predecessor)
        _rename(restore.staging, database)


def bring_back(restore: Restore) -> Path:
    """Give the predecessor the database's name again; the path of the restored one, kept aside."""
    database = restore.database
    with _in_words(restore), exclusive_folder(database.parent):
        refuse_users(database, force=restore.force)
        if not database.exists():
            _bring_back_files(restore)
            return database
        if restore.sound:
            fold_log(database, timeout=restore.lock_timeout)
        successor = restore.new_successor()
        with locked(database, timeout=restore.lock_timeout, force=restore.force):
            _link(database, successor)
            _set_aside_sidecars(database, successor)
            _bring_back_files(restore)
    return successor


def _bring_back_files(restore: Restore) -> None:
    predecessor, database = restore.predecessor, restore.database
    if predecessor.stat().st_size == 0:
        # There was no database. Its name goes first: a rerun finds the predecessor still there.
        database.unlink(missing_ok=True)
        predecessor.unlink()
    else:
        predecessor.rename(database)
    for suffix in SIDECARS:
        kept = sidecar(predecessor, suffix)
        if kept.exists():
            kept.rename(sidecar(database, suffix))
    _sync(database.parent)


@contextlib.contextmanager
def _in_words(restore: Restore) -> t.Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise RestoreFailedError(
            f"the file system refused a step of restore {restore.restore_id!r}: {exc}. "
            f"{restore.database} is still wholly the former or wholly the restored file. Remove "
            "the cause and run the same again."
        ) from exc


def preflight(restore: Restore, backup: Path) -> None:
    """Raise RestoreRefusedError for what can be known to fail."""
    folder = restore.database.parent
    if not backup.is_file():
        raise RestoreRefusedError(
            f"there is no backup {backup}. The database was not touched. Correct `backup`."
        )
    if not folder.is_dir():
        raise RestoreRefusedError(f"there is no folder {folder}. Nothing was changed.")
    if _same_file(backup, restore.database):
        raise RestoreRefusedError(f"{backup} is the database itself. Nothing was changed.")
    if sidecar(backup, "-journal").exists():
        raise RestoreRefusedError(
            f"{backup} has a rollback journal beside it, so it was copied in the middle of a "
            "transaction. Nothing was changed. Take another backup, or open this one once with "
            "the sqlite3 program, which rolls it back."
        )
    needed, free = backup.stat().st_size, shutil.disk_usage(folder).free
    if needed > free:
        raise RestoreRefusedError(
            f"{folder} has {free} bytes free, the backup needs {needed}. Nothing was changed. "
            "Make room first."
        )


def _take_over_owner(staging: Path, database: Path, backup: Path) -> None:
    mode = (database if database.exists() else backup).stat().st_mode
    owner = (database if database.exists() else database.parent).stat()
    staging.chmod(mode & 0o7777)
    if (staging.stat().st_uid, staging.stat().st_gid) != (owner.st_uid, owner.st_gid):
        try:
            os.chown(staging, owner.st_uid, owner.st_gid)
        except PermissionError as exc:
            raise RestoreRefusedError(
                f"the restored file cannot be given to the owner of {database} by this user. "
                "The database was not touched. Run as root or as the owner."
            ) from exc


def _link(path: Path, other: Path) -> None:
    if _same_file(path, other):
        return
    try:
        os.link(path, other)
    except OSError as exc:
        raise RestoreRefusedError(
            f"{path} cannot be kept as {other}: {exc.strerror}. The database was not touched."
        ) from exc


def _set_aside_sidecars(database: Path, kept: Path) -> None:
    for suffix in SIDECARS:
        path = sidecar(database, suffix)
        if path.exists():
            path.rename(sidecar(kept, suffix))
    _sync(database.parent)


def _rename(path: Path, target: Path) -> None:
    path.rename(target)
    _sync(target.parent)


def _remove(path: Path) -> None:
    for each in (path, *(sidecar(path, suffix) for suffix in SIDECARS)):
        each.unlink(missing_ok=True)


def _same_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except FileNotFoundError:
        return False


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
