# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lock that one restore of a database at a time may hold.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import hashlib
import time
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._pg_preflight import RefusedError
from ansible_collections.sre.rollback.plugins.module_utils._postgres import quoted

if t.TYPE_CHECKING:
    import psycopg

_LOCK_CLASS = 0x726F6C6C  # "roll"


class BusyError(RefusedError):
    """Another restore of this database runs."""


def lock_key(database: str) -> tuple[int, int]:
    """The advisory lock that one restore of ``database`` at a time may hold."""
    digest = hashlib.sha256(database.encode()).digest()
    return _LOCK_CLASS, int.from_bytes(digest[:4], "big", signed=True)


def acquire(connection: psycopg.Connection, database: str, *, wait: float) -> None:
    """Be the only restore of ``database``, as long as the session lives; raises BusyError.

    A killed run's session ends a moment after the run itself, hence ``wait`` seconds.
    """
    deadline = time.monotonic() + wait
    while True:
        row = connection.execute(
            "SELECT pg_try_advisory_lock(%s, %s)", list(lock_key(database))
        ).fetchone()
        if row and row[0]:
            return
        if time.monotonic() >= deadline:
            raise BusyError(_busy(connection, database))
        time.sleep(0.05)


def busy_problem(connection: psycopg.Connection, database: str) -> list[str]:
    """Whether another restore runs now, without becoming one."""
    holder = _holder(connection, database)
    return [f"another restore of {database} runs{holder}: wait for it"] if holder else []


def _busy(connection: psycopg.Connection, database: str) -> str:
    return (
        f"another restore of {quoted(database)} runs{_holder(connection, database)}. "
        "Nothing was changed; wait for it to end."
    )


def _holder(connection: psycopg.Connection, database: str) -> str:
    first, second = lock_key(database)
    row = connection.execute(
        "SELECT l.pid, a.usename, a.client_addr, a.backend_start::timestamptz(0)"
        " FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)"
        " WHERE l.locktype = 'advisory' AND l.classid = %s::oid AND l.objid = %s::int8::oid"
        " AND l.objsubid = 2 AND l.granted AND l.pid <> pg_backend_pid()",
        [first, second & 0xFFFFFFFF],
    ).fetchone()
    if row is None:
        return ""
    pid, user, client, since = row
    return f" (session {pid} of {user} from {client or 'the local socket'}, since {since})"
