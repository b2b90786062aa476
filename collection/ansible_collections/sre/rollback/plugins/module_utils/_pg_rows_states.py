# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows of one table: live as a backup has them, and back as they were. Each sees what is done.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import asdict, replace
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._pg_dump_files import verify_files
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import read_databases
from ansible_collections.sre.rollback.plugins.module_utils._pg_kept import Kept, find_kept
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import (
    Manifest,
    read_manifest,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_preflight import RefusedError, refuse
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_lock import acquire
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_ready import (
    plan_of,
    stage_problems,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_request import (
    MODULE,
    Outcome,
    Request,
    described,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_rows import Rows, RowsError, session
from ansible_collections.sre.rollback.plugins.module_utils._pg_rows_aside import table_aside
from ansible_collections.sre.rollback.plugins.module_utils._pg_rows_restore import restore_rows
from ansible_collections.sre.rollback.plugins.module_utils._pg_rows_undo import undo_rows
from ansible_collections.sre.rollback.plugins.module_utils._postgres import connect

if t.TYPE_CHECKING:
    import psycopg


def rows_live(request: Request, *, check: bool) -> Outcome:
    """The rows are those of the backup; what was there instead is kept.

    Also with ``check`` the table is restored aside, because only that tells what would change.
    """
    with _sessions(request) as (maintenance, live):
        manifest = read_manifest(t.cast(Path, request.backup))
        done = find_kept(live, request.restore_id)
        if done is not None and not done.undone:
            _refuse_another(done, manifest, request)
            return _outcome(request, manifest, done, changed=False)
        rows = _rows(request)
        there = read_databases(maintenance)[request.database]
        plan = replace(plan_of(request, maintenance, manifest, there), what="rows")
        problems, warnings = stage_problems(request, maintenance, plan, there)
        refuse(problems)
        with request.progress.phase("read", manifest.bytes):
            verify_files(plan.backup, manifest, jobs=request.jobs, progress=request.progress.add)
        with table_aside(plan, maintenance, rows, request.progress) as (aside, trusted):
            kept = _restored(request, manifest, live, aside, trusted, check=check)
    changed = any(kept.counts.values())
    return _outcome(request, manifest, kept, changed=changed, warnings=warnings, check=check)


def rows_previous(request: Request, *, check: bool) -> Outcome:
    """The rows are those that the restore replaced."""
    with _sessions(request) as (_maintenance, live):
        kept = find_kept(live, request.restore_id)
        if kept is None:
            raise RefusedError(
                f"no rows were kept by a restore {request.restore_id!r}. Nothing was changed."
            )
        if not kept.undone:
            undo_rows(live, kept, lock_timeout=request.lock_timeout, check=check)
    return Outcome(
        changed=not kept.undone,
        before={"rows": {**_told(kept)}},
        after={"rows": {**_told(kept), "undone": True}},
        undo_reason="restore the rows again from the same backup",
        restore_id=request.restore_id,
        rows=_told(kept),
    )


@contextlib.contextmanager
def _sessions(
    request: Request,
) -> t.Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
    """One beside the live database that holds the lock of restores, and one in it."""
    with connect(request.login, request.maintenance) as maintenance:
        acquire(maintenance, request.database, wait=request.lock_timeout)
        row = maintenance.execute(
            "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = %s",
            [request.database],
        ).fetchone()
        if row is None:
            raise RefusedError(
                f"there is no database {request.database!r} whose rows could be restored. Nothing "
                "was changed."
            )
        with session(request.login, request.database, row[0]) as live:
            yield maintenance, live


def _restored(
    request: Request,
    manifest: Manifest,
    live: psycopg.Connection,
    aside: psycopg.Connection,
    rows: Rows,
    *,
    check: bool,
) -> Kept:
    with request.progress.phase("rows"):
        return restore_rows(
            live,
            aside,
            rows,
            restore_id=request.restore_id,
            backup_id=manifest.id,
            lock_timeout=request.lock_timeout,
            check=check,
        )


def _rows(request: Request) -> Rows:
    """The table by its name as SQL has it; raises RowsError."""
    with connect(request.login, request.database) as usual:  # finds names as users do
        row = usual.execute(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n"
            " ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)",
            [request.table],
        ).fetchone()
    if row is None:
        raise RowsError(
            f"there is no table {request.table} in {request.database!r}. Nothing was changed. "
            "Names are written as in SQL: capitals and spaces need double quotes."
        )
    return Rows(row[0], row[1], request.predicate)


def _refuse_another(done: Kept, manifest: Manifest, request: Request) -> None:
    if done.backup != manifest.id:
        raise RefusedError(
            f"restore {request.restore_id} has already brought rows of backup {done.backup} live, "
            f"not {manifest.id}. Nothing was changed; give another restore_id."
        )


def _told(kept: Kept) -> dict[str, t.Any]:
    said = asdict(kept)
    return {"table": kept.of, "kept": kept.label, **kept.counts, "undone": said["undone"]}


def _outcome(
    request: Request,
    manifest: Manifest,
    kept: Kept,
    *,
    changed: bool,
    warnings: t.Sequence[str] = (),
    check: bool = False,
) -> Outcome:
    told = _told(kept)
    undo = {
        "module": MODULE,
        "args": {
            "database": request.database,
            "state": "previous",
            "scope": "rows",
            "restore_id": request.restore_id,
        },
    }
    return Outcome(
        changed=changed,
        before={"rows": None if changed else told},
        after={"rows": told},
        undo=undo if changed or not check else None,
        backup=described(request, manifest),
        restore_id=request.restore_id,
        rows=told,
        warnings=list(warnings),
    )
