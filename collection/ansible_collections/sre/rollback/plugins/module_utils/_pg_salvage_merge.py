# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Merge staged rows into the reference: one transaction, its inverse on disk before it commits.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

# ruff: noqa: S608 - every name in a statement went through quoted()

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_checks import (
    Conflict,
    find_conflicts,
    settle,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_compare import (
    ADDED,
    CHANGED,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_sequences import advance
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_staging import (
    words_without_values,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_triggers import (
    disable_triggers,
    enable_triggers,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import one_line, quoted

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import (
        Catalog,
        Table,
    )
    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_sequences import (
        Advance,
    )
    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_staging import Staged

MERGE = "merge"


class MergeRefusedError(RollbackError):
    """Rows that nobody but a person can decide; nothing was changed."""


class MergeFailedError(RollbackError):
    """The server did not take the merge; nothing was changed."""


class MergeUnknownError(RollbackError):
    """The connection was lost during the commit."""


@dataclass(frozen=True)
class Merged:
    """What became of the staged rows of one table."""

    staged: Staged
    inserted: int
    updated: int

    @property
    def changed(self) -> int:
        """Rows of the reference that are not what they were."""
        return self.inserted + self.updated

    def result(self) -> dict[str, t.Any]:
        """The table in the module's result. ``kept`` rows differ and stay the reference's."""
        return {
            "table": self.staged.pair.label,
            "inserted": self.inserted,
            "updated": self.updated,
            "kept": self.staged.counts.changed - self.updated,
        }


@dataclass(frozen=True)
class Target:
    """The database that is merged into, and how long its session waits for a lock (seconds)."""

    writer: psycopg.Connection
    name: str
    catalog: Catalog
    lock_timeout: float


@contextlib.contextmanager
def locked_transaction(
    target: Target, tables: t.Sequence[Table], *, check: bool
) -> t.Iterator[None]:
    """One transaction in which nobody else writes to ``tables``; in check mode, in which nobody is
    locked out and everything is rolled back.

    Any error rolls back. Raises MergeFailedError for what the server refuses.
    """
    writer = target.writer
    try:
        writer.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        if tables and not check:
            writer.execute(_lock_statement(tables))
        yield
        _end(target, commit=not check)
    except psycopg.Error as exc:
        _roll_back(writer)
        raise _failure(target, exc) from None  # The chain would carry rows into the result.
    except BaseException:
        _roll_back(writer)
        raise


def _lock_statement(tables: t.Sequence[Table]) -> str:
    names = ", ".join(
        ("" if table.partitioned else "ONLY ") + _qualified(table)
        for table in sorted(tables, key=lambda table: table.name)
    )
    return f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"


def _qualified(table: Table) -> str:
    return f"{quoted(table.name[0])}.{quoted(table.name[1])}"


def _end(target: Target, *, commit: bool) -> None:
    if not commit:
        target.writer.execute("ROLLBACK")
        return
    try:
        target.writer.execute("COMMIT")
    except psycopg.OperationalError as exc:
        if not target.writer.broken:
            raise
        raise MergeUnknownError(
            f"the connection was lost while the merge into {target.name!r} was committed "
            f"({one_line(exc)}), so it is not known whether it took place. Run the same again: "
            "what is merged already is not merged twice."
        ) from exc


def _roll_back(writer: psycopg.Connection) -> None:
    with contextlib.suppress(psycopg.Error):
        writer.execute("ROLLBACK")


def _failure(target: Target, exc: psycopg.Error) -> MergeFailedError:
    if isinstance(exc, psycopg.errors.LockNotAvailable):
        return MergeFailedError(
            f"somebody holds locks on the tables in {target.name!r} for longer than lock_timeout "
            f"({target.lock_timeout:g} s). Nothing was changed. Let those transactions end, or "
            "give a longer lock_timeout."
        )
    return MergeFailedError(
        f"the server refused the rows in {target.name!r}: {words_without_values(exc)}. "
        "Everything was rolled back, nothing was changed."
    )


def decide(target: Target, staged: t.Sequence[Staged]) -> list[Merged]:
    """What will be inserted and updated. Raises MergeRefusedError naming what cannot be decided."""
    for each in staged:
        settle(target.writer, each)
    conflicts = find_conflicts(target.writer, staged, target.catalog)
    if conflicts:
        raise refusal(target.name, conflicts)
    merged = []
    for each in staged:
        row = target.writer.execute(
            f"SELECT count(*) FILTER (WHERE change = '{ADDED}'), "
            f"count(*) FILTER (WHERE change = '{CHANGED}') FROM {each.relation}"
        ).fetchone()
        inserted, updated = row or (0, 0)
        merged.append(Merged(each, inserted, updated))
    return merged


def refusal(database: str, conflicts: t.Sequence[Conflict]) -> MergeRefusedError:
    """The refusal that names ``conflicts``."""
    rows = sum(conflict.rows for conflict in conflicts)
    return MergeRefusedError(
        f"refused: {rows} row{'s' if rows != 1 else ''} cannot be decided, nothing was changed in "
        f"{database!r}: {'; '.join(map(str, conflicts))}. Export them (state=exported) and decide "
        "by hand, or leave the tables out with `exclude`.",
        conflicts=[conflict.as_dict() for conflict in conflicts],
    )


def apply(target: Target, merged: t.Sequence[Merged], moves: t.Sequence[Advance]) -> None:
    """Insert and update the decided rows, look at them again, move the sequences.

    One statement for all tables: foreign keys are checked at its end, so that tables may point at
    each other in circles.
    """
    writer = target.writer
    triggers = disable_triggers(writer, [each.staged.table for each in merged])
    parts = []
    for each in merged:
        number = each.staged.number
        if each.inserted:
            parts.append(f"i{number} AS ({_insert(each.staged)} RETURNING 1)")
        if each.updated:
            parts.append(f"u{number} AS ({_update(each.staged)} RETURNING 1)")
    writer.execute(f"WITH {', '.join(parts)} SELECT 1")
    writer.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for each in merged:
        _prove(target, each)
    enable_triggers(writer, triggers)
    advance(writer, moves)


def _insert(staged: Staged) -> str:
    columns = ", ".join(quoted(name) for name in staged.pair.columns)
    return (
        f"INSERT INTO {_qualified(staged.table)} ({columns}) OVERRIDING SYSTEM VALUE "
        f"SELECT {staged.columns(staged.pair.columns)} FROM {staged.relation} "
        f"WHERE s.change = '{ADDED}'"
    )


def _update(staged: Staged) -> str:
    always = {column.name for column in staged.table.columns if column.identity == "a"}
    fixed = always | set(staged.key.columns)
    values = ", ".join(
        f"{quoted(name)} = {staged.column(name)}"
        for name in staged.pair.columns
        if name not in fixed
    )
    return (
        f"UPDATE {staged.target} SET {values} FROM {staged.relation} "
        f"WHERE s.change = '{CHANGED}' AND {staged.same_row}"
    )


def _prove(target: Target, merged: Merged) -> None:
    staged = merged.staged
    row = target.writer.execute(
        f"SELECT count(*) FROM {staged.relation} JOIN {staged.target} "
        f"ON {staged.same_row} AND {staged.same_content}"
    ).fetchone()
    if row is None or row[0] != merged.changed:
        raise MergeFailedError(
            f"{staged.pair.label} in {target.name!r} did not hold the merged rows afterwards "
            f"({row[0] if row else 0} of {merged.changed}); a rule or a policy changes what is "
            "written. Everything was rolled back. Leave the table "
            "out with `exclude`, or merge it by hand."
        )
