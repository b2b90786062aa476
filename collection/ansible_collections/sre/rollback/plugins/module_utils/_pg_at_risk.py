# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What restoring a backup would lose, counted within seconds and before anything is restored.

A row is counted as written since the backup when its number lies beyond where the sequence of its
key stood then; rows that are gone show by the number of rows. Neither reads what a row says, so
changed rows are not counted, and where a table has no such key only the numbers of rows are
compared.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

# ruff: noqa: S608 - every name in a statement went through quoted()

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.sre.rollback.plugins.module_utils._pg_kept import NOT_KEPT
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_pairs import matches
from ansible_collections.sre.rollback.plugins.module_utils._pg_tables import label
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    apply_settings,
    one_line,
    quoted,
)

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import Manifest
    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import TableName

#: By the numbers of new rows; by how many rows there are; not at all.
BY_KEY, BY_ROWS, UNKNOWN = "by_key", "by_rows", "unknown"

_LOCK_TIMEOUT_MS = 1000
_CATALOG_TIMEOUT_MS = 5000

# Nothing that opens a table, such as asking for its size: a migration that hangs holds locks.
_TABLES = f"""
SELECT n.nspname, c.relname, coalesce(k.columns, '{{}}'), greatest(c.reltuples, 0)::int8
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN LATERAL (
    SELECT array_agg(a.attname::text ORDER BY s.position) AS columns
      FROM pg_index i
      CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY s (attnum, position)
      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = s.attnum
     WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND s.position <= i.indnkeyatts
       AND i.indpred IS NULL AND i.indexprs IS NULL
     GROUP BY i.indexrelid, i.indisprimary
    HAVING bool_and(a.attnotnull)
     ORDER BY NOT i.indisprimary
     LIMIT 1) k ON true
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
   AND {NOT_KEPT}
   AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
   AND NOT EXISTS (
     SELECT FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""

# The leaves of every table, since a backup counts partitions one by one.
_LEAVES = """
SELECT n.nspname, c.relname, rn.nspname, root.relname
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class root ON root.oid = coalesce(pg_partition_root(c.oid), c.oid)
  JOIN pg_namespace rn ON rn.oid = root.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence <> 't'
"""

# Keys of one column that draws its values from a sequence of its own.
_NUMBERED = """
SELECT n.nspname, c.relname, a.attname, sn.nspname, s.relname
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] AND a.attnotnull
  JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid
       AND d.refobjsubid = a.attnum AND d.classid = 'pg_class'::regclass
       AND d.deptype IN ('a', 'i')
  JOIN pg_sequence q ON q.seqrelid = d.objid AND q.seqincrement > 0 AND NOT q.seqcycle
  JOIN pg_class s ON s.oid = d.objid
  JOIN pg_namespace sn ON sn.oid = s.relnamespace
 WHERE i.indnkeyatts = 1 AND i.indisunique AND i.indisvalid
   AND i.indpred IS NULL AND i.indexprs IS NULL
