# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare a table with its namesake in another database of the server, in bounded memory.

First the sums of the hashes of the rows, bucket by bucket: equal tables are done with that. Then
the rows of the buckets that differ are streamed from both, ordered by the hash of their key, and
joined here.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

# ruff: noqa: S608 - every name in a statement went through quoted()

from __future__ import annotations

import contextlib
import typing as t
from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_sql import (
    buckets_for,
    fingerprint_query,
    relation,
    stream_query,
)

if t.TYPE_CHECKING:
    import psycopg

    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import (
        Names,
        Table,
    )
    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_pairs import Pair

ADDED = "added"
CHANGED = "changed"
REMOVED = "removed"

_SUM_MASK = (1 << 64) - 1

# A row of a stream: hash of its key, hash of its content, its payload as a line of CSV.
Row = t.Tuple[bytes, bytes, bytes]
# What a difference is, and the payload of the row in the database and in the reference.
Difference = t.Tuple[str, bytes, bytes]


@dataclass(frozen=True)
class Sides:
    """A connection to each database, each within one read-only snapshot."""

    database: psycopg.Connection
    reference: psycopg.Connection

    def both(self, act: t.Callable[[psycopg.Connection, int], t.Any]) -> tuple[t.Any, t.Any]:
        """``act(connection, 0)`` and ``act(connection, 1)`` at the same time: two cores work."""
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(act, self.database, 0)
            second = pool.submit(act, self.reference, 1)
            return first.result(), second.result()


@dataclass(frozen=True)
class Payload:
    """The columns whose values a difference carries, for each of the two databases."""

    database: Names = ()
    reference: Names = ()


@dataclass
class Counts:
    """Rows of one table that only the database has, that differ, that only the reference has."""

    added: int = 0
    changed: int = 0
    removed: int = 0

    def count(self, change: str) -> None:
        """One more row of that kind."""
        setattr(self, change, getattr(self, change) + 1)

    @property
    def total(self) -> int:
        """All that differs."""
        return self.added + self.changed + self.removed


@dataclass(frozen=True)
class _Scope:
    """The rows to look at: of these buckets, or all of them."""

    buckets: int
    within: t.Sequence[int] | None = None


def compare(
    pair: Pair,
    sides: Sides,
    *,
    payload: Payload = Payload(),
    receive: t.Callable[[Difference], None] | None = None,
) -> Counts:
    """Count the differences of ``pair``, handing each to ``receive``.

    A table that only one database has is counted as a whole and hands over nothing unless it is
    the database's, whose rows are handed over as added. Without a key a row that changed is one
    added and one removed, because nothing says that the two belong together.
    """
    counts = Counts()
    if pair.database is None and pair.reference is not None:
        counts.removed = _rows(sides.reference, pair.reference)
        return counts
    for difference in _differences(pair, sides, payload):
        counts.count(difference[0])
        if receive is not None:
            receive(difference)
    return counts


def _rows(connection: psycopg.Connection, table: Table) -> int:
    row = connection.execute(f"SELECT count(*) FROM {relation(table)}").fetchone()
    return int(row[0]) if row else 0


def _differences(pair: Pair, sides: Sides, payload: Payload) -> t.Iterator[Difference]:
    if pair.database is not None and pair.reference is None:
        yield from _whole(pair.database, sides.database, payload.database)
        return
    scope = _differing(pair, sides)
    if scope is None:
        return
    with contextlib.ExitStack() as stack:
        left, right = _open_streams(pair, sides, payload, scope, stack)
        yield from join_rows(left, right)


def _whole(table: Table, connection: psycopg.Connection, payload: Names) -> t.Iterator[Difference]:
    key = table.keys[0].columns if table.keys else table.stored
    query = stream_query(table, (), key, payload=payload, buckets=1, within=None)
    with connection.cursor().copy(query) as stream:
        for _key, _content, line in _parsed(stream):
            yield ADDED, line, b""


def _differing(pair: Pair, sides: Sides) -> _Scope | None:
    """Where the two tables differ, or None when they are equal."""
    tables = pair.both()
    buckets = buckets_for(max(table.size for table in tables))
    key = _key(pair)

    def sums(connection: psycopg.Connection, side: int) -> array[int]:
        return _sums(
            connection, fingerprint_query(tables[side], pair.columns, key, buckets), buckets
        )

    left, right = sides.both(sums)
    differing = [number for number in range(buckets) if left[number] != right[number]]
    if not differing:
        return None
    return _Scope(buckets, differing if len(differing) * 2 < buckets else None)


def _sums(connection: psycopg.Connection, query: str, buckets: int) -> array[int]:
    sums = array("Q", bytes(8 * buckets))
    for bucket, total in connection.execute(query):
        sums[bucket] = int(total) & _SUM_MASK
    return sums


def _open_streams(
    pair: Pair, sides: Sides, payload: Payload, scope: _Scope, stack: contextlib.ExitStack
) -> tuple[t.Iterator[Row], t.Iterator[Row]]:
    tables = pair.both()
    payloads = (payload.database, payload.reference)

    def opened(connection: psycopg.Connection, side: int) -> psycopg.Copy:
        query = stream_query(
            tables[side],
            pair.columns,
            _key(pair),
            payload=payloads[side],
            buckets=scope.buckets,
            within=scope.within,
        )
        # The server answers only when it has sorted, so both are asked at the same time.
        return stack.enter_context(connection.cursor().copy(query))

    left, right = sides.both(opened)
    return _parsed(left), _parsed(right)


def _key(pair: Pair) -> Names:
    return pair.columns if pair.key is None else pair.key.columns


def _parsed(stream: t.Iterable[bytes | memoryview]) -> t.Iterator[Row]:
    """Each message of the stream is one row."""
    for data in stream:
        key, content, *rest = bytes(data).split(b",", 2)
        yield (key, content, rest[0]) if rest else (key, content[:-1], b"\n")


def join_rows(left: t.Iterator[Row], right: t.Iterator[Row]) -> t.Iterator[Difference]:
    """The differences of two streams, each ordered by the hash of the key.

    A key that comes several times in one stream (a table without a key has the whole row for one)
    is paired off as often as it comes in both.
    """
    ours, theirs = next(left, None), next(right, None)
    while ours is not None or theirs is not None:
        if theirs is None or (ours is not None and ours[0] < theirs[0]):
            yield ADDED, ours[2], b""  # type: ignore[index]
            ours = next(left, None)
        elif ours is None or theirs[0] < ours[0]:
            yield REMOVED, b"", theirs[2]
            theirs = next(right, None)
        else:
            if ours[1] != theirs[1]:
                yield CHANGED, ours[2], theirs[2]
            ours, theirs = next(left, None), next(right, None)
