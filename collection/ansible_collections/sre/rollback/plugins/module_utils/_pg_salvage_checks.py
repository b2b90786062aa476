# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which staged rows can be merged without anybody having to decide, and which cannot.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

# ruff: noqa: S608 - every name in a statement went through quoted()

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_compare import (
    ADDED,
    CHANGED,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_sql import relation
from ansible_collections.sre.rollback.plugins.module_utils._postgres import quoted

if t.TYPE_CHECKING:
    import psycopg

    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import (
        Catalog,
        ForeignKey,
    )
    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_staging import Staged

# Rows named in one refusal, for each reason of each table.
_NAMED = 10

# Unique indexes with the columns they need (of their expressions and predicates too), the
# expressions, and how they are compared; strategy 3 of a btree is equality.
_UNIQUE_INDEXES = """
SELECT x.relname, e.expressions, e.operators, pg_get_expr(i.indpred, i.indrelid),
       ARRAY(SELECT a.attname::text
               FROM pg_depend d
               JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
              WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
             UNION
             SELECT a.attname::text FROM unnest(i.indkey::int2[]) AS k (attnum)
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum)
  FROM pg_index i
  JOIN pg_class x ON x.oid = i.indexrelid
  CROSS JOIN LATERAL (
    SELECT array_agg(pg_get_indexdef(i.indexrelid, s.position::int, false) ORDER BY s.position)
             AS expressions,
           array_agg(format('OPERATOR(%%I.%%s)', n.nspname, o.oprname) ORDER BY s.position)
             AS operators
      FROM unnest(i.indclass::oid[]) WITH ORDINALITY AS s (opclass, position)
      JOIN pg_opclass c ON c.oid = s.opclass
      JOIN pg_amop p ON p.amopfamily = c.opcfamily AND p.amopstrategy = 3
                    AND p.amoplefttype = c.opcintype AND p.amoprighttype = c.opcintype
      JOIN pg_operator o ON o.oid = p.amopopr
      JOIN pg_namespace n ON n.oid = o.oprnamespace) e
 WHERE i.indrelid = (SELECT c.oid FROM pg_class c JOIN pg_namespace m ON m.oid = c.relnamespace
                      WHERE m.nspname = %s AND c.relname = %s)
   AND i.indisunique AND i.indisvalid
 ORDER BY x.relname COLLATE "C"
"""


@dataclass(frozen=True)
class Conflict:
    """Rows of one table that cannot be decided for one reason; the first of them by key."""

    table: str
    problem: str
    rows: int
    keys: tuple[dict[str, str], ...]

    def as_dict(self) -> dict[str, t.Any]:
        """The conflict in a module's result."""
        return {
            "table": self.table,
            "problem": self.problem,
            "rows": self.rows,
            "keys": [dict(key) for key in self.keys],
        }

    def __str__(self) -> str:
        named = "; ".join(
            ", ".join(f"{column}={value}" for column, value in key.items()) for key in self.keys[:3]
        )
        more = f" and {self.rows - 3} more" if self.rows > 3 else ""
        return f"{self.table} ({named}{more}): {self.problem}"


def settle(writer: psycopg.Connection, staged: Staged) -> None:
    """Drop the staged rows that are decided already: the same on both sides, or older."""
    writer.execute(
        f"DELETE FROM {staged.relation} USING {staged.target} "
        f"WHERE {staged.same_row} AND {staged.same_content}"
    )
    if staged.newer_by is not None:
        writer.execute(
            f"DELETE FROM {staged.relation} USING {staged.target} "
            f"WHERE {staged.same_row} AND s.change = '{CHANGED}' "
            f"AND t.{quoted(staged.newer_by)} > {staged.column(staged.newer_by)}"
        )


def find_conflicts(
    writer: psycopg.Connection, staged: t.Sequence[Staged], catalog: Catalog
) -> list[Conflict]:
    """Everything among the staged rows that somebody has to decide. ``settle`` comes first."""
    found: list[Conflict | None] = []
    by_name = {each.pair.name: each for each in staged}
    for each in staged:
        found.append(_written_twice(writer, each))
        found.append(_gone(writer, each))
        if each.newer_by is not None:
            found.append(_undecidable(writer, each, each.newer_by))
            found.append(_fixed(writer, each))
        else:
            found.append(_differing(writer, each))
        found.extend(_unique_conflicts(writer, each))
    for foreign_key in catalog.foreign_keys:
        if foreign_key.table in by_name:
            found.append(_orphans(writer, by_name, foreign_key, catalog))
    return [conflict for conflict in found if conflict is not None]


def _written_twice(writer: psycopg.Connection, staged: Staged) -> Conflict | None:
    return name_rows(
        writer,
        staged,
        f"{staged.relation} JOIN {staged.target} ON {staged.same_row} WHERE s.change = '{ADDED}'",
        "a different row with this key was written to the reference meanwhile",
    )


def _gone(writer: psycopg.Connection, staged: Staged) -> Conflict | None:
    return name_rows(
        writer,
        staged,
        f"{staged.relation} WHERE s.change = '{CHANGED}' "
        f"AND NOT EXISTS (SELECT FROM {staged.target} WHERE {staged.same_row})",
        "the row was deleted from the reference meanwhile",
    )


def _undecidable(writer: psycopg.Connection, staged: Staged, newer_by: str) -> Conflict | None:
    ours, theirs = staged.column(newer_by), f"t.{quoted(newer_by)}"
    return name_rows(
        writer,
        staged,
        f"{staged.relation} JOIN {staged.target} ON {staged.same_row} "
        f"WHERE s.change = '{CHANGED}' AND ({ours} > {theirs}) IS NOT TRUE",
        f"the rows differ, and {newer_by} does not say which is newer",
    )


def _differing(writer: psycopg.Connection, staged: Staged) -> Conflict | None:
    return name_rows(
        writer,
        staged,
        f"{staged.relation} WHERE s.change = '{CHANGED}'",
        "the rows differ, and nothing says which one counts (differing=refuse)",
    )


def _fixed(writer: psycopg.Connection, staged: Staged) -> Conflict | None:
    """PostgreSQL updates a column GENERATED ALWAYS AS IDENTITY to its default only."""
    fixed = [
        column.name
        for column in staged.table.columns
        if column.identity == "a"
        and column.name in staged.pair.columns
        and column.name not in staged.key.columns
    ]
    if not fixed:
        return None
    differs = " OR ".join(
        f"t.{quoted(name)} IS DISTINCT FROM {staged.column(name)}" for name in fixed
    )
    return name_rows(
        writer,
        staged,
        f"{staged.relation} JOIN {staged.target} ON {staged.same_row} "
        f"WHERE s.change = '{CHANGED}' AND ({differs})",
        f"identity column {', '.join(fixed)} differs and cannot be updated",
    )


def _orphans(
    writer: psycopg.Connection,
    by_name: t.Mapping[tuple[str, str], Staged],
    foreign_key: ForeignKey,
    catalog: Catalog,
) -> Conflict | None:
    child = by_name[foreign_key.table]
    if not set(foreign_key.columns) <= set(child.pair.columns):
        return None  # The column takes its default; the constraint itself checks that.
    pointers = [child.column(column) for column in foreign_key.columns]
    pairs = list(zip(foreign_key.parent_columns, foreign_key.operators, pointers))
    parent = relation(catalog.tables[foreign_key.parent], "p")
    match = " AND ".join(f"p.{quoted(name)} {operator} {own}" for name, operator, own in pairs)
    where = [f"{own} IS NOT NULL" for own in pointers]
    where.append(f"NOT EXISTS (SELECT FROM {parent} WHERE {match})")
    staged_parent = by_name.get(foreign_key.parent)
    if staged_parent and set(foreign_key.parent_columns) <= set(staged_parent.pair.columns):
        match = " AND ".join(
            f"{staged_parent.column(name, 'q')} {operator} {own}" for name, operator, own in pairs
        )
        source = staged_parent.relation[: -len("s")] + "q"
        where.append(f"NOT EXISTS (SELECT FROM {source} WHERE {match})")
    return name_rows(
        writer,
        child,
        f"{child.relation} WHERE {' AND '.join(where)}",
        f"{', '.join(foreign_key.columns)} points at a row that {'.'.join(foreign_key.parent)} "
        f"does not have (constraint {foreign_key.name})",
    )


def _unique_conflicts(writer: psycopg.Connection, staged: Staged) -> t.Iterator[Conflict | None]:
    for name, expressions, operators, predicate, needs in writer.execute(
        _UNIQUE_INDEXES, staged.pair.name
    ):
        if set(needs) == set(staged.key.columns) or not set(needs) <= set(staged.pair.columns):
            continue  # The key itself, or nothing that the staged rows could say.
        yield _unique_conflict(
            writer, staged, _Unique(name, tuple(expressions), tuple(operators), predicate)
        )


@dataclass(frozen=True)
class _Unique:
    name: str
    expressions: tuple[str, ...]
    operators: tuple[str, ...]
    predicate: str | None


def _unique_conflict(writer: psycopg.Connection, staged: Staged, index: _Unique) -> Conflict | None:
    names = staged.pair.columns
    values = [f'{expression} AS "unique {n}"' for n, expression in enumerate(index.expressions)]
    where = f" WHERE {index.predicate}" if index.predicate else ""
    # Both sides under the table's own column names, so that the index's expressions fit.
    renamed = ", ".join(f"{staged.column(name)} AS {quoted(name)}" for name in names)
    ours = (
        f"(SELECT *, {', '.join(values)} FROM (SELECT {renamed} FROM {staged.relation}) x{where})"
    )
    theirs = f"(SELECT *, {', '.join(values)} FROM {staged.target}{where})"
    equal = " AND ".join(
        f'o."unique {n}" {op} m."unique {n}"' for n, op in enumerate(index.operators)
    )
    same = " AND ".join(
        f"o.{quoted(name)} {operator} m.{quoted(name)}"
        for name, operator in zip(staged.key.columns, staged.key.operators)
    )
    updated = f"SELECT FROM {staged.relation} WHERE s.change = '{CHANGED}' AND " + (
        staged.key_matches("o", "s")
    )
    keys = ", ".join(f"m.{quoted(name)}::text" for name in staged.key.columns)
    return _named(
        writer,
        staged,
        f"SELECT {keys} FROM {ours} m JOIN {theirs} o ON {equal} "
        f"WHERE NOT ({same}) AND NOT EXISTS ({updated})",
        f"another row of the reference has the same value of unique index {index.name}",
    )


def name_rows(
    writer: psycopg.Connection, staged: Staged, source: str, problem: str
) -> Conflict | None:
    """The staged rows that ``source`` (a FROM clause) selects, as a conflict; None without any."""
    keys = ", ".join(f"{staged.column(name)}::text" for name in staged.key.columns)
    return _named(writer, staged, f"SELECT {keys} FROM {source}", problem)


def _named(writer: psycopg.Connection, staged: Staged, query: str, problem: str) -> Conflict | None:
    width = len(staged.key.columns)
    order = ", ".join(str(number + 1) for number in range(width))
    rows = writer.execute(
        f"SELECT *, count(*) OVER () FROM ({query}) AS found ORDER BY {order} LIMIT {_NAMED}"
    ).fetchall()
    if not rows:
        return None
    keys = tuple(dict(zip(staged.key.columns, row[:width])) for row in rows)
    return Conflict(staged.pair.label, problem, rows[0][width], keys)
