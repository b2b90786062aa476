# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Exchange the names of databases in one transaction that one message to the server holds.

Newcomers wait from the moment on in which the first ALTER DATABASE … RENAME asks for its lock; a
second connection ends the present sessions meanwhile. Nothing is set aside that a killed module
would leave behind: until the commit everything is as it was, afterwards everything is as it shall
be, and the server decides without us.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_swap_sessions import (
    HELD_BACK_SECONDS,
    Doorkeeper,
    roll_back,
    sessions_of,
    vacate,
    wait_for_the_ended,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    connect,
    one_line,
    quoted,
)

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg
    from psycopg import sql

# How long newcomers may be kept waiting by one attempt: for the lock, and for sessions to end.
_LOCK_SECONDS = HELD_BACK_SECONDS + 0.25
_ATTEMPT_SECONDS = 4
_POLL = 0.002


class SwapError(RollbackError):
    """The names are as they were."""


@dataclass(frozen=True)
class Rename:
    """A database by oid, the name it has and the name it gets."""

    oid: int
    old: str
    new: str


@dataclass(frozen=True)
class Swapped:
    """How long the swap took, and for how long new sessions had to wait, in milliseconds."""

    downtime_ms: float
    attempts: int


def swap(
    login: t.Mapping[str, t.Any],
    maintenance: str,
    renames: t.Sequence[Rename],
    *,
    before: t.Sequence[str],
    after: t.Sequence[str],
    timeout: float,
) -> Swapped:
    """Do the statements ``before``, all ``renames`` in this order, then those ``after`` at once.

    At once: in one transaction.

    Sessions of the databases are ended. Raises SwapError when that cannot be had within
    ``timeout`` seconds, and then nothing has changed.
    """
    deadline = time.monotonic() + timeout
    attempts = 0
    batch = _batch(renames, before, after)
    with connect(login, maintenance) as swapper, connect(login, maintenance) as terminator:
        oids = [rename.oid for rename in renames]
        vacate(terminator, oids[1:], deadline)
        while True:
            attempts += 1
            try:
                gap = _attempt(swapper, terminator, oids, batch)
            except (psycopg.errors.ObjectInUse, psycopg.errors.LockNotAvailable) as exc:
                problem = one_line(exc)
            except psycopg.errors.QueryCanceled as exc:
                problem = f"sessions did not end within {_ATTEMPT_SECONDS} s ({one_line(exc)})"
            except psycopg.Error as exc:
                raise SwapError(
                    f"the swap failed: {one_line(exc)}. The transaction was not confirmed; look "
                    f"which database is called {renames[0].old!r}, or run this again, it sees what "
                    "is done."
                    if swapper.closed
                    else f"the swap failed: {one_line(exc)}. {_UNTOUCHED}"
                ) from exc
            else:
                return Swapped(round(gap * 1000, 1), attempts)
            roll_back(swapper)
            if time.monotonic() > deadline:
                raise SwapError(
                    f"the swap failed {attempts} times within {timeout:g} s: {problem}. "
                    f"{_UNTOUCHED}",
                    sessions=sessions_of(terminator, oids),
                )
            wait_for_the_ended(terminator, oids, deadline)


_UNTOUCHED = "The live database is as it was. See who holds it in pg_stat_activity, then try again."


def _attempt(
    swapper: psycopg.Connection,
    terminator: psycopg.Connection,
    oids: t.Sequence[int],
    batch: str,
) -> float:
    """Seconds for which new sessions waited."""
    keeper = Doorkeeper(terminator, oids, swapper.info.backend_pid)
    with concurrent.futures.ThreadPoolExecutor(1) as pool, keeper.holding_back():
        sent = time.monotonic()
        done = pool.submit(swapper.execute, batch)
        hindrance = _end_sessions(keeper, done)
        try:
            done.result()
        except psycopg.Error as exc:
            raise (hindrance or exc) from exc
        return time.monotonic() - sent


def _end_sessions(
    keeper: Doorkeeper, done: concurrent.futures.Future[t.Any]
) -> psycopg.Error | None:
    """End sessions until the swap is done; why that was not possible, if it was not.

    The swap is on its way and may succeed all the same, so its result is what counts.
    """
    try:
        while not done.done():
            keeper.end_sessions()
            concurrent.futures.wait([done], timeout=_POLL)
    except psycopg.Error as exc:
        return exc
    finally:
        keeper.let_go()
    return None


def _batch(renames: t.Sequence[Rename], before: t.Sequence[str], after: t.Sequence[str]) -> str:
    lines = [
        "BEGIN",
        "SET LOCAL synchronous_commit = on",
        f"SET LOCAL lock_timeout = '{int(_LOCK_SECONDS * 1000)}ms'",
        f"SET LOCAL statement_timeout = '{_ATTEMPT_SECONDS}s'",
        # Should this host vanish without a word, nobody shall wait for its transaction.
        "SET LOCAL idle_in_transaction_session_timeout = '2s'",
        *(_guard(rename) for rename in renames),
        *before,
        *(
            f"ALTER DATABASE {quoted(rename.old)} RENAME TO {quoted(rename.new)}"
            for rename in renames
        ),
        *after,
        "COMMIT",
    ]
    return ";\n".join(lines)


def _guard(rename: Rename) -> str:
    """Fail at once where RENAME would fail after keeping newcomers waiting for seconds.

    The database must still have its name, because somebody else may swap, too; and no prepared
    transaction may be open in it.
    """
    renamed = f"database {rename.old} is not the one it was a moment ago"
    prepared = f"database {rename.old} has a prepared transaction"
    body = f"""BEGIN
IF NOT EXISTS (SELECT FROM pg_catalog.pg_database
    WHERE oid = {int(rename.oid)} AND datname = {literal(rename.old)})
THEN RAISE EXCEPTION USING MESSAGE = {literal(renamed)}; END IF;
IF EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts WHERE database = {literal(rename.old)})
THEN RAISE EXCEPTION USING ERRCODE = 'object_in_use', MESSAGE = {literal(prepared)}; END IF;
END"""  # noqa: S608 - literals
    return f"DO {literal(body)}"


def literal(text: str) -> str:
    """``text`` as a SQL literal."""
    return sql.Literal(text).as_string(None).strip()
