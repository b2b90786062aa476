# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lease in a row of PostgreSQL: for several controllers.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._lock_lease import (
    Lease,
    LockError,
    Request,
    change,
    fields_of,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import connect, one_line

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

_TABLE = """
CREATE TABLE IF NOT EXISTS rollback_environment_lock (
    environment text PRIMARY KEY,
    token       bigint NOT NULL DEFAULT 0,
    holder      text NOT NULL DEFAULT '',
    reason      text NOT NULL DEFAULT '',
    since       double precision NOT NULL DEFAULT 0,
    expires     double precision NOT NULL DEFAULT 0
)
"""
# Two sessions that create the table at once would clash in the catalogue.
_GUARD = "SELECT pg_advisory_xact_lock(hashtext('rollback_environment_lock'))"
_ROW = """
SELECT token, holder, reason, since, expires, extract(epoch FROM clock_timestamp())::float8
FROM rollback_environment_lock WHERE environment = %s FOR UPDATE
"""
_WRITE = """
UPDATE rollback_environment_lock
SET token = %(token)s, holder = %(holder)s, reason = %(reason)s,
    since = %(since)s, expires = %(expires)s
WHERE environment = %(environment)s
"""


def exchange(
    params: t.Mapping[str, t.Any], request: Request, *, write: bool
) -> tuple[Lease, Lease, float]:
    """The lease before and after, and the time by the server's clock. Raises LockError.

    In check mode the transaction is rolled back, the table's creation with it.
    """
    try:
        with connect(params, params["database"], autocommit=False) as connection:
            with connection.transaction(force_rollback=not write):
                before, now = _locked(connection, request.environment)
                after = change(request, before, now)
                if after is not before:
                    values = {**fields_of(after), "environment": request.environment}
                    connection.execute(_WRITE, values)
            return before, after, now
    except psycopg.Error as exc:
        raise LockError(
            f"the lock cannot be kept in database {params['database']!r}: {one_line(exc)}. "
            "Nothing was changed."
        ) from exc


def _locked(connection: psycopg.Connection, environment: str) -> tuple[Lease, float]:
    connection.execute(_GUARD)
    connection.execute(_TABLE)
    connection.execute(
        "INSERT INTO rollback_environment_lock (environment) VALUES (%s) ON CONFLICT DO NOTHING",
        [environment],
    )
    row = connection.execute(_ROW, [environment]).fetchone()
    if row is None:
        raise LockError(f"the row of {environment} vanished; nothing was changed. Try again.")
    return Lease(*row[:5]), row[5]
