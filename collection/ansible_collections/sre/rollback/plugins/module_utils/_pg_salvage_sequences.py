# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sequences of the reference go as far as those of the database, so that no number comes twice.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

if t.TYPE_CHECKING:
    import psycopg

    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import (
        TableName,
    )

# A sequence belongs to the tables that own it or draw a default from it.
_SEQUENCES = """
SELECT n.nspname, c.relname, s.seqincrement, s.seqcycle, pg_sequence_last_value(c.oid),
       coalesce((SELECT jsonb_agg(DISTINCT jsonb_build_array(tn.nspname, tc.relname))
                   FROM (SELECT d.refobjid AS oid FROM pg_depend d
                          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                            AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
                         UNION
                         SELECT ad.adrelid FROM pg_attrdef ad JOIN pg_depend d
                             ON d.classid = 'pg_attrdef'::regclass AND d.objid = ad.oid
                          WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid) u
                   JOIN pg_class tc ON tc.oid = u.oid
                   JOIN pg_namespace tn ON tn.oid = tc.relnamespace), '[]')
  FROM pg_sequence s
  JOIN pg_class c ON c.oid = s.seqrelid AND c.relpersistence <> 't'
  JOIN pg_namespace n ON n.oid = c.relnamespace
 ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""


@dataclass(frozen=True)
class Sequence:
    """A sequence; ``last_value`` is None when it was never used."""

    name: TableName
    increment: int
    cycles: bool
    last_value: int | None
    tables: frozenset[TableName]


@dataclass(frozen=True)
class Advance:
    """A sequence that has to go from ``before`` to ``after``."""

    name: TableName
    before: int | None
    after: int

    def as_dict(self) -> dict[str, t.Any]:
        """The sequence in a module's result."""
        return {"sequence": ".".join(self.name), "before": self.before, "after": self.after}


def read_sequences(connection: psycopg.Connection) -> dict[TableName, Sequence]:
    """The sequences of a database and how far they have gone."""
    return {
        (schema, name): Sequence(
            name=(schema, name),
            increment=increment,
            cycles=cycles,
            last_value=last,
            tables=frozenset((table[0], table[1]) for table in tables),
        )
        for schema, name, increment, cycles, last, tables in connection.execute(_SEQUENCES)
    }


def advances(
    database: t.Mapping[TableName, Sequence],
    reference: t.Mapping[TableName, Sequence],
    *,
    left_out: t.Callable[[TableName], bool],
) -> list[Advance]:
    """The sequences of the reference that are behind the database's.

    A sequence whose tables are all left out of the merge stays; one that no table draws from
    belongs to the application and goes along: a gap does no harm, a number given twice does. One
    that cycles has no further end.
    """
    found = []
    for name, ours in database.items():
        theirs = reference.get(name)
        if theirs is None or ours.last_value is None or theirs.cycles:
            continue
        if theirs.tables and all(left_out(table) for table in theirs.tables):
            continue
        if _is_behind(theirs, ours.last_value):
            found.append(Advance(name, theirs.last_value, ours.last_value))
    return found


def _is_behind(sequence: Sequence, value: int) -> bool:
    if sequence.last_value is None:
        return True
    if sequence.increment > 0:
        return sequence.last_value < value
    return sequence.last_value > value


def advance(writer: psycopg.Connection, moves: t.Iterable[Advance]) -> None:
    """Move the sequences. A rollback does not take that back; the gap is harmless."""
    for move in moves:
        writer.execute(
            "SELECT setval(format('%%I.%%I', %s::text, %s::text)::regclass, %s)",
            [*move.name, move.after],
        )
