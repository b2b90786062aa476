# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tables of a database hold: a row count and a hash of each, whatever the rows' order.

A row's hash is taken of its binary form (``record_send``), which no setting changes; types whose
binary form holds numbers of this database alone (OIDs of enums, domains, reg* …) go in as text.
The table's hash is the sum of two 64-bit hashes of each row, so it needs no order, can be computed
in parts, and a row that is missing, doubled or changed shows. It is an evidence against accidents,
not against somebody who can write to the database. Generated columns stay out: the server makes
them anew.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

# ruff: noqa: S608 - every name in a statement went through quoted()

from __future__ import annotations

import concurrent.futures
import queue
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._postgres import quoted

if t.TYPE_CHECKING:
    import psycopg

# PostgreSQL 18 hashes bytes as they are; before, only text can be hashed from SQL.
_HASHES = {
    "record-send-bytes-2x64": (
        "record_send(ROW({fields}))",
        "sum(hashbyteaextended(r, 0)), sum(hashbyteaextended(r, 1))",
    ),
    "record-send-hex-2x64": (
        "encode(record_send(ROW({fields})), 'hex')",
        'sum(hashtextextended(r COLLATE "C", 0)), sum(hashtextextended(r COLLATE "C", 1))',
    ),
}

# Values that go into a hash as text must be written alike everywhere, names in full, and no
# time-out that is meant for the application may end the reading.
SESSION = {
    "search_path": "",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmlbinary": "base64",
    "quote_all_identifiers": "off",
    "row_security": "off",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "synchronize_seqscans": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")
_BLOCK = 8192
_BLOCKS_PER_PART = 4096
_MASK = (1 << 128) - 1


@dataclass(frozen=True)
class Table:
    """A table whose rows a dump holds. ``condition`` is an extension's own (its settings)."""

    schema: str
    name: str
    fields: tuple[str, ...]
    condition: str
    blocks: int

    @property
    def label(self) -> str:
        """The table's name as messages and manifests write it."""
        return label(self.schema, self.name)

    @property
    def relation(self) -> str:
        """The table's name in a statement."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


@dataclass(frozen=True)
class Content:
    """What a table holds."""

    rows: int
    digest: str


_TABLES = """
SELECT n.nspname, c.relname,
  ARRAY(
    SELECT CASE
        WHEN t.oid < 16384 AND t.typtype IN ('b', 'r', 'm') AND t.typsend <> 0
          AND t.typname NOT LIKE 'reg%%' AND t.typname NOT LIKE '\\_reg%%'
          AND (t.typelem = 0 OR EXISTS (
            SELECT FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typsend <> 0))
        THEN pg_catalog.quote_ident(a.attname)
        ELSE pg_catalog.quote_ident(a.attname) || '::text' END
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
    ORDER BY a.attnum),
  coalesce(x.condition, ''),
  pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN (
  SELECT u.relation, u.condition
  FROM pg_catalog.pg_extension e, unnest(e.extconfig, e.extcondition) u(relation, condition)
) x ON x.relation = c.oid
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%%'
  AND (x.relation IS NOT NULL OR NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
      AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e'))
ORDER BY pg_catalog.pg_relation_size(c.oid) DESC, 1, 2
"""


def algorithm_of(server_version: int) -> str:
    """How a server hashes best. Later ones can do what earlier ones did."""
    return "record-send-bytes-2x64" if server_version >= 180000 else "record-send-hex-2x64"


def is_known(algorithm: str) -> bool:
    return algorithm in _HASHES


def label(schema: str, name: str) -> str:
    """A name for people and manifests; the server would quote by the keywords of its version."""
    return ".".join(part if _PLAIN.match(part) else quoted(part) for part in (schema, name))


def read_tables(connection: psycopg.Connection) -> list[Table]:
    """The tables whose rows pg_dump writes, the largest first: partitions, not their parents."""
    return [
        Table(schema, name, tuple(fields), condition, int(blocks))
        for schema, name, fields, condition, blocks in connection.execute(
            _TABLES.replace("%%", "%")
        )
    ]


def content_query(table: Table, algorithm: str, low: int = 0, high: int | None = None) -> str:
    """Count and sums of the rows of ``table`` in the blocks from ``low`` to before ``high``."""
    conditions = [table.condition.strip()[len("WHERE ") :]] if table.condition.strip() else []
    if low:
        conditions.append(f"ctid >= '({low},0)'::tid")
    if high is not None:
        conditions.append(f"ctid < '({high},0)'::tid")
    where = " WHERE " + " AND ".join(f"({one})" for one in conditions) if conditions else ""
    return sums_query(f"ONLY {table.relation}{where}", table.fields, algorithm)


def sums_query(source: str, fields: t.Sequence[str], algorithm: str) -> str:
    """Count and sums over the rows of ``source``, which is all from FROM on."""
    row, sums = _HASHES[algorithm]
    row = row.replace("{fields}", ", ".join(fields))
    # OFFSET 0 keeps the planner from making the row's bytes twice.
    return f"SELECT count(*), {sums} FROM (SELECT {row} AS r FROM {source} OFFSET 0) s"


def parts(table: Table) -> list[tuple[int, int | None]]:
    """``table`` in ranges of blocks that connections can share out."""
    edges: list[int | None] = [*range(0, max(table.blocks, 1), _BLOCKS_PER_PART), None]
    return [(t.cast(int, low), high) for low, high in zip(edges, edges[1:])]


def large_objects(connection: psycopg.Connection, algorithm: str) -> Content:
    """Number and hash of the large objects, each below 1 GiB."""
    query = sums_query(
        "pg_catalog.pg_largeobject_metadata m", ["m.oid", "sha256(lo_get(m.oid))"], algorithm
    )
    return content(connection.execute(query).fetchone())


def content(row: t.Any) -> Content:
    """What a query of sums answered."""
    return _Sum().plus(row).content()


def read_contents(
    connections: t.Sequence[psycopg.Connection],
    tables: t.Sequence[Table],
    algorithm: str,
    *,
    progress: t.Callable[[int], None] = lambda _bytes: None,
) -> dict[str, Content]:
    """The content of each of ``tables`` by label; one thread for each of ``connections``.

    ``progress`` is told the bytes of every part that was read.
    """
    work: queue.SimpleQueue[tuple[Table, int, int | None]] = queue.SimpleQueue()
    for table in tables:
        for low, high in parts(table):
            work.put((table, low, high))

    def read(connection: psycopg.Connection) -> dict[str, _Sum]:
        found: dict[str, _Sum] = {}
        while True:
            try:
                table, low, high = work.get_nowait()
            except queue.Empty:
                return found
            row = connection.execute(content_query(table, algorithm, low, high)).fetchone()
            found[table.label] = found.get(table.label, _Sum()).plus(row)
            progress(((high or max(table.blocks, low)) - low) * _BLOCK)

    with concurrent.futures.ThreadPoolExecutor(len(connections)) as pool:
        shares = [pool.submit(read, connection) for connection in connections]
    sums: dict[str, _Sum] = {}
    for share in shares:
        for label, part in share.result().items():
            sums[label] = sums.get(label, _Sum()).plus(part.row())
    return {label: total.content() for label, total in sorted(sums.items())}


@dataclass(frozen=True)
class _Sum:
    rows: int = 0
    first: int = 0
    second: int = 0

    def plus(self, row: t.Any) -> _Sum:
        return _Sum(
            self.rows + row[0], self.first + int(row[1] or 0), self.second + int(row[2] or 0)
        )

    def row(self) -> tuple[int, int, int]:
        return (self.rows, self.first, self.second)

    def content(self) -> Content:
        return Content(self.rows, f"{self.first & _MASK:032x}{self.second & _MASK:032x}")
