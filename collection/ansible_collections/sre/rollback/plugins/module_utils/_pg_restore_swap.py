# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exchange of the live database and another one, with what the databases say of themselves.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import replace

from ansible_collections.sre.rollback.plugins.module_utils._pg_facts import read_properties
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import (
    DROPPED,
    KEPT,
    LIVE,
    Database,
    Entry,
    comment_statement,
    free_name,
    moment,
    of_database,
    read_databases,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import Manifest
from ansible_collections.sre.rollback.plugins.module_utils._pg_properties import adopt_statements
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_request import Request
from ansible_collections.sre.rollback.plugins.module_utils._pg_swap import Rename, Swapped, swap
from ansible_collections.sre.rollback.plugins.module_utils._postgres import quoted

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

_PAUSED = "paused"


def swap_in(
    request: Request, maintenance: psycopg.Connection, manifest: Manifest, ready: Database
) -> tuple[Swapped, str]:
    """Swap ``ready`` in; the name of what was live, empty when there was nothing."""
    databases = read_databases(maintenance)
    there = databases.get(request.database)
    restore_id = request.restore_id
    kept = free_name(databases, request.database, "before", restore_id) if there else ""
    properties = manifest.properties
    own = str(properties.get("comment") or "")
    if there:
        properties, own = read_properties(maintenance, request.database), there.comment
    at = moment()
    entry = Entry(
        LIVE,
        request.database,
        restore_id=restore_id,
        backup=manifest.id,
        digest=manifest.digest,
        at=at,
        by=restore_id,
        predecessor=kept,
        formerly=ready.name,
        facts={"schema_only": True} if request.schema_only else {},
    )
    renames = [Rename(ready.oid, ready.name, request.database)]
    after = []
    if there:
        renames.insert(0, Rename(there.oid, request.database, kept))
        after.append(comment_statement(kept, there.comment, _kept(request, there, restore_id, at)))
    with request.progress.phase("swap"), clients_waiting(request, maintenance, ready) as noted:
        entry = replace(entry, facts={**entry.facts, **noted})
        after.append(comment_statement(request.database, own, entry))
        swapped = swap(
            request.login,
            request.maintenance,
            renames,
            before=adopt_statements(ready.name, properties),
            after=after,
            timeout=request.swap_timeout,
        )
    return swapped, kept


def _kept(request: Request, database: Database, by: str, at: str) -> Entry:
    """What the outgoing database says from now on: who made it stays, who displaced it is new."""
    was = database.entry or Entry(KEPT, request.database)
    return replace(
        was, role=KEPT, of=request.database, by=by, at=at, predecessor="", formerly="", facts={}
    )


def swap_back(
    request: Request,
    maintenance: psycopg.Connection,
    there: Database | None,
    target: Database,
    kept: str,
    restore_id: str,
) -> Swapped:
    """Swap ``target`` in; what is ``there`` is called ``kept`` from then on."""
    at = moment()
    entry = replace(
        t.cast(Entry, target.entry),
        role=LIVE,
        at=at,
        by=restore_id,
        predecessor=kept,
        formerly=target.name,
        facts={"returned": True},
    )
    renames = [Rename(target.oid, target.name, request.database)]
    after = []
    if there:
        renames.insert(0, Rename(there.oid, request.database, kept))
        after.append(comment_statement(kept, there.comment, _kept(request, there, restore_id, at)))
    with request.progress.phase("swap"), clients_waiting(request, maintenance, target) as noted:
        entry = replace(entry, facts={**entry.facts, **noted})
        after.append(comment_statement(request.database, target.comment, entry))
        return swap(
            request.login,
            request.maintenance,
            renames,
            before=[],
            after=after,
            timeout=request.swap_timeout,
        )


@contextlib.contextmanager
def clients_waiting(
    request: Request, maintenance: psycopg.Connection, incoming: Database
) -> t.Iterator[dict[str, t.Any]]:
    """The pooler's clients wait, if there is a pooler; facts for the entry of what goes live.

    A pooler that somebody paused before stays paused. That we did it is noted first, so that
    the next run resumes it when this one is killed.
    """
    pooler = request.pooler
    if pooler is None or pooler.is_paused():
        yield {}
        return
    noted = {_PAUSED: pooler.database}
    _note(maintenance, incoming, noted)
    try:
        pooler.pause()
        yield noted
    finally:
        resume_noted(request, maintenance)


def resume_noted(request: Request, maintenance: psycopg.Connection) -> list[str]:
    """Resume what this run or a killed one paused; warnings about what cannot be resumed."""
    noted = [
        one
        for one in read_databases(maintenance).values()
        if one.entry and one.entry.of == request.database and _PAUSED in one.entry.facts
    ]
    if not noted:
        return []
    if request.pooler is None:
        return [
            f"a run that was killed left the clients of {request.database} waiting in PgBouncer, "
            "and pgbouncer_login_host was not given: say RESUME on its console"
        ]
    request.pooler.resume()
    for one in noted:
        _note(maintenance, one, {})
    return []


def _note(maintenance: psycopg.Connection, database: Database, noted: dict[str, t.Any]) -> None:
    entry = t.cast(Entry, database.entry)
    facts = {name: value for name, value in entry.facts.items() if name != _PAUSED}
    entry = replace(entry, facts={**facts, **noted})
    maintenance.execute(comment_statement(database.name, database.comment, entry))


def prune(request: Request, maintenance: psycopg.Connection, *, keep: int) -> list[str]:
    """Drop the oldest predecessors that are more than ``keep``; one in use is left alone.

    What the live database displaced is the way back, whatever the clock says: it is the first.
    """
    databases = read_databases(maintenance)
    there = databases.get(request.database)
    displaced = there.entry.predecessor if there and there.entry else ""
    kept = of_database(databases, request.database, KEPT)
    kept.sort(key=lambda one: one.name != displaced)
    busy = {
        oid for (oid,) in maintenance.execute("SELECT DISTINCT datid::int8 FROM pg_stat_activity")
    }
    removed = []
    for one in [*kept[keep:], *of_database(databases, request.database, DROPPED)]:
        if one.oid in busy:
            continue
        with contextlib.suppress(psycopg.Error):
            if one.entry and one.entry.role == KEPT:
                maintenance.execute(f"ALTER DATABASE {quoted(one.name)} IS_TEMPLATE false")
            maintenance.execute(f"DROP DATABASE {quoted(one.name)}")
            removed.append(one.name)
    return removed
