# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a restore would do, in words, in seconds, and in what there would be afterwards.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._pg_dump_files import verify_files
from ansible_collections.sre.rollback.plugins.module_utils._pg_estimate import Estimate, estimate
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import (
    Database,
    free_name,
    read_databases,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import Manifest
from ansible_collections.sre.rollback.plugins.module_utils._pg_preflight import refuse
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_lock import busy_problem
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_ready import (
    is_ready,
    plan_of,
    stage_problems,
    swap_problems,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_request import (
    Outcome,
    Request,
    described,
    situation,
    undo_of,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_stage import find_staged
from ansible_collections.sre.rollback.plugins.module_utils._pg_stage_plan import Plan
from ansible_collections.sre.rollback.plugins.module_utils._pg_stage_proof import (
    is_proved,
)

if t.TYPE_CHECKING:
    import psycopg


def predicted(
    request: Request, maintenance: psycopg.Connection, manifest: Manifest, *, swap_too: bool
) -> Outcome:
    """What a run would do; raises RollbackError for what it would refuse."""
    databases = read_databases(maintenance)
    before = situation(databases, request.database)
    there = databases.get(request.database)
    plan = plan_of(request, maintenance, manifest, there)
    ready = find_staged(plan, databases)
    problems = swap_problems(request, maintenance, there)
    problems += busy_problem(maintenance, request.database)
    warnings: list[str] = []
    proved = ready is not None and is_proved(plan, ready)
    passed = ready is not None and is_ready(plan, ready)
    if ready is None:
        more, warnings = stage_problems(request, maintenance, plan, there)
        problems += more
    refuse(problems)
    if ready is None:
        verify_files(plan.backup, manifest, jobs=request.jobs)
    foreseen: Estimate = estimate(
        plan.backup, manifest, exists=ready is not None, proved=proved, swap_too=swap_too
    )
    after, kept = _foreseen(request, databases, manifest, plan, swap_too=swap_too)
    steps = [*foreseen.steps]
    if swap_too:
        steps.append(
            f"swap {plan.name} in as {request.database}"
            + (f", keep what is live as {kept}" if kept else "")
        )
    return Outcome(
        changed=swap_too or not passed,
        before=before,
        after=after,
        backup=described(request, manifest),
        restore_id=request.restore_id or None,
        staged=plan.name if ready is not None else None,
        predecessor=kept or None,
        undo=undo_of(request, kept) if swap_too else None,
        predicted={"steps": steps, **foreseen.numbers()},
        warnings=warnings,
    )


def _foreseen(
    request: Request,
    databases: t.Mapping[str, Database],
    manifest: Manifest,
    plan: Plan,
    *,
    swap_too: bool,
) -> tuple[dict[str, t.Any], str]:
    """The situation afterwards, and the predecessor's name."""
    after = situation(databases, request.database)
    if not swap_too:
        after["staged"] = sorted({plan.name, *after["staged"]})
        return after, ""
    kept = ""
    if request.database in databases:
        kept = free_name(databases, request.database, "before", request.restore_id)
        after["predecessors"] = [kept, *after["predecessors"]]
    after["live"] = {"oid": None, "backup": manifest.id, "restore_id": request.restore_id}
    after["staged"] = [name for name in after["staged"] if name != plan.name]
    return after, kept
