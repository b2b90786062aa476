# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which table of one database is compared with which of the other, by which key and columns.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import fnmatch
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import (
        Catalog,
        Key,
        Names,
        Table,
        TableName,
    )


class NoSuchTableError(RollbackError):
    """A table was named that neither database has."""


@dataclass(frozen=True)
class Pair:
    """A table as each of the two databases has it; one of them may lack it.

    ``columns`` are those both have and somebody wrote, in the order of the reference. ``key`` is
    None when no list of columns tells rows apart in both.
    """

    name: TableName
    database: Table | None
    reference: Table | None
    columns: Names
    key: Key | None

    @property
    def label(self) -> str:
        """``schema.table``, as patterns and results name it."""
        return ".".join(self.name)

    def both(self) -> tuple[Table, Table]:
        """The two tables. Raises ValueError for a table that only one database has."""
        if self.database is None or self.reference is None:
            raise ValueError(f"only one database has {self.label}")
        return self.database, self.reference

    def shared_key(self) -> Key:
        """The key. Raises ValueError when there is none."""
        if self.key is None:
            raise ValueError(f"{self.label} has no key")
        return self.key

    def column_differences(self) -> dict[str, t.Any]:
        """How the columns differ, in words of results; empty lists when they do not."""
        database = {c.name: c.type for c in self.database.columns} if self.database else {}
        reference = {c.name: c.type for c in self.reference.columns} if self.reference else {}
        both = [name for name in database if name in reference]
        return {
            "only_in_database": [name for name in database if name not in reference],
            "only_in_reference": [name for name in reference if name not in database],
            "types": [
                {"column": name, "database": database[name], "reference": reference[name]}
                for name in both
                if database[name] != reference[name]
            ],
        }


def pair_tables(
    database: Catalog, reference: Catalog, *, tables: t.Sequence[str], exclude: t.Sequence[str]
) -> list[Pair]:
    """The tables of both databases that ``tables`` (all when empty) and ``exclude`` leave.

    A pattern is a shell-style one over ``schema.table``, or over the table's name alone. Raises
    NoSuchTableError for a pattern of ``tables`` that matches nothing: a typing error must not look
    like "nothing was written".
    """
    names = sorted({*database.tables, *reference.tables})
    unmatched = [p for p in tables if not any(matches(name, p) for name in names)]
    if unmatched:
        raise NoSuchTableError(
            f"neither database has a table that matches {', '.join(map(repr, unmatched))}. "
            "Nothing was changed. Correct `tables`."
        )
    return [
        _pair(name, database.tables.get(name), reference.tables.get(name))
        for name in names
        if (not tables or _any(name, tables)) and not _any(name, exclude)
    ]


def matches(name: TableName, pattern: str) -> bool:
    """Whether ``pattern`` means the table ``name``; names are case-sensitive, as in the catalog."""
    return fnmatch.fnmatchcase(name[1], pattern) or fnmatch.fnmatchcase(".".join(name), pattern)


def _any(name: TableName, patterns: t.Iterable[str]) -> bool:
    return any(matches(name, pattern) for pattern in patterns)


def _pair(name: TableName, database: Table | None, reference: Table | None) -> Pair:
    if database is None or reference is None:
        return Pair(name, database, reference, (), None)
    columns = tuple(column for column in reference.stored if column in database.stored)
    known = {frozenset(key.columns) for key in database.keys}
    key = next(
        (
            key
            for key in reference.keys
            if frozenset(key.columns) in known and set(key.columns) <= set(columns)
        ),
        None,
    )
    return Pair(name, database, reference, columns, key)
