# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Databases that nobody can connect to, so that what was proved stays proved until it is live.

A sealed database refuses connections (ALLOW_CONNECTIONS), superusers' too. Whoever opens it writes
a new version of its row in pg_database, whose ``xmin`` is then not the one in the seal. We come in
ourselves by opening it, connecting, and closing it behind us. Since PostgreSQL 15 the server's
count of sessions tells whether somebody else slipped in meanwhile.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import Database, Entry
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    connect,
    one_line,
    quoted,
)

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

_COUNTED_SINCE = 150000
_LEAVE_SECONDS = 30
_POLL = 0.02

# Sessions that begin hold the database's lock before they can be seen in pg_stat_activity.
_OTHERS = """
SELECT (SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datid = %(oid)s AND usesysid IS NOT NULL AND pid <> ALL (%(ours)s))
  + (SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND objid = %(oid)s
    AND classid = 'pg_database'::regclass AND pid <> ALL (%(ours)s) AND pid <> pg_backend_pid())
"""


class SealError(RollbackError):
    """A database could not be kept for ourselves. The live one was not touched."""


@dataclass(frozen=True)
class Visit:
    """Sessions in a closed database. ``alone`` says that certainly nobody else got in with them.

    ``seal`` goes into the entry of a database that is as it shall be: see ``sealed``.
    """

    sessions: list[psycopg.Connection]
    alone: bool
    seal: str

    def sealed(self, entry: Entry) -> Entry:
        """``entry`` of a database that nobody can have been in since this visit began."""
        return replace(entry, facts={**entry.facts, "seal": self.seal})


def is_sealed(database: Database) -> bool:
    """Whether nobody can have connected to it since it was sealed."""
    seal = database.entry.facts.get("seal") if database.entry else None
    return bool(seal) and not database.allows_connections and seal == database.row_version


@contextlib.contextmanager
def visiting(
    login: t.Mapping[str, t.Any],
    maintenance: psycopg.Connection,
    database: Database,
    count: int,
    settings: t.Mapping[str, str],
) -> t.Iterator[Visit]:
    """``count`` sessions in ``database``, which is closed behind them; others' are ended.

    Its seal is broken by that, also when this process is killed. Raises RollbackError.
    """
    before = _sessions_so_far(maintenance, database)
    with contextlib.ExitStack() as stack:
        try:
            _allow(maintenance, database.name, connections=True)
            ours = [
                stack.enter_context(connect(login, database.name, settings=settings))
                for _number in range(count)
            ]
            seal = _close(maintenance, database)
            _end_others(maintenance, database, [one.info.backend_pid for one in ours])
        except psycopg.Error as exc:
            raise SealError(
                f"database {database.name!r} cannot be opened for this module alone: "
                f"{one_line(exc)}. The live database was not touched."
            ) from exc
        yield Visit(ours, _is_alone(maintenance, database, ours, before), seal)


def _allow(maintenance: psycopg.Connection, name: str, *, connections: bool) -> None:
    maintenance.execute(f"ALTER DATABASE {quoted(name)} ALLOW_CONNECTIONS {connections}")


def _close(maintenance: psycopg.Connection, database: Database) -> str:
    """The version of its row from now on, until somebody opens it."""
    with maintenance.transaction():
        _allow(maintenance, database.name, connections=False)
        row = maintenance.execute(
            "SELECT xmin::text FROM pg_database WHERE oid = %s::oid", [database.oid]
        ).fetchone()
    return str(t.cast("tuple[t.Any, ...]", row)[0])


def _end_others(maintenance: psycopg.Connection, database: Database, ours: list[int]) -> None:
    deadline = time.monotonic() + _LEAVE_SECONDS
    while True:
        row = maintenance.execute(_OTHERS, {"oid": database.oid, "ours": ours}).fetchone()
        if row is None or not row[0]:
            return
        if time.monotonic() > deadline:
            raise SealError(
                f"{row[0]} other sessions of database {database.name!r} do not end. The live "
                "database was not touched. See pg_stat_activity, then try again."
            )
        time.sleep(_POLL)


def _sessions_so_far(maintenance: psycopg.Connection, database: Database) -> int | None:
    """How many sessions the database ever had; None where the server does not count exactly."""
    if maintenance.info.server_version < _COUNTED_SINCE:
        return None
    row = maintenance.execute(
        "SELECT coalesce(pg_stat_get_db_sessions(%s::oid), 0)", [database.oid]
    ).fetchone()
    return int(t.cast("tuple[t.Any, ...]", row)[0])


def _is_alone(
    maintenance: psycopg.Connection,
    database: Database,
    ours: t.Sequence[psycopg.Connection],
    before: int | None,
) -> bool:
    if before is None or not is_sealed(database):
        return False
    for one in ours:  # each counts itself once it is told to, the others did when they ended
        one.execute("SELECT pg_stat_force_next_flush()")
    return _sessions_so_far(maintenance, database) == before + len(ours)
