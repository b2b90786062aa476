# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two databases that are compared, and which of their tables.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import (
    comment_statement,
    read_databases,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_lock import acquire
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import (
    Catalog,
    read_catalog,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_compare import Sides
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_pairs import (
    Pair,
    matches,
    pair_tables,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_sequences import (
    Sequence,
    read_sequences,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_sql import SESSION
from ansible_collections.sre.rollback.plugins.module_utils._pg_seal import visiting
from ansible_collections.sre.rollback.plugins.module_utils._postgres import connect

if t.TYPE_CHECKING:
    import psycopg

    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import (
        TableName,
    )

_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class SameDatabaseError(RollbackError):
    """A database was to be compared with itself."""


class PolicyError(RollbackError):
    """The policy of a merge does not fit the tables."""


@dataclass(frozen=True)
class Session:
    """Both databases, each read in one snapshot, and the pairs of tables that were asked for.

    ``catalog`` is the reference's, ``sequences`` are the database's.
    """

    database: str
    reference: str
    sides: Sides
    pairs: tuple[Pair, ...]
    catalog: Catalog
    sequences: dict[TableName, Sequence]


@contextlib.contextmanager
def open_session(params: t.Mapping[str, t.Any]) -> t.Iterator[Session]:
    """Connect to ``database`` and ``reference`` of the module's options and read their catalogs."""
    database, reference = params["database"], params["reference"]
    if database == reference:
        raise SameDatabaseError(
            f"database and reference are both {database!r}; there is nothing to compare. "
            "Nothing was changed."
        )
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(contextlib.closing(_reader(params, database)))
        theirs = stack.enter_context(_reference(params))
        # Sequences stand outside of snapshots: read before the rows, they would be behind them.
        catalogs = read_catalog(ours), read_catalog(theirs)
        pairs = pair_tables(*catalogs, tables=params["tables"], exclude=params["exclude"])
        yield Session(
            database=database,
            reference=reference,
            sides=Sides(ours, theirs),
            pairs=tuple(pairs),
            catalog=catalogs[1],
            sequences=read_sequences(ours),
        )


@contextlib.contextmanager
def _reference(params: t.Mapping[str, t.Any]) -> t.Iterator[psycopg.Connection]:
    """A reader of the reference, also of a staged one that is closed to everybody."""
    with connect(params, params["database"], settings=_settings(params)) as outside:
        there = read_databases(outside).get(params["reference"])
        if there is None or there.allows_connections:
            with contextlib.closing(_reader(params, params["reference"])) as reader:
                yield reader
            return
        acquire(outside, there.name, wait=params["lock_timeout"])
        with visiting(params, outside, there, 1, _settings(params)) as visit:
            reader = visit.sessions[0]
            reader.execute(_SNAPSHOT)  # it only reads
            try:
                yield reader
            finally:
                if visit.alone and there.entry is not None:
                    sealed = visit.sealed(there.entry)
                    outside.execute(comment_statement(there.name, there.comment, sealed))


def _reader(params: t.Mapping[str, t.Any], database: str) -> psycopg.Connection:
    connection = connect(params, database, settings=_settings(params))
    connection.execute(_SNAPSHOT)
    return connection


def _settings(params: t.Mapping[str, t.Any]) -> dict[str, str]:
    milliseconds = max(1, round(params["lock_timeout"] * 1000))
    return {**SESSION, "lock_timeout": f"{milliseconds}ms"}


@contextlib.contextmanager
def open_writer(params: t.Mapping[str, t.Any]) -> t.Iterator[psycopg.Connection]:
    """A connection to ``reference`` that may write."""
    with contextlib.closing(
        connect(params, params["reference"], settings=_settings(params))
    ) as writer:
        yield writer


def newer_columns(pairs: t.Iterable[Pair], newer_by: t.Mapping[str, str]) -> dict[TableName, str]:
    """The column that decides about the changed rows of each table.

    The first pattern that matches a table counts. A pattern with a wildcard passes by tables
    without its column; a name without one must have it. Raises PolicyError.
    """
    pairs = list(pairs)
    for pattern in newer_by:
        if not any(matches(pair.name, pattern) for pair in pairs):
            raise PolicyError(
                f"newer_by names {pattern!r}, which is none of the compared tables. "
                "Nothing was changed."
            )
    found = {}
    for pair in pairs:
        for pattern, column in newer_by.items():
            if not matches(pair.name, pattern):
                continue
            if column in pair.columns:
                found[pair.name] = column
            elif not set(pattern) & set("*?["):
                raise PolicyError(
                    f"newer_by names column {column!r} of {pair.label}, which is not in both "
                    "databases. Nothing was changed."
                )
            break
    return found


@dataclass(frozen=True)
class Identity:
    """Which database this is, whatever it is called now."""

    system_identifier: str
    oid: int

    def as_dict(self) -> dict[str, t.Any]:
        """For the index of a folder."""
        return {"system_identifier": self.system_identifier, "oid": self.oid}


def identify(connection: psycopg.Connection) -> Identity:
    """The database of ``connection``; a rename does not change what identifies it."""
    row = connection.execute(
        "SELECT (SELECT system_identifier::text FROM pg_control_system()), "
        "(SELECT oid::int8 FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    return Identity(*(row or ("", 0)))
