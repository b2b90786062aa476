# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a backup can be restored: it is, into a scratch database that is dropped right after.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import replace
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._pg_backups import withdraw_proof
from ansible_collections.sre.rollback.plugins.module_utils._pg_dump_files import verify_files
from ansible_collections.sre.rollback.plugins.module_utils._pg_estimate import estimate
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import read_databases
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import (
    BackupError,
    Manifest,
    read_manifest,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_preflight import refuse
from ansible_collections.sre.rollback.plugins.module_utils._pg_prove import (
    ChecksError,
    NotProvedError,
    Proof,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_lock import acquire
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_ready import (
    plan_of,
    stage_problems,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_request import (
    Outcome,
    Request,
    described,
    situation,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_stage import drop_scratch, stage
from ansible_collections.sre.rollback.plugins.module_utils._pg_stage_plan import Plan
from ansible_collections.sre.rollback.plugins.module_utils._postgres import connect

if t.TYPE_CHECKING:
    import psycopg


def proved(request: Request, *, check: bool) -> Outcome:
    """Restored from its files, whether or not it is staged already; proved; dropped.

    A rollback does not wait for this: it holds another lock than a restore, and a restore that
    needs the room drops the scratch database.
    """
    backup = t.cast(Path, request.backup)
    with connect(request.login, request.maintenance) as maintenance:
        manifest = read_manifest(backup)
        before = situation(read_databases(maintenance), request.database)
        if check:
            return _foreseen(request, maintenance, manifest, before)
        acquire(maintenance, f"{request.database} proving {manifest.id}", wait=request.lock_timeout)
        proof, warnings = _rehearse(request, maintenance, manifest)
        after = situation(read_databases(maintenance), request.database)
    return Outcome(
        changed=True,
        before=before,
        after=after,
        undo_reason="all that is left is a note of the proof beside the backup",
        tables=proof.tables,
        indexes_checked=proof.indexes,
        checks=proof.checks,
        backup=described(request, manifest),
        warnings=warnings,
    )


def _foreseen(
    request: Request,
    maintenance: psycopg.Connection,
    manifest: Manifest,
    before: dict[str, t.Any],
) -> Outcome:
    plan, warnings = _plan(request, maintenance, manifest)
    verify_files(plan.backup, manifest, jobs=request.jobs)
    times = estimate(plan.backup, manifest, exists=False, proved=False, swap_too=False)
    return Outcome(
        changed=True,
        before=before,
        after=before,
        backup=described(request, manifest),
        predicted={"steps": [*times.steps, f"drop {plan.name}"], **times.numbers()},
        warnings=warnings,
    )


def _plan(
    request: Request, maintenance: psycopg.Connection, manifest: Manifest
) -> tuple[Plan, list[str]]:
    """Raises RefusedError for everything that would make the restore fail."""
    there = read_databases(maintenance).get(request.database)
    plan = replace(plan_of(request, maintenance, manifest, there), what="proving")
    problems, warnings = stage_problems(request, maintenance, plan, there)
    refuse(problems)
    return plan, warnings


def _rehearse(
    request: Request, maintenance: psycopg.Connection, manifest: Manifest
) -> tuple[Proof, list[str]]:
    plan, warnings = _plan(request, maintenance, manifest)
    try:
        with request.progress.phase("read", manifest.bytes):
            verify_files(plan.backup, manifest, jobs=request.jobs, progress=request.progress.add)
        _staged, proof = stage(plan, maintenance, request.progress)
    except (BackupError, NotProvedError, ChecksError):
        # A list of backups must not go on saying "proved".
        with contextlib.suppress(OSError):
            withdraw_proof(plan.backup)
        raise
    finally:
        drop_scratch(plan, maintenance)
    return proof, warnings
