# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tables of a database hold: a row count and a hash of each, whatever the rows' order.

A row's hash is taken of its binary form (``record_send``), which no setting changes; types whose
binary form holds numbers of this database alone (OIDs of enums, domains, reg* …) go in as text.
Values that may be long go in as hashes of their own, so that neither a value of 600 MB nor a row of
several meets the server's limit of 1 GB for anything that is put together from them.
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
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._pg_tables import (
    AS_TEXT,
    BYTES,
    PLAIN,
    TEXT,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import quoted

if t.TYPE_CHECKING:
    import psycopg

    from ansible_collections.sre.rollback.plugins.module_utils._pg_tables import Field, Table

# PostgreSQL 18 hashes bytes as they are; before, only text can be hashed to a number from SQL.
_HASHES = {
    "values-bytes-2x64": (
        "hashbyteaextended({}, 0)",
        "record_send(ROW({fields}))",
        "sum(hashbyteaextended(r, 0)), sum(hashbyteaextended(r, 1))",
    ),
    "values-hex-2x64": (
        "sha256({})",
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

_BLOCK = 8192
_BLOCKS_PER_PART = 4096
_MASK = (1 << 128) - 1
_PIECE = 1 << 24


@dataclass(frozen=True)
class Content:
    """What a table holds."""

    rows: int
    digest: str


# The size is found by seeking. OFFSET 0 keeps the steps apart, each takes what the one below found.
_LARGE_OBJECTS = """
SELECT count(*) FILTER (WHERE piece = 0), {sums} FROM (
  SELECT p.piece, {row} AS r FROM (
    SELECT oid, bytes, lo_close(fd + (bytes * 0)::int) AS closed FROM (
      SELECT oid, fd, lo_lseek64(fd, 0, 2) AS bytes FROM (
        SELECT oid, lo_open(oid, 262144) AS fd FROM pg_catalog.pg_largeobject_metadata OFFSET 0
      ) opened OFFSET 0
    ) sized OFFSET 0
  ) m, LATERAL generate_series(m.closed::bigint, greatest(m.bytes - 1, 0) / {piece}) p(piece)
  OFFSET 0) x
"""


def algorithm_of(server_version: int) -> str:
    """How a server hashes best. Later ones can do what earlier ones did."""
    return "values-bytes-2x64" if server_version >= 180000 else "values-hex-2x64"


def is_known(algorithm: str) -> bool:
    return algorithm in _HASHES


def content_query(table: Table, algorithm: str, low: int = 0, high: int | None = None) -> str:
    """Count and sums of the rows of ``table`` in the blocks from ``low`` to before ``high``."""
    conditions = [table.condition.strip()[len("WHERE ") :]] if table.condition.strip() else []
    if low:
        conditions.append(f"ctid >= '({low},0)'::tid")
    if high is not None:
        conditions.append(f"ctid < '({high},0)'::tid")
    where = " WHERE " + " AND ".join(f"({one})" for one in conditions) if conditions else ""
    fields = [_expression(field, algorithm) for field in table.fields]
    return sums_query(f"ONLY {table.relation}{where}", fields, algorithm)


def _expression(field: Field, algorithm: str) -> str:
    """What stands for the column's value in a row that is hashed."""
    name = quoted(field.column)
    if field.kind == PLAIN:
        return name
    if field.kind in (TEXT, AS_TEXT):
        cast = "" if field.kind == TEXT else "::text"
        return f'hashtextextended({name}{cast} COLLATE "C", 0)'
    value = name if field.kind == BYTES else f"{field.kind}({name})"
    return _HASHES[algorithm][0].format(value)


def sums_query(source: str, fields: t.Sequence[str], algorithm: str) -> str:
    """Count and sums over the rows of ``source``, which is all from FROM on."""
    _value, row, sums = _HASHES[algorithm]
    row = row.replace("{fields}", ", ".join(fields))
    # OFFSET 0 keeps the planner from making the row's bytes twice.
    return f"SELECT count(*), {sums} FROM (SELECT {row} AS r FROM {source} OFFSET 0) s"


def parts(table: Table) -> list[tuple[int, int | None]]:
    """``table`` in ranges of blocks that connections can share out."""
    edges: list[int | None] = [*range(0, max(table.blocks, 1), _BLOCKS_PER_PART), None]
    return [(t.cast(int, low), high) for low, high in zip(edges, edges[1:])]


def large_objects(connection: psycopg.Connection, algorithm: str) -> Content:
    """Number and hash of the large objects, each read in pieces, however large it is."""
    value, row, sums = _HASHES[algorithm]
    piece = value.format(f"lo_get(m.oid, p.piece * {_PIECE}, {_PIECE})")
    query = _LARGE_OBJECTS.format(
        sums=sums, piece=_PIECE, row=row.replace("{fields}", f"m.oid, m.bytes, p.piece, {piece}")
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
    """The content of each of ``tables`` by ``total``; one thread for each of ``connections``.

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
            found[table.total] = found.get(table.total, _Sum()).plus(row)
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