"""


@dataclass(frozen=True)
class Risk:
    """What one table would lose; None is a figure that is not known.

    ``known`` says how it was counted, ``problem`` why something of it was not. Without a ``key``
    rows cannot be told apart.
    """

    name: TableName
    key: tuple[str, ...]
    known: str
    added: int | None = None
    changed: int | None = None
    removed: int | None = None
    problem: str = ""

    @property
    def label(self) -> str:
        return label(*self.name)

    @property
    def differs(self) -> bool:
        """Whether there is something to tell about it."""
        known = self.known != UNKNOWN and not self.problem
        return not known or bool(self.added or self.changed or self.removed)


@dataclass(frozen=True)
class _Target:
    """A table, live or in the backup alone, and what the backup knows of it."""

    name: TableName
    key: tuple[str, ...]
    rows: int
    in_backup: bool
    live: bool = True
    size: int = 0
    column: str = ""
    boundary: int | None = None


@dataclass
class Deadline:
    """The moment by which everything has to be counted."""

    seconds: float
    started: float = field(default_factory=time.monotonic)

    def left_ms(self) -> int:
        """Milliseconds that are left; never less than 1, since 0 would mean for ever."""
        return max(1, round((self.started + self.seconds - time.monotonic()) * 1000))

    @property
    def over(self) -> bool:
        return self.left_ms() == 1


def count_at_risk(
    connection: psycopg.Connection,
    manifest: Manifest,
    *,
    exclude: t.Sequence[str],
    deadline: Deadline,
) -> list[Risk]:
    """Every table of the live database or of the backup, in the order of their names.

    New rows of all tables are counted first, which costs as much as there are new rows; the
    numbers of rows after that, small tables first, as long as there is time.
    """
    connection.read_only = True
    settings = {
        # Whoever may not see every row must not count those that may be seen.
        "row_security": "off",
        "statement_timeout": f"{_CATALOG_TIMEOUT_MS}ms",
        "lock_timeout": f"{_LOCK_TIMEOUT_MS}ms",
    }
    apply_settings(connection, settings)
    targets = [
        each
        for each in _targets(connection, manifest)
        if not any(matches(each.name, pattern) for pattern in exclude)
    ]
    risks = {each.name: _new_rows(connection, each, deadline) for each in targets}
    for each in sorted(targets, key=lambda one: one.size):
        risks[each.name] = _with_rows(connection, each, risks[each.name], deadline)
    return [risks[each.name] for each in targets]


def _targets(connection: psycopg.Connection, manifest: Manifest) -> list[_Target]:
    leaves: dict[TableName, list[str]] = {}
    for schema, name, root_schema, root in connection.execute(_LEAVES):
        leaves.setdefault((root_schema, root), []).append(label(schema, name))
    numbered = {
        (schema, name): (column, _boundary(manifest, label(sequence_schema, sequence)))
        for schema, name, column, sequence_schema, sequence in connection.execute(_NUMBERED)
    }
    found = []
    for schema, name, key, size in connection.execute(_TABLES):
        parts = leaves.get((schema, name), [])
        there = [manifest.tables[leaf] for leaf in parts if leaf in manifest.tables]
        column, boundary = numbered.get((schema, name), ("", None))
        rows = sum(one["rows"] for one in there)
        found.append(
            _Target(
                (schema, name),
                tuple(key),
                rows,
                bool(there),
                size=size,
                column=column,
                boundary=boundary,
            )
        )
    known = {each for names in leaves.values() for each in names}
    gone = [
        _Target(("", name), (), one["rows"], in_backup=True, live=False)
        for name, one in manifest.tables.items()
        if name not in known
    ]
    return [*found, *gone]


def _boundary(manifest: Manifest, sequence: str) -> int | None:
    """The greatest number that had been given when the backup was made."""
    noted = manifest.sequences.get(sequence)
    if noted is None:
        return None
    last, called = noted["before"]
    return int(last) if called else int(last) - 1


def _new_rows(connection: psycopg.Connection, target: _Target, deadline: Deadline) -> Risk:
    """Rows whose number lies beyond the backup's."""
    risk = Risk(target.name, target.key, UNKNOWN)
    if not target.live or not target.in_backup or target.boundary is None:
        return risk
    where = f" WHERE {quoted(target.column)} > {target.boundary}"
    found, problem = _count(connection, target.name, where, deadline)
    if found is None:
        return replace(risk, problem=problem)
    return replace(risk, known=BY_KEY, added=found)


def _with_rows(
    connection: psycopg.Connection, target: _Target, risk: Risk, deadline: Deadline
) -> Risk:
    """Add what the number of rows tells: how many are gone, or how many there are too many."""
    if not target.live:
        return replace(risk, known=BY_ROWS, added=0, changed=0, removed=target.rows)
    found, problem = _count(connection, target.name, "", deadline)
    if found is None:
        return replace(risk, problem=problem)
    if not target.in_backup:
        return replace(risk, known=BY_ROWS, added=found, changed=0, removed=0)
    # What is left when the new rows are taken away has to be what the backup holds.
    more = found - (risk.added or 0) - target.rows
    known = risk.known if risk.known == BY_KEY else BY_ROWS
    return replace(
        risk, known=known, added=(risk.added or 0) + max(more, 0), removed=max(-more, 0), problem=""
    )


def _count(
    connection: psycopg.Connection, name: TableName, where: str, deadline: Deadline
) -> tuple[int | None, str]:
    """How many rows, or why that is not known."""
    if deadline.over:
        return None, f"not counted within {deadline.seconds:g} s"
    relation = f"{quoted(name[0])}.{quoted(name[1])}"
    try:
        with connection.transaction():
            connection.execute(f"SET LOCAL statement_timeout = {deadline.left_ms()}")
            connection.execute(
                f"SET LOCAL lock_timeout = {min(_LOCK_TIMEOUT_MS, deadline.left_ms())}"
            )
            row = connection.execute(f"SELECT count(*) FROM {relation}{where}").fetchone()
    except psycopg.errors.QueryCanceled:
        return None, f"not counted within {deadline.seconds:g} s"
    except psycopg.errors.LockNotAvailable:
        return None, "somebody holds it locked"
    except psycopg.Error as exc:
        return None, one_line(exc)
    return (int(row[0]) if row else None), ""
