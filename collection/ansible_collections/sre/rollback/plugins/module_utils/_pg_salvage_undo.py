# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Take a merge back: inserted rows go, updated rows become what they were.

Only rows that still are what the merge made of them; anything written since is a conflict.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

# ruff: noqa: S608 - every name in a statement went through quoted()

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_checks import Conflict
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_folder import (
    FolderError,
    intact,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_merge import (
    Target,
    locked_transaction,
    refusal,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_sql import (
    record,
    relation,
    row_hash,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_triggers import (
    disable_triggers,
    enable_triggers,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import quoted

if t.TYPE_CHECKING:
    import psycopg

    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import (
        Key,
        Table,
    )

INSERTED = "inserted"
UPDATED = "updated"
_NAMED = 10


class TableChangedError(RollbackError):
    """A table is no longer what it was at the time of the merge."""


@dataclass(frozen=True)
class _Journal:
    """What the merge wrote down of one table; rows in ``pg_temp`` tables with columns c0, c1 …"""

    table: Table
    key: Key
    columns: tuple[str, ...]
    number: int

    @property
    def label(self) -> str:
        return ".".join(self.table.name)

    def source(self, content: str) -> str:
        return f"pg_temp.rollback_unmerge_{self.number}_{content} AS s"

    def names(self, content: str) -> tuple[str, ...]:
        return self.key.columns if content == INSERTED else self.columns

    def column(self, content: str, name: str, alias: str = "s") -> str:
        return f"{alias}.c{self.names(content).index(name)}"

    def same_row(self, content: str, table_alias: str = "t", alias: str = "s") -> str:
        return " AND ".join(
            f"{table_alias}.{quoted(name)} {operator} {self.column(content, name, alias)}"
            for name, operator in zip(self.key.columns, self.key.operators)
        )

    @property
    def as_merged(self) -> str:
        """SQL: the row of the table is what the merge made of it."""
        return f"{row_hash(self.columns)} = s.merged"

    @property
    def as_before(self) -> str:
        """SQL: the row of the table is what it was before the merge."""
        former = ", ".join(f"s.c{number}" for number in range(len(self.columns)))
        return f"{record(self.columns)} = ROW({former})::text"


def take_back(
    target: Target, index: t.Mapping[str, t.Any], path: Path, *, check: bool
) -> list[dict[str, t.Any]]:
    """Undo the merge whose folder is ``path``; the tables of the result.

    Raises MergeRefusedError naming rows written since, FolderError for a damaged folder.
    """
    journals = [_load(target, entry, path, number) for number, entry in enumerate(index["tables"])]
    names = {journal.table.name for journal in journals}
    children = {key.table for key in target.catalog.foreign_keys if key.parent in names}
    tables = [target.catalog.tables[name] for name in sorted(names | children)]
    with locked_transaction(target, tables, check=check):
        conflicts = [conflict for each in journals for conflict in _conflicts(target, each)]
        conflicts += _dependents(target, journals)
        if conflicts:
            raise refusal(target.name, conflicts)
        counted = [_count(target, each) for each in journals]
        if not check and any(count["deleted"] or count["restored"] for count in counted):
            _apply(target, journals)
    return counted


def _load(target: Target, entry: t.Mapping[str, t.Any], path: Path, number: int) -> _Journal:
    table = target.catalog.tables.get(tuple(entry["table"]))
    key = next(
        (key for key in (table.keys if table else ()) if set(key.columns) == set(entry["key"])),
        None,
    )
    if table is None or key is None or not set(entry["columns"]) <= set(table.stored):
        raise TableChangedError(
            f"{'.'.join(entry['table'])} in {target.name!r} no longer has the key or the columns "
            f"that the merge wrote. Nothing was changed. Its rows are in {path}."
        )
    # The files were written in this order of the key's columns.
    operators = dict(zip(key.columns, key.operators))
    ordered = type(key)(tuple(entry["key"]), tuple(operators[name] for name in entry["key"]))
    journal = _Journal(table, ordered, tuple(entry["columns"]), number)
    for content in (INSERTED, UPDATED):
        _create(target.writer, journal, content)
        if content in entry:
            _copy(target.writer, journal, content, path / entry[content]["file"], entry[content])
    return journal


def _create(writer: psycopg.Connection, journal: _Journal, content: str) -> None:
    columns = [
        f"c{number} {column.type}"
        for number, name in enumerate(journal.names(content))
        for column in [journal.table.column(name)]
        if column is not None
    ]
    name = journal.source(content).split(" ")[0]
    writer.execute(f"CREATE TEMPORARY TABLE {name} ({', '.join(columns)}, hash text, merged bytea)")


def _copy(
    writer: psycopg.Connection,
    journal: _Journal,
    content: str,
    file: Path,
    entry: t.Mapping[str, t.Any],
) -> None:
    if not intact(file, entry):
        raise FolderError(f"{file} is not the file the merge wrote. Nothing was changed.")
    name = journal.source(content).split(" ")[0]
    columns = ", ".join(f"c{number}" for number in range(len(journal.names(content))))
    statement = f"COPY {name} ({columns}, hash) FROM STDIN (FORMAT csv, HEADER)"
    with file.open("rb") as handle, writer.cursor().copy(statement) as stream:
        for block in iter(lambda: handle.read(1 << 16), b""):
            stream.write(block)
    writer.execute(f"UPDATE {name} SET merged = decode(hash, 'hex')")
    writer.execute(f"ANALYZE {name}")


def _conflicts(target: Target, journal: _Journal) -> t.Iterator[Conflict]:
    """Drops what is taken back already, and names what was written since."""
    writer, table = target.writer, relation(journal.table)
    inserted, updated = journal.source(INSERTED), journal.source(UPDATED)
    writer.execute(
        f"DELETE FROM {inserted} WHERE NOT EXISTS "
        f"(SELECT FROM {table} WHERE {journal.same_row(INSERTED)})"
    )
    writer.execute(
        f"DELETE FROM {updated} USING {table} "
        f"WHERE {journal.same_row(UPDATED)} AND {journal.as_before}"
    )
    for content in (INSERTED, UPDATED):
        yield from _named(
            target,
            journal,
            content,
            f"{journal.source(content)} JOIN {table} ON {journal.same_row(content)} "
            f"WHERE NOT ({journal.as_merged})",
            "the row was changed since the merge",
        )
    yield from _named(
        target,
        journal,
        UPDATED,
        f"{updated} WHERE NOT EXISTS (SELECT FROM {table} WHERE {journal.same_row(UPDATED)})",
        "the row was deleted since the merge",
    )


def _dependents(target: Target, journals: t.Sequence[_Journal]) -> t.Iterator[Conflict]:
    """Rows written since that point at rows to delete: deleting would fail, or take them along."""
    by_name = {journal.table.name: journal for journal in journals}
    for key in target.catalog.foreign_keys:
        parent = by_name.get(key.parent)
        if parent is None:
            continue
        child = by_name.get(key.table)
        pointing = " AND ".join(
            f"t.{quoted(name)} {operator} c.{quoted(own)}"
            for name, operator, own in zip(key.parent_columns, key.operators, key.columns)
        )
        going = ""
        if child is not None:
            source = child.source(INSERTED)[: -len("s")] + "g"
            going = (
                f" AND NOT EXISTS (SELECT FROM {source} WHERE {child.same_row(INSERTED, 'c', 'g')})"
            )
        yield from _named(
            target,
            parent,
            INSERTED,
            f"{parent.source(INSERTED)} JOIN {relation(parent.table)} "
            f"ON {parent.same_row(INSERTED)} "
            f"WHERE EXISTS (SELECT FROM {relation(target.catalog.tables[key.table], 'c')} "
            f"WHERE {pointing}{going})",
            f"rows of {'.'.join(key.table)} written since point at it",
        )


def _named(
    target: Target, journal: _Journal, content: str, source: str, problem: str
) -> t.Iterator[Conflict]:
    keys = journal.key.columns
    listed = ", ".join(f"{journal.column(content, name)}::text" for name in keys)
    rows = target.writer.execute(
        f"SELECT {listed}, count(*) OVER () FROM {source} ORDER BY 1 LIMIT {_NAMED}"
    ).fetchall()
    if rows:
        named = tuple(dict(zip(keys, row)) for row in rows)
        yield Conflict(journal.label, problem, rows[0][len(keys)], named)


def _count(target: Target, journal: _Journal) -> dict[str, t.Any]:
    row = target.writer.execute(
        f"SELECT (SELECT count(*) FROM {journal.source(INSERTED)}), "
        f"(SELECT count(*) FROM {journal.source(UPDATED)})"
    ).fetchone()
    deleted, restored = row or (0, 0)
    return {"table": journal.label, "deleted": deleted, "restored": restored}


def _apply(target: Target, journals: t.Sequence[_Journal]) -> None:
    writer = target.writer
    triggers = disable_triggers(writer, [journal.table for journal in journals])
    parts = []
    for journal in journals:
        table = relation(journal.table)
        parts.append(
            f"d{journal.number} AS (DELETE FROM {table} USING {journal.source(INSERTED)} "
            f"WHERE {journal.same_row(INSERTED)} RETURNING 1)"
        )
        values = _former_values(journal)
        if values:
            parts.append(
                f"u{journal.number} AS (UPDATE {table} SET {values} "
                f"FROM {journal.source(UPDATED)} WHERE {journal.same_row(UPDATED)} RETURNING 1)"
            )
    writer.execute(f"WITH {', '.join(parts)} SELECT 1")
    writer.execute("SET CONSTRAINTS ALL IMMEDIATE")
    enable_triggers(writer, triggers)


def _former_values(journal: _Journal) -> str:
    fixed = set(journal.key.columns)
    fixed |= {column.name for column in journal.table.columns if column.identity == "a"}
    return ", ".join(
        f"{quoted(name)} = s.c{number}"
        for number, name in enumerate(journal.columns)
        if name not in fixed
    )
