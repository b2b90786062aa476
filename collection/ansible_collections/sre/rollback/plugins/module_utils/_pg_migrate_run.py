# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run migrations one by one, each with its note in one transaction.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_files import version_key
from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_state import (
    CURRENT,
    History,
    lock_history,
    note,
    read_state,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import one_line

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_files import Migration
    from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_plan import Plan, Step

# hashtext() is not stable between major versions, so the number is ours: "rb-migr" in ASCII.
_LOCK = 0x72622D6D696772


class MigrationRunningError(RollbackError):
    """Somebody else migrates this database. Nothing was run."""


class MigrationFailedError(RollbackError):
    """A migration did not go through; the message says what is applied now."""


@dataclass(frozen=True)
class Ran:
    """A migration that ran and is committed."""

    migration: Migration
    elapsed: float

    def as_dict(self) -> dict[str, t.Any]:
        """The migration in the module's result."""
        return {**self.migration.as_dict(), "elapsed": round(self.elapsed, 3)}


@contextlib.contextmanager
def only_one(connection: psycopg.Connection, database: str) -> t.Iterator[None]:
    """An advisory lock for the length of the block; the server drops it when we are killed.

    Raises MigrationRunningError.
    """
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK]).fetchone()
    if row is None or not row[0]:
        raise MigrationRunningError(
            f"another run migrates {database!r}. Nothing was run. Wait for it to end."
        )
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def run_plan(
    connection: psycopg.Connection, history: History, plan: Plan, *, lock_timeout: float
) -> list[Ran]:
    """Run the steps of ``plan``. Raises MigrationFailedError, which says where it stopped."""
    milliseconds = round(lock_timeout * 1000)
    connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{milliseconds}ms"])
    ran: list[Ran] = []
    applied = plan.applied
    for step in plan.steps:
        started = time.monotonic()
        try:
            _run_step(connection, history, step, applied)
        except RollbackError as exc:
            raise _stopped(exc, step, ran, applied) from exc
        ran.append(Ran(step.migration, time.monotonic() - started))
        applied = step.applied
    return ran


def _run_step(
    connection: psycopg.Connection, history: History, step: Step, applied: t.Sequence[str]
) -> None:
    migration = step.migration
    if not migration.transactional:
        _require(connection, history, applied)
        _execute(connection, migration)
        migration = replace(migration, statements=())
    try:
        with connection.transaction():
            lock_history(connection, history)
            _require(connection, history, applied if migration.transactional else None)
            _execute(connection, migration)
            newest = step.applied[-1] if step.applied else ""
            note(connection, history, migration.direction, migration.version, newest)
            _require(connection, history, step.applied)
    except psycopg.Error as exc:
        raise MigrationFailedError(
            f"{one_line(exc)}{_hint(exc)}. {_outcome(step.migration)}"
        ) from exc


def _execute(connection: psycopg.Connection, migration: Migration) -> None:
    for statement in migration.statements:
        try:
            connection.execute(statement.text)
        except psycopg.Error as exc:
            before = int(exc.diag.statement_position or 1) - 1
            line = statement.line + statement.text.count("\n", 0, before)
            raise MigrationFailedError(
                f"line {line}: {one_line(exc)}{_hint(exc)}. {_outcome(migration)}"
            ) from exc


def _hint(exc: psycopg.Error) -> str:
    if isinstance(exc, psycopg.errors.ActiveSqlTransaction):
        return (
            " (a file with the line `-- no transaction` runs without one, statement by statement)"
        )
    if isinstance(exc, psycopg.errors.LockNotAvailable):
        return " (somebody holds the lock for longer than lock_timeout)"
    return ""


def _outcome(migration: Migration) -> str:
    if migration.transactional:
        return "This file was rolled back"
    return (
        "This file runs without a transaction: the statements before that one are done and noted "
        "nowhere"
    )


def _require(
    connection: psycopg.Connection, history: History, applied: t.Sequence[str] | None
) -> None:
    """Raise MigrationFailedError unless exactly ``applied`` is applied; None is not looked at."""
    if applied is None:
        return
    found, wanted = read_state(connection, history), list(applied)
    if history.kind == CURRENT:
        wanted = wanted[-1:]
    if sorted(map(version_key, found)) != sorted(map(version_key, wanted)):
        raise MigrationFailedError(
            f"the state should be {_listed(wanted)} and is {_listed(found)}. This file was rolled "
            "back, if it runs in a transaction"
        )


def _stopped(
    exc: RollbackError, step: Step, ran: t.Sequence[Ran], applied: t.Sequence[str]
) -> MigrationFailedError:
    done = ", ".join(each.migration.path.name for each in ran) or "none"
    return MigrationFailedError(
        f"{step.migration.path.name} failed: {exc}. Files that ran before and are committed: "
        f"{done}. Applied now: {_listed(applied)}. Correct the file and run the same again.",
        ran=[each.as_dict() for each in ran],
        failed_file=step.migration.path.name,
    )


def _listed(versions: t.Sequence[str]) -> str:
    return ", ".join(versions) or "nothing"
