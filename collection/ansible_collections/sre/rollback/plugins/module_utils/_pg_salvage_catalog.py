# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tables of a database are made of, as far as comparing and merging rows needs it.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

# ruff: noqa: S608 - what goes into a statement here is a constant of ours

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._pg_kept import NOT_KEPT

if t.TYPE_CHECKING:
    import psycopg

Names = t.Tuple[str, ...]
TableName = t.Tuple[str, str]

# Tables that pg_dump would take: no partitions (their parent stands for them), nothing that an
# extension made, except where the extension says that users write to it (extconfig); and no tables
# in which a restore kept rows.
_TABLES = f"""
SELECT c.oid::int8, n.nspname, c.relname, c.relkind = 'p',
       CASE c.relkind
         WHEN 'p' THEN (SELECT coalesce(sum(pg_relation_size(leaf.relid)), 0)
                          FROM pg_partition_tree(c.oid) leaf WHERE leaf.isleaf)
         ELSE pg_relation_size(c.oid) END::int8
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
   AND {NOT_KEPT}
   AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
   AND NOT EXISTS (
     SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
        AND d.refclassid = 'pg_extension'::regclass
        AND NOT coalesce(c.oid = ANY (e.extconfig), false))
 ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""

_COLUMNS = """
SELECT a.attrelid::int8, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       a.atthasdef OR a.attidentity <> '' OR y.typdefault IS NOT NULL,
       a.attidentity::text, a.attgenerated <> ''
  FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
 WHERE a.attrelid = ANY (%s::int8[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum
"""

# An index is a key when it holds every row exactly once: unique, whole, valid, no NULLs. Only
# btree indexes are unique; strategy 3 of that access method is equality.
_KEYS = """
SELECT i.indrelid::int8, k.columns, k.operators
  FROM pg_index i
  JOIN pg_class x ON x.oid = i.indexrelid
  CROSS JOIN LATERAL (
    SELECT array_agg(a.attname::text ORDER BY s.position) AS columns,
           array_agg(format('OPERATOR(%%I.%%s)', n.nspname, o.oprname) ORDER BY s.position)
             AS operators,
           bool_and(a.attnotnull) AS whole
      FROM unnest(i.indkey::int2[], i.indclass::oid[])
           WITH ORDINALITY AS s (attnum, opclass, position)
      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = s.attnum
      JOIN pg_opclass c ON c.oid = s.opclass
      JOIN pg_amop p ON p.amopfamily = c.opcfamily AND p.amopstrategy = 3
                    AND p.amoplefttype = c.opcintype AND p.amoprighttype = c.opcintype
      JOIN pg_operator o ON o.oid = p.amopopr
      JOIN pg_namespace n ON n.oid = o.oprnamespace
     WHERE s.position <= i.indnkeyatts) k
 WHERE i.indrelid = ANY (%s::int8[]::oid[]) AND i.indisunique AND i.indisvalid
   AND i.indpred IS NULL AND i.indexprs IS NULL AND k.whole
 ORDER BY i.indrelid, NOT i.indisprimary, i.indnkeyatts, x.relname COLLATE "C"
"""

# conpfeqop compares the parent's column (left) with the child's (right).
_FOREIGN_KEYS = """
SELECT o.conname, o.conrelid::int8, o.confrelid::int8, k.columns, k.parent_columns, k.operators,
       o.confdeltype::text
  FROM pg_constraint o
  CROSS JOIN LATERAL (
    SELECT array_agg(c.attname::text ORDER BY s.position) AS columns,
           array_agg(p.attname::text ORDER BY s.position) AS parent_columns,
           array_agg(format('OPERATOR(%%I.%%s)', n.nspname, q.oprname) ORDER BY s.position)
             AS operators
      FROM unnest(o.conkey, o.confkey, o.conpfeqop)
           WITH ORDINALITY AS s (child, parent, operator, position)
      JOIN pg_attribute c ON c.attrelid = o.conrelid AND c.attnum = s.child
      JOIN pg_attribute p ON p.attrelid = o.confrelid AND p.attnum = s.parent
      JOIN pg_operator q ON q.oid = s.operator
      JOIN pg_namespace n ON n.oid = q.oprnamespace) k
 WHERE o.contype = 'f' AND o.conparentid = 0
   AND o.conrelid = ANY (%(oids)s::int8[]::oid[]) AND o.confrelid = ANY (%(oids)s::int8[]::oid[])
 ORDER BY o.conrelid, o.conname COLLATE "C"
"""


@dataclass(frozen=True)
class Column:
    """A column. ``identity`` is ``''``, ``'a'`` (always) or ``'d'`` (by default)."""

    name: str
    type: str
    not_null: bool
    has_default: bool
    identity: str
    generated: bool


@dataclass(frozen=True)
class Key:
    """Columns that tell the rows of a table apart, and the operators that compare them."""

    columns: Names
    operators: Names


@dataclass(frozen=True)
class ForeignKey:
    """``columns`` of ``table`` point at ``parent_columns`` of ``parent``.

    An operator has the parent's column on its left and the child's on its right.
    ``on_delete`` is pg_constraint.confdeltype: ``a`` no action, ``r`` restrict, ``c`` cascade,
    ``n`` set null, ``d`` set default.
    """

    name: str
    table: TableName
    parent: TableName
    columns: Names
    parent_columns: Names
    operators: Names
    on_delete: str


@dataclass(frozen=True)
class Table:
    """A table with the column lists that tell its rows apart, the primary key first.

    ``size`` is that of the heap in bytes, without TOAST.
    """

    name: TableName
    partitioned: bool
    size: int
    columns: tuple[Column, ...]
    keys: tuple[Key, ...]

    def column(self, name: str) -> Column | None:
        """The column called ``name``, if there is one."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def stored(self) -> Names:
        """The columns somebody wrote; a generated column follows from the others."""
        return tuple(column.name for column in self.columns if not column.generated)


@dataclass(frozen=True)
class Catalog:
    """The tables of one database and how they point at each other."""

    tables: dict[TableName, Table]
    foreign_keys: tuple[ForeignKey, ...]


def read_catalog(connection: psycopg.Connection) -> Catalog:
    """The catalog as the connection's transaction sees it."""
    rows = connection.execute(_TABLES).fetchall()
    names = {oid: (schema, name) for oid, schema, name, _partitioned, _size in rows}
    oids = list(names)
    columns = _grouped(connection.execute(_COLUMNS, [oids]), lambda rest: Column(*rest))
    keys = _grouped(connection.execute(_KEYS, [oids]), lambda rest: Key(*map(tuple, rest)))
    tables = {
        names[oid]: Table(
            name=names[oid],
            partitioned=partitioned,
            size=size,
            columns=tuple(columns.get(oid, ())),
            keys=tuple(dict.fromkeys(keys.get(oid, ()))),
        )
        for oid, _schema, _name, partitioned, size in rows
    }
    return Catalog(tables, _foreign_keys(connection, names))


def _grouped(
    rows: t.Iterable[t.Sequence[t.Any]], build: t.Callable[[t.Sequence[t.Any]], t.Any]
) -> dict[int, list[t.Any]]:
    groups: dict[int, list[t.Any]] = {}
    for oid, *rest in rows:
        groups.setdefault(oid, []).append(build(rest))
    return groups


def _foreign_keys(
    connection: psycopg.Connection, names: t.Mapping[int, TableName]
) -> tuple[ForeignKey, ...]:
    rows = connection.execute(_FOREIGN_KEYS, {"oids": list(names)})
    return tuple(
        ForeignKey(
            name=name,
            table=names[child],
            parent=names[parent],
            columns=tuple(columns),
            parent_columns=tuple(parent_columns),
            operators=tuple(operators),
            on_delete=on_delete,
        )
        for name, child, parent, columns, parent_columns, operators, on_delete in rows
    )
