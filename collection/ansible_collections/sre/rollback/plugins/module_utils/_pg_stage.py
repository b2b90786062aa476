# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore a backup beside the live database and prove it; the live one is not touched.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import replace

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_dump_files import DUMP
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import (
    DROPPED,
    STAGED,
    STAGING,
    Database,
    comment_statement,
    of_database,
    read_databases,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_programs import Running
from ansible_collections.sre.rollback.plugins.module_utils._pg_properties import create_statement
from ansible_collections.sre.rollback.plugins.module_utils._pg_prove import ChecksError, Proof
from ansible_collections.sre.rollback.plugins.module_utils._pg_stage_plan import Plan, mark
from ansible_collections.sre.rollback.plugins.module_utils._pg_stage_proof import prove_staged
from ansible_collections.sre.rollback.plugins.module_utils._pg_tables import read_tables
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

_UNTOUCHED = "The live database was not touched."


class StageError(RollbackError):
    """Nothing was staged; the live database was not touched."""


def find_staged(plan: Plan, databases: t.Mapping[str, Database]) -> Database | None:
    """The database of this very backup that was proved already."""
    one = databases.get(plan.name)
    if one is None or one.entry is None or one.entry.role != STAGED:
        return None
    same = one.entry.digest == plan.digest and one.entry.of == plan.database
    return one if same else None


def stage(
    plan: Plan,
    maintenance: psycopg.Connection,
    progress: Progress,
    finish: t.Callable[[psycopg.Connection], None] | None = None,
) -> tuple[Database, Proof]:
    """Restore and prove; the staged database. Raises RollbackError, and then there is none.

    It stays when only the caller's checks fail (ChecksError), which may be what is wrong.
    """
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
            restore_into(plan, maintenance, progress)
        database = read_databases(maintenance)[plan.name]
        return prove_staged(plan, maintenance, database, progress, fresh=True, finish=finish)
    except ChecksError:
        raise
    except (RollbackError, psycopg.Error) as exc:
        _drop(maintenance, plan.name)
        if isinstance(exc, RollbackError):
            raise
        raise StageError(f"the restore aside failed: {one_line(exc)}. {_UNTOUCHED}") from exc


@contextlib.contextmanager
def aside(plan: Plan, maintenance: psycopg.Connection) -> t.Iterator[None]:
    """An empty database to restore into, there only meanwhile; raises StageError."""
    try:
        remove_unfinished(plan, maintenance)
        _create(plan, maintenance)
    except psycopg.Error as exc:
        raise StageError(
            f"the database {plan.name!r} to restore into could not be made: {one_line(exc)}. "
            f"{_UNTOUCHED}"
        ) from exc
    try:
        yield
    finally:
        _drop(maintenance, plan.name)


def remove_unfinished(plan: Plan, maintenance: psycopg.Connection) -> None:
    """Drop what a killed run, or an older backup of this name, left in the place."""
    there = read_databases(maintenance).get(plan.name)
    if there is None:
        return
    ours = there.entry is not None and there.entry.role in (STAGING, STAGED, DROPPED)
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
    if there.entry is not None or there.comment or not there.allows_connections:
        return False
    with connect(plan.login, there.name) as connection:
        return not read_tables(connection)


def _create(plan: Plan, maintenance: psycopg.Connection) -> None:
    version = maintenance.info.server_version
    maintenance.execute(create_statement(plan.name, plan.properties, version))
    entry = replace(mark(plan), role=STAGING)
    maintenance.execute(comment_statement(plan.name, "", entry))
    maintenance.execute(f"REVOKE ALL ON DATABASE {quoted(plan.name)} FROM PUBLIC")
    if not any(one.kind == "schema public" for one in plan.manifest.objects):
        # A dump does not say that the schema was dropped which every new database has.
        with connect(plan.login, plan.name) as connection:
            connection.execute("DROP SCHEMA public")


def _drop(maintenance: psycopg.Connection, name: str) -> None:
    """Drop a database of ours; what cannot be dropped now, the next run drops."""
    with contextlib.suppress(psycopg.Error):
        maintenance.execute(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")


def restore_into(
    plan: Plan,
    maintenance: psycopg.Connection,
    progress: Progress,
    what: t.Sequence[str] = (),
) -> None:
    """Run pg_restore with the options ``what``; raises ProgramError."""
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
        *(["--schema-only"] if plan.schema_only else []),
        *what,
        f"--jobs={plan.jobs}",
        f"--dbname={client_conninfo(plan.login, plan.name, settings)}",
        str(plan.backup / DUMP),
    ]
    with Running(argv, client_environment(plan.login)) as running:
        while not running.is_done(0.25):
            row = maintenance.execute("SELECT pg_database_size(%s)", [plan.name]).fetchone()
            progress.reached(row[0] if row else 0)
        running.check(_UNTOUCHED)
