# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sessions of databases that are to be renamed: newcomers wait, present ones are ended.

ALTER DATABASE … RENAME takes the lock that every new session of that database needs (InitPostgres).
When it finds sessions then, it sleeps for 0.1 s before it looks again (CountOtherDBBackends), and
newcomers wait that long. So a lock that sessions do not mind is taken before: RENAME queues behind
it, and newcomers behind RENAME. It is given up once the present sessions are gone, and RENAME finds
nobody. The server does that by itself, in one message: on a machine whose processors are taken by
those who wait, every answer that we had to wait for would be tens of milliseconds more for them.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

_LOCK_SECONDS = 0.25
# How long RENAME is held back for sessions to end; after that it waits for them itself.
HELD_BACK_SECONDS = 0.5
_PAUSE_SECONDS = 0.5
_POLL = 0.01
_SERVER_POLL = 0.002
# A session that is not shown any more is still counted for a moment.
_GONE_SECONDS = 0.002

# What is written is what stands there, and is never committed: only the lock is wanted.
_HOLD_BACK = """
BEGIN;
SET LOCAL lock_timeout = '{lock}ms';
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = '2s';
DO $$DECLARE name text;
BEGIN
SELECT datname INTO name FROM pg_catalog.pg_database WHERE oid = {oid};
IF FOUND THEN EXECUTE format('COMMENT ON DATABASE %I IS %L',
  name, pg_catalog.shobj_description({oid}, 'pg_database')); END IF;
END$$
"""

# Ends sessions only while nobody but the swapper and we stand in the way of a rename; those that
# begin hold RowExclusiveLock for a moment. Workers of autovacuum belong to no user.
_END = """
WITH held AS MATERIALIZED (
  SELECT pid, mode, granted FROM pg_locks WHERE locktype = 'object'
    AND classid = 'pg_database'::regclass AND objid = {oid}),
queued AS MATERIALIZED (
  SELECT EXISTS (
      SELECT FROM held WHERE pid = {swapper} AND mode = 'AccessExclusiveLock')
    AND NOT EXISTS (
      SELECT FROM held WHERE granted AND mode <> 'RowExclusiveLock'
        AND pid IS DISTINCT FROM {swapper} AND pid IS DISTINCT FROM pg_backend_pid()) AS so)
SELECT queued.so AND count(a.pid) = 0
    AND NOT EXISTS (SELECT FROM held WHERE granted AND mode = 'RowExclusiveLock') AS empty,
  count(CASE WHEN queued.so THEN pg_terminate_backend(a.pid) END)
FROM queued LEFT JOIN pg_stat_activity a ON a.datid = {oid}
  AND a.pid <> pg_backend_pid() AND a.pid <> {swapper}
  AND (a.usesysid IS NOT NULL OR current_setting('is_superuser') = 'on')
GROUP BY queued.so
"""

# Until nobody is left in the database, or for as long as RENAME is held back; then RENAME goes on.
_EMPTY = """
DO $$DECLARE held_until timestamptz := clock_timestamp() + interval '{held_back} s';
found record;
BEGIN
LOOP
  PERFORM pg_stat_clear_snapshot();
  {end} INTO found;
  EXIT WHEN found.empty OR clock_timestamp() > held_until;
  PERFORM pg_sleep({poll});
END LOOP;
PERFORM pg_sleep({gone});
END$$;
ROLLBACK
"""


@dataclass
class Doorkeeper:
    """Keeps newcomers waiting and ends sessions, while the session ``swapper`` renames.

    ``oids`` are the databases, the live one first.
    """

    session: psycopg.Connection
    oids: t.Sequence[int]
    swapper: int
    holds: bool = False

    @contextlib.contextmanager
    def holding_back(self) -> t.Iterator[None]:
        """RENAME of the first database, sent meanwhile, waits until that is empty.

        Raises LockNotAvailable when somebody else keeps it from being renamed; nobody waited then.
        """
        begin = _HOLD_BACK.format(oid=int(self.oids[0]), lock=int(_LOCK_SECONDS * 1000))
        try:
            self.session.execute(begin)
            self.holds = True
            yield
        finally:
            self.let_go()

    def let_go(self) -> None:
        """RENAME goes on."""
        self.holds = False
        with contextlib.suppress(psycopg.OperationalError):  # the lock went with the session
            roll_back(self.session)

    def end_sessions(self) -> None:
        """End who is there; the first time until nobody is, and then RENAME goes on."""
        if self.holds:
            self.session.execute(
                _EMPTY.format(
                    end=self._end(self.oids[0]),
                    held_back=HELD_BACK_SECONDS,
                    poll=_SERVER_POLL,
                    gone=_GONE_SECONDS,
                )
            )
            self.holds = False
        for oid in self.oids:
            self.session.execute("SELECT pg_stat_clear_snapshot()")
            self.session.execute(self._end(oid))

    def _end(self, oid: int) -> str:
        return _END.format(oid=int(oid), swapper=int(self.swapper))


def roll_back(session: psycopg.Connection) -> None:
    """End the transaction, if there is one: the server warns when there is none."""
    if session.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        session.execute("ROLLBACK")


def vacate(session: psycopg.Connection, oids: t.Sequence[int], deadline: float) -> None:
    """End the sessions of databases that no client uses, before those of clients have to wait."""
    while time.monotonic() < deadline:
        row = session.execute(
            "SELECT count(*), count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datid = ANY(%s) AND usesysid IS NOT NULL",
            [list(oids)],
        ).fetchone()
        if row is None or not row[0]:
            return
        time.sleep(_POLL)


def wait_for_the_ended(session: psycopg.Connection, oids: t.Sequence[int], deadline: float) -> None:
    """Let sessions that are ending be gone before newcomers are kept waiting again."""
    time.sleep(min(_PAUSE_SECONDS, max(deadline - time.monotonic(), 0)))
    pids = [
        pid
        for (pid,) in session.execute(
            "SELECT pid FROM pg_stat_activity WHERE datid = ANY(%s)", [list(oids)]
        )
    ]
    while time.monotonic() < deadline:
        left = session.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s) AND datid = ANY(%s)"
            " AND state_change < now() - interval '1 s'",
            [pids, list(oids)],
        ).fetchone()
        if left is None or not left[0]:
            return
        time.sleep(0.2)


def sessions_of(session: psycopg.Connection, oids: t.Sequence[int]) -> list[dict[str, t.Any]]:
    """Who is connected to the databases, as evidence."""
    cursor = session.execute(
        "SELECT pid, usename, application_name, backend_type, state FROM pg_stat_activity"
        " WHERE datid = ANY(%s) ORDER BY pid LIMIT 50",
        [list(oids)],
    )
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row)) for row in cursor]
