# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lease in a row of PostgreSQL: for several controllers.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import json
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._lock_lease import (
    Lease,
    LockError,
    Request,
    change,
    fields_of,
    lease_from,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import connect, one_line

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg
    from psycopg import sql

#: The table's name; its schema is the parameter ``schema``.
TABLE = "rollback_environment_lock"
_CREATE = """
CREATE TABLE IF NOT EXISTS {table} (
    environment text PRIMARY KEY,
    token       bigint NOT NULL DEFAULT 0,
    holder      text NOT NULL DEFAULT '',
    reason      text NOT NULL DEFAULT '',
    since       double precision NOT NULL DEFAULT 0,
    expires     double precision NOT NULL DEFAULT 0,
    taken_from  text NOT NULL DEFAULT '{{}}'
)
"""
# One at a time, also while the table is being made: two sessions would clash in the catalogue.
_GUARD = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext(%s))"
_CLOCK = "SELECT extract(epoch FROM pg_catalog.clock_timestamp())::float8"
_ROW = """
SELECT token, holder, reason, since, expires, taken_from FROM {table} WHERE environment = %s
"""
_WRITE = """
INSERT INTO {table} (environment, token, holder, reason, since, expires, taken_from)
VALUES (%(environment)s, %(token)s, %(holder)s, %(reason)s, %(since)s, %(expires)s, %(taken_from)s)
ON CONFLICT (environment) DO UPDATE
SET token = excluded.token, holder = excluded.holder, reason = excluded.reason,
    since = excluded.since, expires = excluded.expires, taken_from = excluded.taken_from
"""
# Whoever is stuck with the guard must not hold up an emergency; and a server that answers too
# late must not commit a lease that its caller has given up.
_SETTINGS = {
    "lock_timeout": "5s",
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
    "synchronous_commit": "on",
}


def exchange(
    params: t.Mapping[str, t.Any], request: Request, *, write: bool
) -> tuple[Lease, Lease, float]:
    """The lease before and after, and the time by the server's clock. Raises LockError."""
    table = sql.Identifier(params["schema"], TABLE)
    try:
        with connect(
            params, params["database"], autocommit=False, settings=_SETTINGS
        ) as connection, connection.transaction():
            connection.execute(_GUARD, [TABLE])
            before = _read(connection, table, request.environment)
            now = connection.execute(_CLOCK).fetchone()[0]  # type: ignore[index]
            after = change(request, before, now)
            if write and after is not before:
                _write(connection, params["schema"], request.environment, after)
        return before, after, now
    except psycopg.Error as exc:
        raise LockError(
            f"the lock cannot be kept in database {params['database']!r}: {one_line(exc)}. "
            "Nothing was changed, unless the connection broke at the very end: then ask again. "
            "The server has to be a writable primary, and the role has to have the right to use "
            f"or create the table {TABLE} in the schema {params['schema']}."
        ) from exc


def _read(connection: psycopg.Connection, table: sql.Identifier, environment: str) -> Lease:
    if not _exists(connection, table):
        return Lease()
    row = connection.execute(sql.SQL(_ROW).format(table=table), [environment]).fetchone()
    if row is None:
        return Lease()
    names = ("token", "holder", "reason", "since", "expires")
    try:
        return lease_from({**dict(zip(names, row)), "taken_from": json.loads(row[5])})
    except (ValueError, TypeError, OverflowError) as exc:
        raise LockError(
            f"the row of {environment} in {TABLE} does not hold a lease. Nothing was changed. "
            "Look at the row; when nobody holds the environment, delete it."
        ) from exc


def _exists(connection: psycopg.Connection, table: sql.Identifier) -> bool:
    # Asked first: CREATE ... IF NOT EXISTS wants the right to create even when it is there.
    row = connection.execute(
        "SELECT pg_catalog.to_regclass(%s)", [table.as_string(connection)]
    ).fetchone()
    return row is not None and row[0] is not None


def _write(connection: psycopg.Connection, schema: str, environment: str, lease: Lease) -> None:
    table = sql.Identifier(schema, TABLE)
    if not _exists(connection, table):
        row = connection.execute(
            "SELECT pg_catalog.to_regnamespace(%s)", [sql.Identifier(schema).as_string(connection)]
        ).fetchone()
        if row is None or row[0] is None:
            connection.execute(
                sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema))
            )
        connection.execute(sql.SQL(_CREATE).format(table=table))
    fields = {**fields_of(lease), "taken_from": json.dumps(lease.taken_from)}
    connection.execute(sql.SQL(_WRITE).format(table=table), {**fields, "environment": environment})
