# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore a backup beside the live database and prove it; the live one is not touched.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import json
import time
import typing as t
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_content import read_tables
from ansible_collections.sre.rollback.plugins.module_utils._pg_dump import now, utc
from ansible_collections.sre.rollback.plugins.module_utils._pg_integrity import Check
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import (
    STAGED,
    STAGING,
    Database,
    Entry,
    comment_statement,
    of_database,
    read_databases,
    scratch_name,
    staged_name,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import (
    DUMP,
    Manifest,
    write_proof,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_programs import (
    Program,
    Running,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_properties import create_statement
from ansible_collections.sre.rollback.plugins.module_utils._pg_prove import (
    Proof,
    prove,
    run_own_checks,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    client_conninfo,
    client_environment,
    connect,
    one_line,
    quoted,
)

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_progress import Progress

# From the least to the most thorough.
AMCHECK = ("none", "indexes", "heapallindexed")

_UNTOUCHED = "The live database was not touched."

# What happened to the rows of the user's tables since statistics began, and which files and
# definitions they have: none of it changes by reading, VACUUM or ANALYZE.
_MARKER = """
SELECT concat_ws(' ',
  (SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables),
  (SELECT coalesce(sum(hashtextextended(concat_ws(' ', oid, relfilenode, xmin), 0)), 0)
   FROM pg_class WHERE oid >= 16384))
"""


class StageError(RollbackError):
    """Nothing was staged; the live database was not touched."""


@dataclass(frozen=True)
class Plan:
    """What to restore, how, and which checks it has to pass.

    A ``scratch`` one is restored beside the staged database of the same backup.
    """

    login: t.Mapping[str, t.Any]
    maintenance: str
    database: str
    backup: Path
    manifest: Manifest
    program: Program
    jobs: int
    amcheck: str
    checks: t.Sequence[Check]
    check_timeout: float
    memory: str
    properties: t.Mapping[str, t.Any]
    scratch: bool = False

    @property
    def name(self) -> str:
        """Name of the database to restore into."""
        name = scratch_name if self.scratch else staged_name
        return name(self.database, self.manifest.id)

    @property
    def checks_digest(self) -> str:
        """Names what was asked: the same checks need not be asked again."""
        text = json.dumps([asdict(check) for check in self.checks], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_staged(plan: Plan, databases: t.Mapping[str, Database]) -> Database | None:
    """The database of this very backup that was proved already."""
    one = databases.get(plan.name)
    if one is None or one.entry is None or one.entry.role != STAGED:
        return None
    same = one.entry.digest == plan.manifest.digest and one.entry.of == plan.database
    return one if same else None


def is_proved(plan: Plan, staged: Database) -> bool:
    """Whether nobody wrote to a staged database since it was proved as thoroughly as wanted."""
    facts = staged.entry.facts if staged.entry else {}
    wanted = facts.get("marker")
    if not wanted or AMCHECK.index(plan.amcheck) > AMCHECK.index(facts.get("amcheck", "none")):
        return False
    with connect(plan.login, staged.name) as connection:
        return read_marker(connection) == wanted


def read_marker(connection: psycopg.Connection) -> str:
    row = connection.execute(_MARKER).fetchone()
    return str(t.cast("tuple[t.Any, ...]", row)[0])


def stage(
    plan: Plan, maintenance: psycopg.Connection, progress: Progress
) -> tuple[Database, Proof]:
    """Restore and prove; the staged database. Raises RollbackError, and then there is none."""
    try:
        remove_unfinished(plan, maintenance)
        _create(plan, maintenance)
    except psycopg.Error as exc:
        raise StageError(
            f"the database {plan.name!r} to restore into could not be made: {one_line(exc)}. "
            f"{_UNTOUCHED}"
        ) from exc
    try:
        with progress.phase("restore", plan.manifest.database_bytes):
            _restore(plan, maintenance, progress)
        with progress.phase("analyze"):
            _analyze(plan)
        staged, proof = prove_staged(plan, maintenance, progress)
    except (RollbackError, psycopg.Error) as exc:
        _drop(maintenance, plan.name)
        if isinstance(exc, RollbackError):
            raise
        raise StageError(f"the restore aside failed: {one_line(exc)}. {_UNTOUCHED}") from exc
    _note_proof(plan, progress)
    return staged, proof


def prove_staged(
    plan: Plan, maintenance: psycopg.Connection, progress: Progress
) -> tuple[Database, Proof]:
    """Prove what was restored, and note it; raises NotProvedError."""
    proof = prove(
        plan.login,
        plan.name,
        plan.manifest,
        jobs=plan.jobs,
        amcheck=plan.amcheck,
        progress=progress,
    )
    if not plan.scratch:
        _mark(plan, maintenance, _entry(plan, progress, proof))
    return read_databases(maintenance)[plan.name], proof


def noted_proof(plan: Plan, staged: Database) -> Proof:
    """The proof of a database that nobody touched since: it is what the manifest says."""
    tables = {
        label: {"rows": one["rows"], "digest": one["digest"], "outcome": "passed"}
        for label, one in plan.manifest.tables.items()
    }
    facts = staged.entry.facts if staged.entry else {}
    return Proof(tables, int(facts.get("indexes", 0)))


def ask_checks(
    plan: Plan, staged: Database, maintenance: psycopg.Connection, progress: Progress
) -> list[dict[str, t.Any]]:
    """Ask the caller's checks, unless a proved database passed the very same before.

    Raises NotProvedError; the database stays staged, because the checks may be what is wrong.
    """
    entry = t.cast(Entry, staged.entry)
    if entry.facts.get("checks") == plan.checks_digest:
        return [
            {"name": check.name, "outcome": "passed", "expected": check.expected}
            for check in plan.checks
        ]
    with progress.phase("check"):
        answers = run_own_checks(plan.login, plan.name, plan.checks, timeout=plan.check_timeout)
    entry = replace(entry, facts={**entry.facts, "checks": plan.checks_digest})
    maintenance.execute(comment_statement(plan.name, "", entry))
    return answers


def remove_unfinished(plan: Plan, maintenance: psycopg.Connection) -> None:
    """Drop what a killed run, or an older backup of this name, left in the place."""
    there = read_databases(maintenance).get(plan.name)
    if there is None:
        return
    ours = there.entry is not None and there.entry.role in (STAGING, STAGED)
    if not ours and not _is_empty(plan, there):
        raise StageError(
            f"a database {plan.name!r} is in the way and is not one that this module staged. "
            f"{_UNTOUCHED} Rename it or drop it."
        )
    _drop(maintenance, plan.name)


def drop_scratch(plan: Plan, maintenance: psycopg.Connection) -> None:
    """Drop a scratch database; one that is left because the server went, the next restore drops."""
    if plan.scratch:
        _drop(maintenance, plan.name)


def drop_others(plan: Plan, maintenance: psycopg.Connection, keep: int) -> list[str]:
    """Drop unfinished ones, and the oldest staged ones beyond ``keep`` (0: none); their names."""
    databases = read_databases(maintenance)
    doomed = of_database(databases, plan.database, STAGING)
    if keep:
        others = of_database(databases, plan.database, STAGED)
        doomed += [one for one in others if one.name != plan.name][keep - 1 :]
    for one in doomed:
        _drop(maintenance, one.name)
    left = read_databases(maintenance)
    return [one.name for one in doomed if one.name not in left]


def _is_empty(plan: Plan, there: Database) -> bool:
    """Whether it was made and nothing more, as by a run that was killed in that moment."""
    if there.entry is not None or there.comment:
        return False
    with connect(plan.login, there.name) as connection:
        return not read_tables(connection)


def _create(plan: Plan, maintenance: psycopg.Connection) -> None:
    version = maintenance.info.server_version
    maintenance.execute(create_statement(plan.name, plan.properties, version))
    entry = Entry(
        STAGING,
        plan.database,
        backup=plan.manifest.id,
        digest=plan.manifest.digest,
        # Two may be proved in one second; the later one is the newer.
        at=f"{now():%Y-%m-%dT%H:%M:%S.%fZ}",
    )
    maintenance.execute(comment_statement(plan.name, "", entry))
    maintenance.execute(f"REVOKE ALL ON DATABASE {quoted(plan.name)} FROM PUBLIC")


def _drop(maintenance: psycopg.Connection, name: str) -> None:
    """Drop a database of ours; what cannot be dropped now, the next run drops."""
    with contextlib.suppress(psycopg.Error):
        maintenance.execute(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")


def _restore(plan: Plan, maintenance: psycopg.Connection, progress: Progress) -> None:
    settings = {
        "synchronous_commit": "off",
        "maintenance_work_mem": plan.memory,
        "statement_timeout": "0",
        "lock_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
        "default_transaction_read_only": "off",
    }
    argv = [
        plan.program.path,
        "--exit-on-error",
        "--no-password",
        "--no-subscriptions",
        f"--jobs={plan.jobs}",
        f"--dbname={client_conninfo(plan.login, plan.name)}",
        str(plan.backup / DUMP),
    ]
    with Running(argv, client_environment(plan.login, settings)) as running:
        while not running.is_done(0.25):
            row = maintenance.execute("SELECT pg_database_size(%s)", [plan.name]).fetchone()
            progress.reached(row[0] if row else 0)
        running.check(_UNTOUCHED)


def _analyze(plan: Plan) -> None:
    """ANALYZE every table, several at a time."""
    with contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(connect(plan.login, plan.name)) for _job in range(plan.jobs)
        ]
        tables = read_tables(connections[0])
        with concurrent.futures.ThreadPoolExecutor(plan.jobs) as pool:
            shares = [tables[number :: plan.jobs] for number in range(plan.jobs)]
            list(pool.map(_analyze_all, connections, shares))


def _analyze_all(connection: psycopg.Connection, tables: t.Sequence[t.Any]) -> None:
    for table in tables:
        connection.execute(f"ANALYZE {table.relation}")


def _entry(plan: Plan, progress: Progress, proof: Proof) -> Entry:
    with connect(plan.login, plan.name) as connection:
        marker = read_marker(connection)
        # Before 15 statistics arrive later than what they count.
        while connection.info.server_version < 150000:
            time.sleep(0.6)
            again = read_marker(connection)
            if again == marker:
                break
            marker = again
    return Entry(
        STAGED,
        plan.database,
        backup=plan.manifest.id,
        digest=plan.manifest.digest,
        # Two may be proved in one second; the later one is the newer.
        at=f"{now():%Y-%m-%dT%H:%M:%S.%fZ}",
        facts={
            "marker": marker,
            "amcheck": plan.amcheck,
            "indexes": proof.indexes,
            "times": dict(progress.times),
        },
    )


def _mark(plan: Plan, maintenance: psycopg.Connection, entry: Entry) -> None:
    """From here on it is staged; nobody writes to it by mistake."""
    name = quoted(plan.name)
    with maintenance.transaction():
        maintenance.execute(comment_statement(plan.name, "", entry))
        maintenance.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")


def _note_proof(plan: Plan, progress: Progress) -> None:
    """Let a list of backups show it; a folder that cannot be written to does no harm."""
    with contextlib.suppress(OSError):
        write_proof(
            plan.backup,
            plan.manifest,
            {"at": utc(now()), "times": progress.times, "jobs": plan.jobs},
        )
