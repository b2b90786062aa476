# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The backups of a folder as pg_backup_info returns them, whole or not.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import typing as t
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._pg_backup_folder import PARTIAL
from ansible_collections.sre.rollback.plugins.module_utils._pg_backups import Backup, list_backups

_TIME = "%Y-%m-%dT%H:%M:%SZ"


def backups_of(
    dest: Path, *, database: str | None, label: str | None, now: dt.datetime
) -> list[dict[str, t.Any]]:
    """The backups in ``dest``, newest first; raises BackupError when it cannot be listed.

    What has no readable manifest is listed whatever the filters say, because nobody knows what it
    is of.
    """
    found = [_entry(each, now) for each in list_backups(dest, database)]
    found += [_unfinished(path) for path in dest.glob(f".*{PARTIAL}")]
    wanted = [
        each
        for each in found
        if label is None or each["label"] == label or each["database"] is None
    ]
    return sorted(wanted, key=lambda each: (_moment(each), each["id"]), reverse=True)


def _entry(backup: Backup, now: dt.datetime) -> dict[str, t.Any]:
    return {
        "id": backup.id,
        "path": backup.path,
        "database": backup.database or None,
        "label": backup.label or None,
        "format": backup.format or None,
        "bytes": backup.bytes,
        "started": backup.started or None,
        "finished": backup.finished or None,
        "age": _age(backup.finished, now),
        "server_version": backup.server_version or None,
        "complete": backup.complete,
        "problem": backup.problem or None,
        "proved": backup.proved,
    }


def _unfinished(path: Path) -> dict[str, t.Any]:
    identity = path.name[1 : -len(PARTIAL)]
    empty = Backup(identity, str(path), "", "", "", 0, "", "", 0, False, "", None)
    problem = (
        "it is being made right now"
        if _is_locked(path)
        else "it was interrupted; the next backup removes it"
    )
    return {**_entry(empty, dt.datetime.now(dt.timezone.utc)), "problem": problem}


def _is_locked(path: Path) -> bool:
    """Whether the run that makes the backup still lives: it holds a lock on the folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False


def _age(finished: str, now: dt.datetime) -> float | None:
    try:
        then = dt.datetime.strptime(finished, _TIME).replace(tzinfo=dt.timezone.utc)
    except ValueError:
        return None
    return round((now - then).total_seconds(), 3)


def _moment(entry: t.Mapping[str, t.Any]) -> str:
    """When it was finished; of one without a manifest, when its folder was last written to."""
    if entry["finished"]:
        return str(entry["finished"])
    try:
        written = Path(entry["path"]).stat().st_mtime
    except OSError:
        return ""
    return dt.datetime.fromtimestamp(written, dt.timezone.utc).strftime(_TIME)
