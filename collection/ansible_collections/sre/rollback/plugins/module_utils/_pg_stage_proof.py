# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The proof of a database that was restored aside: made behind closed doors, noted, and sealed.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import typing as t
from dataclasses import replace

from ansible_collections.sre.rollback.plugins.module_utils._pg_backups import write_proof
from ansible_collections.sre.rollback.plugins.module_utils._pg_integrity import PASSED
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import (
    Database,
    Entry,
    comment_statement,
    read_databases,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import now, utc
from ansible_collections.sre.rollback.plugins.module_utils._pg_prove import (
    Proof,
    prove,
    run_own_checks,
    session_settings,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_seal import is_sealed, visiting
from ansible_collections.sre.rollback.plugins.module_utils._pg_stage_plan import (
    AMCHECK,
    Plan,
    mark,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_tables import read_tables

if t.TYPE_CHECKING:
    import psycopg

    from ansible_collections.sre.rollback.plugins.module_utils._pg_progress import Progress


def is_proved(plan: Plan, staged: Database) -> bool:
    """Whether a staged database was proved as thoroughly as wanted, and nobody was in it since."""
    facts = staged.entry.facts if staged.entry else {}
    thorough = AMCHECK.index(plan.amcheck) <= AMCHECK.index(facts.get("amcheck", "none"))
    return thorough and is_sealed(staged)


def has_passed(plan: Plan, entry: Entry) -> bool:
    """Whether a database passed the very checks of the plan, too."""
    return not plan.checks or entry.facts.get("checks") == plan.checks_digest


def prove_staged(
    plan: Plan,
    maintenance: psycopg.Connection,
    database: Database,
    progress: Progress,
    *,
    fresh: bool = False,
    finish: t.Callable[[psycopg.Connection], None] | None = None,
) -> tuple[Database, Proof]:
    """Prove what was restored, behind closed doors; ask the caller's checks; seal it.

    ``finish`` may do a last thing in it before it goes live. Raises NotProvedError, or ChecksError.
    What was proved already is not proved again.
    """
    settings = session_settings(plan.manifest)
    with visiting(plan.login, maintenance, database, plan.jobs, settings) as visit:
        if visit.alone and is_proved(plan, database):
            proof, entry = noted_proof(plan, database), t.cast(Entry, database.entry)
        else:
            if fresh:
                with progress.phase("analyze"):
                    _analyze(visit.sessions)
            proof = prove(visit.sessions, plan.expected, amcheck=plan.amcheck, progress=progress)
            entry = _entry(plan, progress, proof)
            _note_proof(plan, progress)
        _write(plan, maintenance, visit.sealed(entry))
        if not (has_passed(plan, entry) and proof.checks):
            proof = replace(proof, checks=_ask(plan, visit.sessions[-1], progress))
            entry = replace(entry, facts={**entry.facts, "checks": plan.checks_digest})
        if finish is not None:
            _write(plan, maintenance, entry)
            finish(visit.sessions[0])
        _write(plan, maintenance, visit.sealed(entry))
    return read_databases(maintenance)[plan.name], proof


def _write(plan: Plan, maintenance: psycopg.Connection, entry: Entry) -> None:
    if not plan.scratch:
        maintenance.execute(comment_statement(plan.name, "", entry))


def noted_proof(plan: Plan, staged: Database) -> Proof:
    """The proof of a database that nobody was in since: it is what the manifest says."""
    tables = {
        label: {"rows": one["rows"], "digest": one["digest"], "outcome": PASSED}
        for label, one in plan.expected.tables.items()
    }
    facts = staged.entry.facts if staged.entry else {}
    answers = [
        {"name": check.name, "outcome": PASSED, "expected": check.expected} for check in plan.checks
    ]
    return Proof(tables, int(facts.get("indexes", 0)), answers)


def _ask(plan: Plan, session: psycopg.Connection, progress: Progress) -> list[dict[str, t.Any]]:
    if not plan.checks:
        return []
    with progress.phase("check"):
        return run_own_checks(session, plan.checks, timeout=plan.check_timeout)


def _analyze(sessions: t.Sequence[psycopg.Connection]) -> None:
    """ANALYZE every table, several at a time."""
    tables = read_tables(sessions[0])
    with concurrent.futures.ThreadPoolExecutor(len(sessions)) as pool:
        shares = [tables[number :: len(sessions)] for number in range(len(sessions))]
        list(pool.map(_analyze_all, sessions, shares))


def _analyze_all(connection: psycopg.Connection, tables: t.Sequence[t.Any]) -> None:
    for table in tables:
        connection.execute(f"ANALYZE {table.relation}")


def _entry(plan: Plan, progress: Progress, proof: Proof) -> Entry:
    facts = {
        "amcheck": plan.amcheck,
        "indexes": proof.indexes,
        "times": dict(progress.times),
    }
    return replace(mark(plan), facts=facts)


def _note_proof(plan: Plan, progress: Progress) -> None:
    """Let a list of backups show it; a folder that cannot be written to does no harm."""
    if plan.schema_only:
        return
    with contextlib.suppress(OSError):
        write_proof(
            plan.backup,
            plan.manifest,
            {"at": utc(now()), "times": progress.times, "jobs": plan.jobs},
        )
