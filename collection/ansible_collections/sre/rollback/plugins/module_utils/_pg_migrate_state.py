# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which migrations a database says are applied, and how that is noted.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

# ruff: noqa: S608 - every name in a statement went through quoted()

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_files import (
    DOWN,
    version_key,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import one_line, quoted

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

ROWS = "rows"
CURRENT = "current"


class StateUnreadableError(RollbackError):
    """It cannot be known which migrations are applied."""


@dataclass(frozen=True)
class History:
    """Where the state is: a ``table`` that this module keeps up to date, or a ``query`` that only
    reads what the migrations note themselves.

    With ``rows`` every applied version has a row, with ``current`` there is one row with the
    newest.
    """

    table: tuple[str, ...]
    column: str
    query: str
    kind: str

    @property
    def relation(self) -> str:
        """The table, quoted."""
        return ".".join(quoted(part) for part in self.table)

    @property
    def is_kept(self) -> bool:
        """Whether this module notes what it runs."""
        return bool(self.table)


def read_state(connection: psycopg.Connection, history: History) -> list[str]:
    """The applied versions, oldest first; with ``current`` at most the newest.

    A table is ordered by version, a query as it orders itself. Raises StateUnreadableError.
    """
    query = history.query or f"SELECT {quoted(history.column)} FROM {history.relation}"
    try:
        rows = connection.execute(query).fetchall()
    except psycopg.Error as exc:
        raise StateUnreadableError(
            f"the state of the migrations cannot be read: {one_line(exc)}. Correct `table` and "
            "`column`, or `query`."
        ) from exc
    versions = [str(row[0]) for row in rows if row[0] is not None]
    if history.kind == CURRENT and len(versions) > 1:
        raise StateUnreadableError(
            f"the state has {len(versions)} rows, but history=current means one. Use history=rows."
        )
    return versions if history.query else sorted(versions, key=version_key)


def note(
    connection: psycopg.Connection, history: History, direction: str, version: str, newest: str
) -> None:
    """Note that ``version`` was taken down or brought up; ``newest`` is the newest applied then,
    empty when none is. Does nothing when the migrations note that themselves."""
    if not history.is_kept:
        return
    if history.kind == CURRENT:
        _note_current(connection, history, newest)
        return
    column, typed = quoted(history.column), f"%s::{_column_type(connection, history)}"
    if direction == DOWN:
        connection.execute(f"DELETE FROM {history.relation} WHERE {column} = {typed}", [version])
        return
    connection.execute(
        f"INSERT INTO {history.relation} ({column}) SELECT {typed} "
        f"WHERE NOT EXISTS (SELECT FROM {history.relation} WHERE {column} = {typed})",
        [version, version],
    )


def _note_current(connection: psycopg.Connection, history: History, newest: str) -> None:
    column = quoted(history.column)
    if not newest:
        connection.execute(f"DELETE FROM {history.relation}")
        return
    typed = f"%s::{_column_type(connection, history)}"
    # golang-migrate refuses to start while `dirty` is set.
    dirty = ", dirty = false" if _has_column(connection, history, "dirty") else ""
    updated = connection.execute(
        f"UPDATE {history.relation} SET {column} = {typed}{dirty}", [newest]
    )
    if not updated.rowcount:
        columns, values = (column, typed) if not dirty else (f"{column}, dirty", f"{typed}, false")
        connection.execute(
            f"INSERT INTO {history.relation} ({columns}) VALUES ({values})", [newest]
        )


def _column_type(connection: psycopg.Connection, history: History) -> str:
    row = connection.execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attname = %s",
        [history.relation, history.column],
    ).fetchone()
    return str(row[0]) if row else "text"


def _has_column(connection: psycopg.Connection, history: History, name: str) -> bool:
    row = connection.execute(
        "SELECT FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s "
        "AND attnum > 0 AND NOT attisdropped",
        [history.relation, name],
    ).fetchone()
    return row is not None


def lock_history(connection: psycopg.Connection, history: History) -> None:
    """Keep everybody else from noting anything until the transaction ends."""
    if history.is_kept:
        connection.execute(f"LOCK TABLE {history.relation} IN SHARE ROW EXCLUSIVE MODE")


def columns_nobody_fills(connection: psycopg.Connection, history: History) -> list[str]:
    """Columns that a new row of the history would need a value for, beside the version's."""
    if not history.is_kept or history.kind == CURRENT:
        return []
    rows = connection.execute(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 "
        "AND NOT attisdropped AND attnotnull AND NOT atthasdef AND attidentity = '' "
        "AND attname <> %s ORDER BY attnum",
        [history.relation, history.column],
    )
    return [name for (name,) in rows]
