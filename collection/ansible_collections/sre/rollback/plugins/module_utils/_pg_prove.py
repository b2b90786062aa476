# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Is a restored database what the manifest says? Rows, sequences, objects, indexes, own checks.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import queue
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_content import (
    SESSION,
    is_known,
    large_objects,
    read_contents,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_facts import (
    between,
    read_extensions,
    read_sequences,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_integrity import (
    PASSED,
    Check,
    Finding,
    run_checks,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_objects import (
    differences,
    read_objects,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_tables import Table, read_tables
from ansible_collections.sre.rollback.plugins.module_utils._postgres import one_line, quoted

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import Manifest
    from ansible_collections.sre.rollback.plugins.module_utils._pg_progress import Progress

_PROBLEMS_SHOWN = 20
_AMCHECK_SCHEMA = "rollback-playbook amcheck"


class NotProvedError(RollbackError):
    """The restored database is not what the backup's manifest says."""


@dataclass(frozen=True)
class Proof:
    """What was compared: ``tables`` by name, the caller's ``checks``, how many indexes."""

    tables: dict[str, dict[str, t.Any]]
    indexes: int
    checks: list[dict[str, t.Any]] = field(default_factory=list)


class ChecksError(RollbackError):
    """The restored database is what the manifest says, and does not pass the caller's checks."""


def session_settings(manifest: Manifest) -> dict[str, str]:
    """Settings of sessions that read as the backup did, in its encoding."""
    return {
        **SESSION,
        "client_encoding": manifest.properties["encoding"],
        "default_transaction_read_only": "off",  # a server may have it on; amcheck writes
    }


def prove(
    readers: t.Sequence[psycopg.Connection],
    manifest: Manifest,
    *,
    amcheck: str,
    progress: Progress,
) -> Proof:
    """Compare the database of ``readers`` with the manifest.

    The readers have ``session_settings``. Raises NotProvedError with all differences.
    """
    if not is_known(manifest.algorithm):
        raise NotProvedError(
            f"the manifest's hashes are of the kind {manifest.algorithm!r}, which this release "
            "does not know. The live database was not touched; use the release that wrote it."
        )
    tables = read_tables(readers[0])
    with progress.phase("prove", sum(table.blocks for table in tables) * 8192):
        found, problems = _contents(readers, tables, manifest, progress)
        problems += _sequences(readers[0], manifest) + _extensions(readers[0], manifest)
        problems += differences(
            manifest.objects,
            read_objects(readers[0]),
            same_version=readers[0].info.server_version // 10000 == manifest.major,
        )
    indexes = 0
    if amcheck != "none":
        with progress.phase("amcheck"):
            indexes, damaged = check_indexes(
                readers, heapallindexed=amcheck == "heapallindexed", progress=progress
            )
            problems += damaged
    if problems:
        raise NotProvedError(
            f"the restored database is not what backup {manifest.id} holds: "
            f"{'; '.join(problems[:_PROBLEMS_SHOWN])}"
            f"{_more(len(problems) - _PROBLEMS_SHOWN)}. The live database was not touched.",
            problems=problems,
            tables=found,
        )
    return Proof(found, indexes)


def _more(number: int) -> str:
    return f"; and {number} more" if number > 0 else ""


def _contents(
    readers: t.Sequence[psycopg.Connection],
    tables: t.Sequence[Table],
    manifest: Manifest,
    progress: Progress,
) -> tuple[dict[str, dict[str, t.Any]], list[str]]:
    contents = {
        label: asdict(one)
        for label, one in read_contents(
            readers, tables, manifest.algorithm, progress=progress.add
        ).items()
    }
    problems = [
        problem
        for label in sorted(manifest.tables.keys() | contents.keys())
        for problem in _table(label, manifest.tables.get(label), contents.get(label))
    ]
    objects = asdict(large_objects(readers[0], manifest.algorithm))
    problems += _table("large objects", manifest.large_objects, objects)
    wrong = {
        label for label in contents if _table(label, manifest.tables.get(label), contents[label])
    }
    found = {
        label: {**one, "outcome": "failed" if label in wrong else PASSED}
        for label, one in contents.items()
    }
    return found, problems


def _table(
    label: str, wanted: t.Mapping[str, t.Any] | None, found: t.Mapping[str, t.Any] | None
) -> list[str]:
    if wanted is None:
        return [f"{label} is not in the backup's manifest"]
    if found is None:
        return [f"{label} is missing"]
    if wanted["rows"] != found["rows"]:
        return [f"{label} has {found['rows']} rows instead of {wanted['rows']}"]
    if wanted["digest"] != found["digest"]:
        return [f"{label} has as many rows as it should, but others"]
    return []


def _sequences(connection: psycopg.Connection, manifest: Manifest) -> list[str]:
    found = read_sequences(connection)
    problems = [
        f"sequence {name} is not in the backup" for name in found.keys() - manifest.sequences
    ]
    for name, wanted in manifest.sequences.items():
        if name not in found:
            problems.append(f"sequence {name} is missing")
        elif not between(found[name], wanted["before"], wanted["after"]):
            problems.append(
                f"sequence {name} is at {found[name][0]} instead of {wanted['before'][0]}"
            )
    return sorted(problems)


def _extensions(connection: psycopg.Connection, manifest: Manifest) -> list[str]:
    found = read_extensions(connection)
    return [f"extension {name} is missing" for name in manifest.extensions if name not in found]


def check_indexes(
    connections: t.Sequence[psycopg.Connection],
    *,
    heapallindexed: bool,
    progress: Progress,
) -> tuple[int, list[str]]:
    """Run amcheck on every B-tree index; their number and what is wrong with them.

    The extension is there only meanwhile, unless the database has it itself.
    """
    first = connections[0]
    installed = first.execute(
        "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
        " WHERE e.extname = 'amcheck'"
    ).fetchone()
    schema = installed[0] if installed else _AMCHECK_SCHEMA
    if not installed:
        first.execute(f"CREATE SCHEMA {quoted(schema)}")
        first.execute(f"CREATE EXTENSION amcheck SCHEMA {quoted(schema)}")
    try:
        return _run_amcheck(connections, schema, heapallindexed, progress)
    finally:
        if not installed:
            first.execute("SET client_min_messages = warning")
            first.execute(f"DROP SCHEMA {quoted(schema)} CASCADE")


def _run_amcheck(
    connections: t.Sequence[psycopg.Connection],
    schema: str,
    heapallindexed: bool,
    progress: Progress,
) -> tuple[int, list[str]]:
    rows = connections[0].execute(
        "SELECT c.oid::int8, c.oid::regclass::text, pg_relation_size(c.oid) FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam"
        " WHERE m.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence <> 't'"
        " AND i.indisvalid AND i.indisready ORDER BY 3 DESC"
    )
    work: queue.SimpleQueue[tuple[int, str, int]] = queue.SimpleQueue()
    number = 0
    for row in rows:
        work.put(row)
        number += 1
    statement = (
        f"SELECT {quoted(schema)}.bt_index_check(%s::oid::regclass, {str(heapallindexed).lower()})"
    )

    def check(connection: psycopg.Connection) -> list[str]:
        problems = []
        while True:
            try:
                oid, name, size = work.get_nowait()
            except queue.Empty:
                return problems
            try:
                connection.execute(statement, [oid])
            except psycopg.Error as exc:
                problems.append(f"index {name} is damaged: {one_line(exc)}")
            progress.add(size)

    with concurrent.futures.ThreadPoolExecutor(len(connections)) as pool:
        found = list(pool.map(check, connections))
    return number, [problem for share in found for problem in share]


def run_own_checks(
    connection: psycopg.Connection, checks: t.Sequence[Check], *, timeout: float
) -> list[dict[str, t.Any]]:
    """The caller's checks on the restored database; raises ChecksError unless all pass.

    The session is used up by that: its settings are the database's own again, and it only reads.
    """
    if not checks:
        return []
    connection.execute("RESET ALL")
    findings: list[Finding] = run_checks(connection, checks, timeout=timeout)
    answers = [asdict(one) for one in findings]
    wrong = [one for one in findings if one.outcome != PASSED]
    if wrong:
        said = "; ".join(f"{one.name}: {one.problem}" for one in wrong)
        raise ChecksError(
            f"the restored database does not pass {len(wrong)} of {len(findings)} checks: {said}. "
            "The live database was not touched. Choose another backup, or correct the checks.",
            checks=answers,
        )
    return answers
