# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way back: the predecessor is live again, and what was live is kept in its place.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import (
    KEPT,
    LIVE,
    Database,
    Entry,
    free_name,
    of_database,
    read_databases,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_preflight import RefusedError, refuse
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_lock import (
    acquire,
    busy_problem,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_ready import swap_problems
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_request import (
    Outcome,
    Request,
    origin,
    situation,
    undo_of,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_swap import (
    resume_noted,
    swap_back,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_sequences import continue_sequences
from ansible_collections.sre.rollback.plugins.module_utils._postgres import connect


def previous(request: Request, *, check: bool) -> Outcome:
    """The predecessor is live again, and what was live is kept in its place."""
    warnings: list[str] = []
    with connect(request.login, request.maintenance) as maintenance:
        if not check:
            acquire(maintenance, request.database, wait=request.lock_timeout)
            warnings = resume_noted(request, maintenance)
        databases = read_databases(maintenance)
        before = situation(databases, request.database)
        now_live = databases.get(request.database)
        target = _target(request, databases)
        if target is None:
            return Outcome(
                False, before, before, restore_id=request.restore_id or None, warnings=warnings
            )
        entry = t.cast(Entry, target.entry)
        restore_id = request.restore_id or entry.by
        problems = swap_problems(request, maintenance, now_live)
        if check:
            refuse(problems + busy_problem(maintenance, request.database))
        refuse(problems)
        what = "before" if entry.restore_id == restore_id else "undone"
        kept = free_name(databases, request.database, what, restore_id) if now_live else ""
        if check:
            after = {**before, "live": origin(target)}
            after["predecessors"] = [
                kept if one == target.name else one for one in before["predecessors"]
            ]
            return Outcome(
                True,
                before,
                after,
                restore_id=restore_id,
                predecessor=kept or None,
                predicted={
                    "steps": [f"swap {target.name} in, keep what is live as {kept}"],
                    "seconds": 1.0,
                },
            )
        if now_live and target.allows_connections:
            with connect(request.login, target.name) as successor:
                warnings += continue_sequences(request.login, now_live, successor)
        swapped = swap_back(request, maintenance, now_live, target, kept, restore_id)
        after = situation(read_databases(maintenance), request.database)
    return Outcome(
        True,
        before,
        after,
        undo=undo_of(request, kept, restore_id),
        downtime_ms=swapped.downtime_ms,
        swap_attempts=swapped.attempts,
        restore_id=restore_id,
        predecessor=kept or None,
        warnings=warnings,
    )


def _target(request: Request, databases: t.Mapping[str, Database]) -> Database | None:
    """The kept database to bring back; None when it is live already."""
    there = databases.get(request.database)
    entry = there.entry if there and there.entry else Entry(LIVE, request.database)
    if entry.facts.get("returned") and _is_back(request, entry):
        return None
    wanted = request.predecessor
    if not wanted and not request.restore_id:
        wanted = entry.predecessor
        if not wanted:
            raise RefusedError(
                f"{request.database!r} was not brought there by a restore; there is nothing to go "
                "back to. Nothing was changed."
            )
    kept = of_database(databases, request.database, KEPT)
    found = [one for one in kept if (one.name == wanted if wanted else _displaced(request, one))]
    if not found:
        which = (
            f"database {wanted!r}" if wanted else f"predecessor of restore {request.restore_id!r}"
        )
        raise RefusedError(
            f"there is no {which} to go back to. Nothing was changed. Kept are: "
            f"{', '.join(one.name for one in kept) or 'none'}."
        )
    return found[0]


def _is_back(request: Request, entry: Entry) -> bool:
    """Whether what is wanted came back by an earlier run."""
    if request.predecessor:
        return entry.formerly == request.predecessor
    if request.restore_id:
        return entry.by == request.restore_id != entry.restore_id
    return True


def _displaced(request: Request, kept: Database) -> bool:
    """Whether the restore displaced this database, and did not make it."""
    entry = t.cast(Entry, kept.entry)
    return entry.by == request.restore_id != entry.restore_id
