# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows to merge, brought into temporary tables beside the tables they are meant for.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_compare import (
    ADDED,
    CHANGED,
    Counts,
    Difference,
    Payload,
    Sides,
    compare,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_sql import record, relation
from ansible_collections.sre.rollback.plugins.module_utils._postgres import one_line, quoted

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import (
        Key,
        Table,
    )
    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_pairs import Pair

# SQLSTATE class 22: the message of a data exception quotes the value.
_DATA_EXCEPTION = "22"


class RowsRefusedError(RollbackError):
    """The reference does not take rows of the database."""


@dataclass(frozen=True)
class Staged:
    """The rows of one table in a temporary table with the columns ``change, c0, c1 …``.

    ``newer_by`` is the column that decides about changed rows; None when nothing does.
    """

    pair: Pair
    number: int
    counts: Counts
    newer_by: str | None

    @property
    def table(self) -> Table:
        """The table the rows are meant for."""
        return self.pair.both()[1]

    @property
    def key(self) -> Key:
        """The key that tells its rows apart."""
        return self.pair.shared_key()

    @property
    def relation(self) -> str:
        """The temporary table, called ``s``."""
        return f"pg_temp.{staging_name(self.number)} AS s"

    @property
    def target(self) -> str:
        """The table the rows are meant for, called ``t``."""
        return relation(self.table)

    def column(self, name: str, alias: str = "s") -> str:
        """The staged counterpart of the table's column ``name``."""
        return f"{alias}.c{self.pair.columns.index(name)}"

    def columns(self, names: t.Iterable[str], alias: str = "s") -> str:
        """The staged counterparts of ``names``, separated by commas."""
        return ", ".join(self.column(name, alias) for name in names)

    @property
    def same_row(self) -> str:
        """SQL: ``t`` and ``s`` are the same row, by key."""
        return self.key_matches("t", "s")

    def key_matches(self, table_alias: str, staged_alias: str) -> str:
        """SQL: a row of the table and a staged row have the same key."""
        return " AND ".join(
            f"{table_alias}.{quoted(name)} {operator} {self.column(name, staged_alias)}"
            for name, operator in zip(self.key.columns, self.key.operators)
        )

    @property
    def same_content(self) -> str:
        """SQL: ``t`` and ``s`` hold the same values."""
        return f"{record(self.pair.columns)} = {self.staged_record}"

    @property
    def staged_record(self) -> str:
        """SQL: the text of a staged row."""
        return f"ROW({self.columns(self.pair.columns)})::text"


def staging_name(number: int) -> str:
    """The temporary table with that number."""
    return f"rollback_salvage_{number}"


class _Stager:
    """Makes the temporary table when the first row comes, for most tables are equal."""

    def __init__(
        self, writer: psycopg.Connection, pair: Pair, number: int, *, changed: bool
    ) -> None:
        self._writer = writer
        self._pair = pair
        self._name = f"pg_temp.{staging_name(number)}"
        self._wanted = {ADDED, CHANGED} if changed else {ADDED}
        self._stream: psycopg.Copy | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Stager:
        return self

    def __exit__(self, *error: t.Any) -> None:
        self._stack.__exit__(*error)

    @property
    def used(self) -> bool:
        """Whether any row came."""
        return self._stream is not None

    def receive(self, difference: Difference) -> None:
        """Take a row in, if it may be merged."""
        change, line, _reference = difference
        if change not in self._wanted:
            return
        if self._stream is None:
            create_staging(self._writer, self._pair, self._name)
            copy = self._writer.cursor().copy(f"COPY {self._name} FROM STDIN (FORMAT csv)")
            self._stream = self._stack.enter_context(copy)
        self._stream.write(change.encode() + b"," + line)


def stage(
    writer: psycopg.Connection,
    pair: Pair,
    sides: Sides,
    *,
    number: int,
    newer_by: str | None,
    keep_differing: bool,
) -> tuple[Counts, Staged | None]:
    """Compare ``pair`` and bring its rows that may be merged into a temporary table of ``writer``.

    Rows that differ come along when a column decides about them, or when they must not simply be
    kept. There is no table without any row. The values take the reference's types on the way;
    raises RowsRefusedError when one does not fit.
    """
    try:
        changed = newer_by is not None or not keep_differing
        with _Stager(writer, pair, number, changed=changed) as stager:
            payload = Payload(database=pair.columns)
            counts = compare(pair, sides, payload=payload, receive=stager.receive)
    except psycopg.errors.LockNotAvailable:
        raise  # Nothing is wrong with the rows.
    except psycopg.DatabaseError as exc:
        raise RowsRefusedError(
            f"rows of {pair.label} cannot be taken over: {words_without_values(exc)}. "
            "Nothing was changed. Leave the table out with `exclude`, or export it "
            "(state=exported) and merge it by hand."
        ) from None  # The chain would carry the row's values into the result.
    if not stager.used:
        return counts, None
    writer.execute(f"ANALYZE pg_temp.{staging_name(number)}")
    return counts, Staged(pair, number, counts, newer_by)


def create_staging(writer: psycopg.Connection, pair: Pair, name: str) -> None:
    """An empty temporary table for rows of ``pair``."""
    types = {column.name: column.type for column in pair.both()[1].columns}
    columns = ["change text"]
    columns += [f"c{number} {types[column]}" for number, column in enumerate(pair.columns)]
    writer.execute(f"CREATE TEMPORARY TABLE {name} ({', '.join(columns)})")


def words_without_values(exc: psycopg.Error) -> str:
    """The error in words that quote no row: what a module returns ends up in records.

    The primary message of PostgreSQL names constraints, columns and tables only, except for data
    exceptions; details quote rows ("Failing row contains …").
    """
    diag = exc.diag
    state = diag.sqlstate or ""
    if state.startswith(_DATA_EXCEPTION):
        column = f" of column {diag.column_name!r}" if diag.column_name else ""
        return f"a value{column} does not fit its type there ({type(exc).__name__}, {state})"
    return " ".join(str(diag.message_primary or one_line(exc)).split()).rstrip(".")
