# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy and prove SQLite databases.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import typing as t
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_integrity import Check

# What SQLite keeps beside a database (https://sqlite.org/tempfiles.html).
WAL = "-wal"
SIDECARS = (WAL, "-shm", "-journal")

_COPIED_AT_ONCE = 1024
_PROBLEMS_SHOWN = 10


class BackupUnusableError(RollbackError):
    """The backup is not whole, or its content is not what it has to be."""


@dataclass(frozen=True)
class Proof:
    """What was looked at in a database, and what was wrong with it."""

    tables: dict[str, int]
    problems: tuple[str, ...]
    checks: tuple[dict[str, t.Any], ...]

    def as_dict(self) -> dict[str, t.Any]:
        """The proof in a module's result."""
        return {
            "tables": self.tables,
            "problems": list(self.problems),
            "checks": list(self.checks),
        }


def sidecar(path: Path, suffix: str) -> Path:
    """The file SQLite keeps beside ``path`` under that suffix."""
    return path.with_name(path.name + suffix)


@contextlib.contextmanager
def reading(path: Path, *, shared: bool = False) -> t.Iterator[sqlite3.Connection]:
    """A read-only connection that leaves no file beside the database.

    Unless it is ``shared`` with writers, a file without a write-ahead log is taken as immutable:
    SQLite would otherwise make a shared-memory file for a database in WAL mode, even to read it.
    """
    log = sidecar(path, WAL).exists()
    mode = "mode=ro" if shared or log else "mode=ro&immutable=1"
    uri = f"file:{urllib.parse.quote(str(path))}?{mode}"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        connection.execute("PRAGMA query_only = on")
        yield connection


def copy_database(source: Path, target: Path) -> None:
    """Copy ``source`` into the new file ``target`` with the online backup API, down to the disk.

    What is in the write-ahead log of ``source`` comes along. Raises BackupUnusableError.
    """
    try:
        with reading(source) as origin, contextlib.closing(sqlite3.connect(str(target))) as copy:
            origin.backup(copy, pages=_COPIED_AT_ONCE)
    except sqlite3.Error as exc:
        raise BackupUnusableError(
            f"{source} cannot be copied: {exc}. The database was not touched. Take another backup."
        ) from exc
    with target.open("rb") as handle:
        os.fsync(handle.fileno())


def prove(
    path: Path, checks: t.Sequence[Check], *, foreign_keys: bool, shared: bool = False
) -> Proof:
    """Read the database through: ``PRAGMA integrity_check``, foreign keys, ``checks``.

    The file must not change meanwhile, unless it is read as ``shared``. What is wrong is in the
    proof, nothing is raised.
    """
    try:
        with reading(path, shared=shared) as connection:
            problems = _integrity(connection)
            if foreign_keys and not problems:
                problems += _orphans(connection)
            tables = {} if problems else _row_counts(connection)
            if not tables and not problems:
                problems.append("it holds no table")
            results = [_checked(connection, check) for check in checks]
    except sqlite3.Error as exc:
        return Proof({}, (str(exc),), ())
    problems += [f"check {each['name']!r}: {each['problem']}" for each in results if not each["ok"]]
    return Proof(tables, tuple(problems), tuple(results))


def require_proof(proof: Proof, path: Path) -> None:
    """Raise BackupUnusableError when something was wrong with ``path``."""
    if proof.problems:
        raise BackupUnusableError(
            f"{path} is not good: {'; '.join(proof.problems)}. The database was not touched. "
            "Take another backup.",
            verification=proof.as_dict(),
        )


def same_content(path: Path, other: Path, *, shared: bool) -> bool:
    """Whether both hold the same definitions and rows; ``shared`` says whether ``path`` is in use.

    A file that cannot be read holds nothing that is the same.
    """
    try:
        with reading(path, shared=shared) as one, reading(other) as two:
            return _fingerprint(one) == _fingerprint(two)
    except sqlite3.Error:
        return False


#: What SQLite itself keeps of statistics is no content.
_DEFINITIONS = (
    "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite^_stat%' "
    "ESCAPE '^' ORDER BY type, name"
)


def _fingerprint(connection: sqlite3.Connection) -> str:
    connection.text_factory = _Text
    digest = hashlib.sha256()
    connection.execute("BEGIN")
    for pragma in ("application_id", "user_version"):
        digest.update(repr(connection.execute(f"PRAGMA {pragma}").fetchone()).encode())
    definitions = connection.execute(_DEFINITIONS).fetchall()
    digest.update(repr(definitions).encode())
    for kind, name, _table, sql in definitions:
        if kind != b"table" or (sql or b"").upper().startswith(b"CREATE VIRTUAL"):
            continue
        quoted = '"' + name.decode().replace('"', '""') + '"'
        # In the order of the rows themselves; that of an index would be another one.
        for row in connection.execute(f"SELECT * FROM {quoted} NOT INDEXED"):  # noqa: S608
            digest.update(repr(row).encode())
    return digest.hexdigest()


class _Text(bytes):
    """A text as it is stored, whatever its encoding says; not to be taken for a blob."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "t" + super().__repr__()


def _integrity(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute(f"PRAGMA integrity_check({_PROBLEMS_SHOWN})").fetchall()
    return [] if rows == [("ok",)] else [" ".join(str(row[0]).split()) for row in rows]


def _orphans(connection: sqlite3.Connection) -> list[str]:
    counted: dict[tuple[str, str], int] = {}
    for child, _rowid, parent, _number in connection.execute("PRAGMA foreign_key_check"):
        counted[(child, parent)] = counted.get((child, parent), 0) + 1
    return [
        f"{count} rows of {child} point at rows that {parent} does not have"
        for (child, parent), count in sorted(counted.items())
    ]


def _row_counts(connection: sqlite3.Connection) -> dict[str, int]:
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite^_%' "
        "ESCAPE '^' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
    ).fetchall()
    return {name: _count(connection, name) for (name,) in names}


def _count(connection: sqlite3.Connection, table: str) -> int:
    quoted = '"' + table.replace('"', '""') + '"'
    return int(connection.execute(f"SELECT count(*) FROM {quoted}").fetchone()[0])  # noqa: S608


def _checked(connection: sqlite3.Connection, check: Check) -> dict[str, t.Any]:
    result = {"name": check.name, "expected": check.expected, "found": None, "ok": False}
    try:
        row = connection.execute(check.query).fetchone()
    except sqlite3.Error as exc:
        return {**result, "problem": str(exc)}
    if row is None or len(row) != 1 or row[0] is None:
        return {**result, "problem": "the query must answer one value"}
    found = row[0] if isinstance(row[0], (int, float, str)) else repr(row[0])
    holds = is_expected(found, check.expected)
    problem = "" if holds else f"expected {check.expected}, found {found}"
    return {**result, "found": found, "ok": holds, "problem": problem}


def is_expected(found: int | float | str, expected: t.Any) -> bool:
    """Whether a value of SQLite is the expected one, which Ansible may have made a string.

    SQLite has no booleans; true is 1 (https://sqlite.org/datatype3.html).
    """
    if isinstance(expected, bool):
        expected = int(expected)
    try:
        return float(found) == float(expected)
    except (TypeError, ValueError):
        return str(found) == str(expected)
