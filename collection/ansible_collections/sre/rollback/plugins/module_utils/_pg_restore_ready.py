# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The database that is to go live, restored aside and proved: the one there is, or a new one.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._pg_dump_files import verify_files
from ansible_collections.sre.rollback.plugins.module_utils._pg_event_triggers import quiet_login
from ansible_collections.sre.rollback.plugins.module_utils._pg_facts import read_properties
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import (
    Database,
    Entry,
    read_databases,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import Manifest
from ansible_collections.sre.rollback.plugins.module_utils._pg_preflight import (
    need_problems,
    privilege_problems,
    refuse,
    space_problems,
    stranded_problems,
    version_problems,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_programs import find_program
from ansible_collections.sre.rollback.plugins.module_utils._pg_properties import properties_for
from ansible_collections.sre.rollback.plugins.module_utils._pg_prove import NotProvedError, Proof
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_request import Request
from ansible_collections.sre.rollback.plugins.module_utils._pg_stage import find_staged, stage
from ansible_collections.sre.rollback.plugins.module_utils._pg_stage_plan import Plan
from ansible_collections.sre.rollback.plugins.module_utils._pg_stage_proof import (
    has_passed,
    is_proved,
    noted_proof,
    prove_staged,
)

if t.TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class Ready:
    """A staged database, how it was proved, and whether this run had to do anything for it."""

    plan: Plan
    database: Database
    proof: Proof
    changed: bool
    warnings: list[str]


def plan_of(
    request: Request, maintenance: psycopg.Connection, manifest: Manifest, live: Database | None
) -> Plan:
    """How the backup is restored beside ``live``, if that is there. Raises RollbackError."""
    version = maintenance.info.server_version
    properties = read_properties(maintenance, request.database) if live else None
    return Plan(
        login=quiet_login(request.login, manifest, version),
        database=request.database,
        backup=t.cast(Path, request.backup),
        manifest=manifest,
        program=find_program("pg_restore", request.login.get("bin_dir")),
        jobs=request.jobs,
        amcheck=request.amcheck,
        checks=request.checks,
        check_timeout=request.check_timeout,
        memory=request.memory,
        properties=properties_for(manifest.properties, properties),
        what="schema" if request.schema_only else "staged",
    )


def prepare(
    request: Request,
    maintenance: psycopg.Connection,
    manifest: Manifest,
    finish: t.Callable[[psycopg.Connection], None] | None = None,
) -> Ready:
    """Restore and prove as far as that is not done yet; raises RollbackError.

    ``finish`` may do a last thing in the database before it goes live.
    """
    databases = read_databases(maintenance)
    there = databases.get(request.database)
    plan = plan_of(request, maintenance, manifest, there)
    ready = find_staged(plan, databases)
    refuse(swap_problems(request, maintenance, there))
    if ready is not None and finish is None and is_ready(plan, ready):
        return Ready(plan, ready, noted_proof(plan, ready), False, [])
    if ready is not None:
        with contextlib.suppress(NotProvedError):
            staged, proof = prove_staged(plan, maintenance, ready, request.progress, finish=finish)
            return Ready(plan, staged, proof, "prove" in request.progress.times, [])
    return _restored(request, maintenance, plan, there, finish)


def is_ready(plan: Plan, staged: Database) -> bool:
    """Whether there is nothing left to prove or to ask."""
    return is_proved(plan, staged) and has_passed(plan, t.cast(Entry, staged.entry))


def _restored(
    request: Request,
    maintenance: psycopg.Connection,
    plan: Plan,
    live: Database | None,
    finish: t.Callable[[psycopg.Connection], None] | None,
) -> Ready:
    problems, warnings = stage_problems(request, maintenance, plan, live)
    refuse(problems)
    progress = request.progress
    with progress.phase("read", plan.manifest.bytes):
        verify_files(plan.backup, plan.manifest, jobs=request.jobs, progress=progress.add)
    staged, proof = stage(plan, maintenance, progress, finish)
    return Ready(plan, staged, proof, True, warnings)


def stage_problems(
    request: Request, maintenance: psycopg.Connection, plan: Plan, live: Database | None
) -> tuple[list[str], list[str]]:
    """What would make restoring fail, and what cannot be known about that."""
    manifest = plan.manifest
    problems = version_problems(manifest, plan.program, maintenance.info.server_version)
    problems += need_problems(maintenance, manifest, request.amcheck)
    problems += privilege_problems(maintenance, live, request.amcheck, manifest)
    if not problems and not plan.schema_only:
        lacking, unknown = space_problems(
            request.login, maintenance, manifest.database_bytes, plan.properties["tablespace"]
        )
        return lacking, [unknown] if unknown else []
    return problems, []


def swap_problems(
    request: Request, maintenance: psycopg.Connection, there: Database | None
) -> list[str]:
    """What a swap would leave behind, or what would stop it; raises PoolerError."""
    if request.pooler is not None:
        request.pooler.is_paused()  # it can be reached, and knows the database
    if there is None:
        return []
    return stranded_problems(request.login, maintenance, there, request.accept)
