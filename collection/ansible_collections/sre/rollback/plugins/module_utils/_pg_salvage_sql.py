# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The SQL that fingerprints a table and streams its rows in an order both databases share.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

# ruff: noqa: S608 - every name in a statement went through quoted()

from __future__ import annotations

import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._postgres import quoted

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import Table

# Both sessions must write a value in the same way, whatever the roles and databases are set to,
# and must not be ended by a timeout that was meant for the application.
SESSION = {
    "search_path": "",
    "client_encoding": "UTF8",
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
    "default_transaction_read_only": "off",
    "work_mem": "64MB",
    "jit": "off",
    # A few buckets against all rows: hashing the few is right, sorting the many is not, and the
    # planner cannot know.
    "enable_mergejoin": "off",
}

# At most this many sums are kept of a table: 2 MiB for each database.
_MOST_BUCKETS = 1 << 18
_BYTES_PER_BUCKET = 8192


def buckets_for(size: int) -> int:
    """Into how many buckets a table of ``size`` bytes is divided: a power of two."""
    wanted = max(1, size // _BYTES_PER_BUCKET)
    return min(_MOST_BUCKETS, 1 << (wanted - 1).bit_length())


def record(columns: t.Iterable[str], alias: str = "t") -> str:
    """The text of a row of ``columns``: PostgreSQL's own, where NULL and '' differ."""
    return f"ROW({listed(columns, alias)})::text"


def listed(columns: t.Iterable[str], alias: str = "t") -> str:
    """``columns`` of the table ``alias``, separated by commas."""
    return ", ".join(f"{alias}.{quoted(column)}" for column in columns)


def row_hash(columns: t.Iterable[str], alias: str = "t") -> str:
    """32 bytes that only an equal row has."""
    return f"sha256(textsend({record(columns, alias)}))"


def relation(table: Table, alias: str = "t") -> str:
    """The table in a FROM clause: its own rows and its partitions', no inheriting table's."""
    only = "" if table.partitioned else "ONLY "
    return f"{only}{quoted(table.name[0])}.{quoted(table.name[1])} AS {alias}"


def fingerprint_query(
    table: Table, columns: t.Sequence[str], key: t.Sequence[str], buckets: int
) -> str:
    """One row a bucket: its number, and the sum of the hashes of its rows.

    A row is in the bucket of its key, so that a changed row stays where it was.
    """
    total = f'sum(hashtextextended({record(columns)} COLLATE "C", 0))::text'
    return (
        f"SELECT {_bucket(key, buckets)} AS bucket, {total} FROM {relation(table)} GROUP BY bucket"
    )


def stream_query(
    table: Table,
    columns: t.Sequence[str],
    key: t.Sequence[str],
    *,
    payload: t.Sequence[str],
    buckets: int,
    within: t.Sequence[int] | None,
) -> str:
    """COPY of every row as CSV: hash of its key, hash of ``columns``, then ``payload``.

    Ordered by the hashes, because bytes have one order everywhere and keys have not (collations).
    ``within`` restricts it to these buckets.
    """
    fields = [row_hash(key), row_hash(columns)]
    if payload:
        fields.append(listed(payload))
    source = relation(table)
    if within is not None:
        numbers = "{" + ",".join(map(str, within)) + "}"
        source += f" JOIN unnest('{numbers}'::int8[]) AS b(n) ON b.n = {_bucket(key, buckets)}"
    return f"COPY (SELECT {', '.join(fields)} FROM {source} ORDER BY 1, 2) TO STDOUT (FORMAT csv)"


def _bucket(key: t.Sequence[str], buckets: int) -> str:
    return f'(hashtextextended({record(key)} COLLATE "C", 0) & {buckets - 1})'
