# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The states of a database: staged, and live. Each sees what is done already.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import replace
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import (
    LIVE,
    Database,
    read_databases,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import (
    BackupError,
    read_manifest,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_preflight import RefusedError
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_foresee import predicted
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_lock import acquire
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_ready import prepare
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_request import (
    Outcome,
    Request,
    described,
    situation,
    undo_of,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_swap import (
    prune,
    resume_noted,
    swap_in,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_sequences import continue_sequences
from ansible_collections.sre.rollback.plugins.module_utils._pg_stage import drop_others
from ansible_collections.sre.rollback.plugins.module_utils._postgres import connect, one_line

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg


def staged(request: Request, *, check: bool) -> Outcome:
    """Restored aside, proved, kept ready."""
    with connect(request.login, request.maintenance) as maintenance:
        databases = read_databases(maintenance)
        done = _already_live(request, databases)
        if done is not None:
            return done
        manifest = read_manifest(t.cast(Path, request.backup))
        if check:
            return predicted(request, maintenance, manifest, swap_too=False)
        acquire(maintenance, request.database, wait=request.lock_timeout)
        before = situation(read_databases(maintenance), request.database)
        ready = prepare(request, maintenance, manifest)
        removed = drop_others(ready.plan, maintenance, request.keep_staged)
        # DROP DATABASE waits for a checkpoint: make room now for the one that the swap will add.
        removed += prune(request, maintenance, keep=max(request.keep_predecessors - 1, 1))
        after = situation(read_databases(maintenance), request.database)
    return Outcome(
        changed=ready.changed,
        before=before,
        after=after,
        undo_reason="a staged database stands beside the live one; there is nothing to undo",
        tables=ready.proof.tables,
        indexes_checked=ready.proof.indexes,
        checks=ready.proof.checks,
        backup=described(request, manifest),
        restore_id=request.restore_id,
        staged=ready.database.name,
        removed=removed,
        warnings=ready.warnings,
    )


def live(request: Request, *, check: bool) -> Outcome:
    """Staged if need be, then swapped in; what was live stays beside it."""
    with connect(request.login, request.maintenance) as maintenance:
        if check:
            done = _already_live(request, read_databases(maintenance))
            if done is not None:
                return done
            manifest = read_manifest(t.cast(Path, request.backup))
            return predicted(request, maintenance, manifest, swap_too=True)
        acquire(maintenance, request.database, wait=request.lock_timeout)
        warnings = resume_noted(request, maintenance)
        databases = read_databases(maintenance)
        done = _already_live(request, databases)
        if done is not None:
            return replace(done, warnings=warnings)
        manifest = read_manifest(t.cast(Path, request.backup))
        before = situation(databases, request.database)
        displaced = databases.get(request.database)

        def count_on(successor: psycopg.Connection) -> None:
            warnings.extend(continue_sequences(request.login, displaced, successor))

        ready = prepare(request, maintenance, manifest, count_on if displaced else None)
        swapped, predecessor = swap_in(request, maintenance, manifest, ready.database)
        removed = prune(request, maintenance, keep=request.keep_predecessors)
        after = situation(read_databases(maintenance), request.database)
    return Outcome(
        changed=True,
        before=before,
        after=after,
        undo=undo_of(request, predecessor),
        undo_reason="" if predecessor else "there was no database of this name before",
        downtime_ms=swapped.downtime_ms if predecessor else 0.0,
        swap_attempts=swapped.attempts,
        tables=ready.proof.tables,
        indexes_checked=ready.proof.indexes,
        checks=ready.proof.checks,
        backup=described(request, manifest),
        restore_id=request.restore_id,
        predecessor=predecessor or None,
        removed=removed,
        warnings=warnings + ready.warnings,
    )


def _already_live(request: Request, databases: t.Mapping[str, Database]) -> Outcome | None:
    """The outcome when this very restore was done before."""
    there = databases.get(request.database)
    entry = there.entry if there else None
    if (
        not request.restore_id
        or entry is None
        or (entry.role, entry.restore_id) != (LIVE, request.restore_id)
        or not entry.backup
    ):
        return None
    wanted = entry.backup
    with contextlib.suppress(BackupError):  # a backup that is gone since does no harm
        wanted = read_manifest(t.cast(Path, request.backup)).id
    if wanted != entry.backup:
        raise RefusedError(
            f"restore {request.restore_id} has already brought backup {entry.backup} live, not "
            f"{wanted}. Nothing was changed; give another restore_id."
        )
    if bool(entry.facts.get("schema_only")) != request.schema_only:
        raise RefusedError(
            f"restore {request.restore_id} has already brought backup {entry.backup} live with "
            "another scope. Nothing was changed; give another restore_id."
        )
    state = situation(databases, request.database)
    kept = entry.predecessor if entry.predecessor in databases else ""
    return Outcome(
        False,
        state,
        state,
        undo=undo_of(request, kept),
        restore_id=request.restore_id,
        predecessor=kept or None,
    )


@contextlib.contextmanager
def readable_errors() -> t.Iterator[None]:
    """Turn what the driver raises into words; a lost server, too."""
    try:
        yield
    except psycopg.Error as exc:
        raise RollbackError(
            f"the server did not go along: {one_line(exc)}. What is live has not been exchanged by "
            "this step; run it again, it sees what is done."
        ) from exc
