# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables of a database whose rows a dump holds, and their columns.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._postgres import quoted

if t.TYPE_CHECKING:
    import psycopg

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")
# How a value goes into a row: as it is, as text, or as the hash of what its send function makes.
PLAIN, TEXT, AS_TEXT, BYTES = "plain", "text", "as text", "bytes"


@dataclass(frozen=True)
class Field:
    """A column, and one of PLAIN, TEXT, AS_TEXT, BYTES, or the name of its type's send function."""

    column: str
    kind: str


@dataclass(frozen=True)
class Table:
    """A table whose rows a dump holds. ``condition`` is an extension's own (its settings).

    ``total`` is the name under which its rows are counted: its own, or that of the partitioned
    table among whose partitions a restore may distribute the rows otherwise (a hash of an enum's
    OID decides), as pg_dump knows, too.
    """

    schema: str
    name: str
    fields: tuple[Field, ...]
    condition: str
    blocks: int
    total: str

    @property
    def label(self) -> str:
        """The table's name as messages and manifests write it."""
        return label(self.schema, self.name)

    @property
    def relation(self) -> str:
        """The table's name in a statement."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


_TABLES = """
SELECT n.nspname, c.relname,
  f.columns, f.kinds,
  coalesce(x.condition, ''),
  pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int,
  root.nspname, root.relname
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN (
  SELECT u.relation, u.condition
  FROM pg_catalog.pg_extension e, unnest(e.extconfig, e.extcondition) u(relation, condition)
) x ON x.relation = c.oid
LEFT JOIN LATERAL (
  SELECT r.oid, r.relname, m.nspname
  FROM pg_catalog.pg_class r JOIN pg_catalog.pg_namespace m ON m.oid = r.relnamespace
  WHERE c.relispartition AND r.oid = pg_catalog.pg_partition_root(c.oid) AND EXISTS (
    SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) a
    JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = a.relid
    JOIN pg_catalog.pg_opclass o ON o.oid = ANY (p.partclass)
    JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod
    WHERE m.amname = 'hash' AND o.opcname = 'enum_ops')
) root ON true
CROSS JOIN LATERAL (
  SELECT coalesce(array_agg(a.attname::text ORDER BY coalesce(ra.attnum, a.attnum)), '{}')
      AS columns,
    coalesce(array_agg(CASE
      WHEN NOT (t.oid < 16384 AND t.typtype IN ('b', 'r', 'm') AND t.typsend <> 0
        AND t.typname NOT LIKE 'reg%' AND t.typname NOT LIKE '\\_reg%'
        AND (t.typelem = 0 OR EXISTS (
          SELECT FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typsend <> 0)))
      THEN 'as text'
      WHEN t.typname IN ('text', 'varchar') THEN 'text'
      WHEN t.typname = 'bytea' THEN 'bytes'
      WHEN t.typlen = -1 AND t.typname NOT IN ('numeric', 'bpchar', 'inet', 'cidr')
      THEN t.typsend::pg_catalog.regproc::text
      ELSE 'plain' END ORDER BY coalesce(ra.attnum, a.attnum)), '{}') AS kinds
  FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_attribute ra ON ra.attrelid = root.oid AND ra.attname = a.attname
  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
) f
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
  AND (x.relation IS NOT NULL OR NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
      AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e'))
ORDER BY pg_catalog.pg_relation_size(c.oid) DESC, 1, 2
"""


def label(schema: str, name: str) -> str:
    """A name for people and manifests; the server would quote by the keywords of its version."""
    return ".".join(part if _PLAIN.match(part) else quoted(part) for part in (schema, name))


def read_tables(connection: psycopg.Connection) -> list[Table]:
    """The tables whose rows pg_dump writes, the largest first: partitions, not their parents."""
    return [
        Table(
            schema,
            name,
            tuple(Field(*pair) for pair in zip(columns, kinds)),
            condition,
            int(blocks),
            label(*root) if root[1] else label(schema, name),
        )
        for schema, name, columns, kinds, condition, blocks, *root in connection.execute(_TABLES)
    ]
