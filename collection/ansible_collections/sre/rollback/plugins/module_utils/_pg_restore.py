# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The states of a database: staged, live, previous. Each sees what is done already.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import secrets
import time
import typing as t
from dataclasses import dataclass, field, replace
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_dump import now, utc
from ansible_collections.sre.rollback.plugins.module_utils._pg_estimate import Estimate, estimate
from ansible_collections.sre.rollback.plugins.module_utils._pg_facts import read_properties
from ansible_collections.sre.rollback.plugins.module_utils._pg_integrity import Check
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import (
    KEPT,
    LIVE,
    STAGED,
    Database,
    Entry,
    comment_statement,
    free_name,
    of_database,
    read_databases,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import (
    BackupError,
    Manifest,
    read_manifest,
    verify_files,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_preflight import (
    RefusedError,
    acquire,
    busy_problem,
    need_problems,
    privilege_problems,
    refuse,
    space_problems,
    stranded_problems,
    version_problems,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_programs import find_program
from ansible_collections.sre.rollback.plugins.module_utils._pg_progress import Progress
from ansible_collections.sre.rollback.plugins.module_utils._pg_properties import adopt_statements
from ansible_collections.sre.rollback.plugins.module_utils._pg_prove import NotProvedError, Proof
from ansible_collections.sre.rollback.plugins.module_utils._pg_sequences import (
    continue_sequences,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_stage import (
    Plan,
    ask_checks,
    drop_others,
    find_staged,
    is_proved,
    noted_proof,
    prove_staged,
    stage,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_swap import (
    Rename,
    Swapped,
    swap,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    connect,
    one_line,
    quoted,
)

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

MODULE = "sre.rollback.pg_restore_verified"


@dataclass(frozen=True)
class Request:
    """What the caller wants. ``pause`` keeps a pooler's clients waiting during the swap."""

    login: t.Mapping[str, t.Any]
    maintenance: str
    database: str
    backup: Path | None
    restore_id: str
    predecessor: str
    jobs: int
    checks: t.Sequence[Check]
    check_timeout: float
    amcheck: str
    memory: str
    accept: t.Sequence[str]
    keep_predecessors: int
    keep_staged: int
    swap_timeout: float
    lock_timeout: float
    progress: Progress
    pause: t.Callable[[], t.ContextManager[None]] = contextlib.nullcontext


@dataclass
class Outcome:
    """What the module returns, beside times."""

    changed: bool
    before: dict[str, t.Any]
    after: dict[str, t.Any]
    undo: dict[str, t.Any] | None = None
    undo_reason: str = ""
    downtime_ms: float | None = None
    swap_attempts: int | None = None
    tables: dict[str, t.Any] = field(default_factory=dict)
    indexes_checked: int | None = None
    checks: list[dict[str, t.Any]] = field(default_factory=list)
    backup: dict[str, t.Any] | None = None
    restore_id: str | None = None
    staged: str | None = None
    predecessor: str | None = None
    removed: list[str] = field(default_factory=list)
    predicted: dict[str, t.Any] | None = None
    warnings: list[str] = field(default_factory=list)


def new_restore_id() -> str:
    """For callers that give none; only a given one can be recognised again."""
    return f"{now():%Y-%m-%dT%H-%M-%SZ}-{secrets.token_hex(2)}"


def maintenance_database(database: str, wanted: str) -> str:
    """Where to connect to while ``database`` is renamed."""
    if database != wanted:
        return wanted
    raise RefusedError(
        f"{database!r} is the database that this module connects to while it renames. Nothing was "
        "changed; set maintenance_db to another one."
    )


def situation(databases: t.Mapping[str, Database], database: str) -> dict[str, t.Any]:
    """What there is of ``database``: for ``before`` and ``after``."""
    live = databases.get(database)
    return {
        "live": None if live is None else _origin(live),
        "staged": [one.name for one in of_database(databases, database, STAGED)],
        "predecessors": [one.name for one in of_database(databases, database, KEPT)],
    }


def _origin(database: Database) -> dict[str, t.Any]:
    entry = database.entry
    return {
        "oid": database.oid,
        "backup": entry.backup if entry else "",
        "restore_id": entry.restore_id if entry else "",
    }


def staged(request: Request, *, check: bool) -> Outcome:
    """Restored aside, proved, kept ready."""
    with connect(request.login, request.maintenance) as maintenance:
        databases = read_databases(maintenance)
        done = _already_live(request, databases)
        if done is not None:
            return done
        manifest = read_manifest(t.cast(Path, request.backup))
        if check:
            return _predicted(request, maintenance, manifest, swap_too=False)
        acquire(maintenance, request.database, wait=request.lock_timeout)
        before = situation(read_databases(maintenance), request.database)
        ready = _prepare(request, maintenance, manifest)
        removed = drop_others(ready.plan, maintenance, request.keep_staged)
        # DROP DATABASE waits for a checkpoint: make room now for the one that the swap will add.
        removed += prune(request, maintenance, keep=max(request.keep_predecessors - 1, 1))
        after = situation(read_databases(maintenance), request.database)
    return Outcome(
        changed=ready.changed,
        before=before,
        after=after,
        undo_reason="a staged database stands beside the live one; there is nothing to undo",
        tables=ready.proof.tables,
        indexes_checked=ready.proof.indexes,
        checks=ready.proof.checks,
        backup=described(request, manifest),
        restore_id=request.restore_id,
        staged=ready.database.name,
        removed=removed,
        warnings=ready.warnings,
    )


def live(request: Request, *, check: bool) -> Outcome:
    """Staged if need be, then swapped in; what was live stays beside it."""
    with connect(request.login, request.maintenance) as maintenance:
        databases = read_databases(maintenance)
        done = _already_live(request, databases)
        if done is not None:
            return done
        manifest = read_manifest(t.cast(Path, request.backup))
        if check:
            return _predicted(request, maintenance, manifest, swap_too=True)
        acquire(maintenance, request.database, wait=request.lock_timeout)
        # A run that was killed may have been confirmed while this one waited for its lock.
        databases = read_databases(maintenance)
        done = _already_live(request, databases)
        if done is not None:
            return done
        before = situation(databases, request.database)
        ready = _prepare(request, maintenance, manifest)
        behind = continue_sequences(
            request.login, databases.get(request.database), ready.database.name
        )
        swapped, predecessor = _swap_in(request, maintenance, manifest, ready.database)
        removed = prune(request, maintenance, keep=request.keep_predecessors)
        after = situation(read_databases(maintenance), request.database)
    return Outcome(
        changed=True,
        before=before,
        after=after,
        undo=_undo(request, predecessor),
        undo_reason="" if predecessor else "there was no database of this name before",
        downtime_ms=swapped.downtime_ms if predecessor else 0.0,
        swap_attempts=swapped.attempts,
        tables=ready.proof.tables,
        indexes_checked=ready.proof.indexes,
        checks=ready.proof.checks,
        backup=described(request, manifest),
        restore_id=request.restore_id,
        predecessor=predecessor or None,
        removed=removed,
        warnings=[*ready.warnings, *behind],
    )


def previous(request: Request, *, check: bool) -> Outcome:
    """The predecessor is live again, and what was live is kept in its place."""
    with connect(request.login, request.maintenance) as maintenance:
        if not check:
            acquire(maintenance, request.database, wait=request.lock_timeout)
        databases = read_databases(maintenance)
        before = situation(databases, request.database)
        now_live = databases.get(request.database)
        target = _target(request, databases)
        if target is None:
            return Outcome(False, before, before, restore_id=request.restore_id or None)
        entry = t.cast(Entry, target.entry)
        restore_id = request.restore_id or entry.by
        problems = _swap_problems(request, maintenance, now_live)
        if check:
            refuse(problems + busy_problem(maintenance, request.database))
        refuse(problems)
        what = "before" if entry.restore_id == restore_id else "undone"
        kept = free_name(databases, request.database, what, restore_id) if now_live else ""
        if check:
            after = {**before, "live": _origin(target)}
            after["predecessors"] = [
                kept if one == target.name else one for one in before["predecessors"]
            ]
            return Outcome(
                True,
                before,
                after,
                restore_id=restore_id,
                predecessor=kept or None,
                predicted={
                    "steps": [f"swap {target.name} in, keep what is live as {kept}"],
                    "seconds": 1.0,
                },
            )
        behind = continue_sequences(request.login, now_live, target.name)
        swapped = _swap_back(request, now_live, target, kept, restore_id)
        after = situation(read_databases(maintenance), request.database)
    return Outcome(
        True,
        before,
        after,
        undo=_undo(request, kept, restore_id),
        downtime_ms=swapped.downtime_ms,
        swap_attempts=swapped.attempts,
        restore_id=restore_id,
        predecessor=kept or None,
        warnings=behind,
    )


@dataclass(frozen=True)
class _Ready:
    plan: Plan
    database: Database
    proof: Proof
    changed: bool
    warnings: list[str]


def _already_live(request: Request, databases: t.Mapping[str, Database]) -> Outcome | None:
    """The outcome when this very restore was done before."""
    there = databases.get(request.database)
    entry = there.entry if there else None
    if (
        not request.restore_id
        or entry is None
        or (entry.role, entry.restore_id) != (LIVE, request.restore_id)
        or not entry.backup
    ):
        return None
    wanted = entry.backup
    with contextlib.suppress(BackupError):  # a backup that is gone since does no harm
        wanted = read_manifest(t.cast(Path, request.backup)).id
    if wanted != entry.backup:
        raise RefusedError(
            f"restore {request.restore_id} has already brought backup {entry.backup} live, not "
            f"{wanted}. Nothing was changed; give another restore_id."
        )
    state = situation(databases, request.database)
    kept = entry.predecessor if entry.predecessor in databases else ""
    return Outcome(
        False,
        state,
        state,
        undo=_undo(request, kept),
        restore_id=request.restore_id,
        predecessor=kept or None,
    )


def plan_of(
    request: Request, maintenance: psycopg.Connection, manifest: Manifest, live: Database | None
) -> Plan:
    return Plan(
        login=request.login,
        maintenance=request.maintenance,
        database=request.database,
        backup=t.cast(Path, request.backup),
        manifest=manifest,
        program=find_program("pg_restore", request.login.get("bin_dir")),
        jobs=request.jobs,
        amcheck=request.amcheck,
        checks=request.checks,
        check_timeout=request.check_timeout,
        memory=request.memory,
        properties=read_properties(maintenance, request.database) if live else manifest.properties,
    )


def _prepare(request: Request, maintenance: psycopg.Connection, manifest: Manifest) -> _Ready:
    """The staged database of the backup: the one there is, or a new one."""
    databases = read_databases(maintenance)
    there = databases.get(request.database)
    plan = plan_of(request, maintenance, manifest, there)
    ready = find_staged(plan, databases)
    progress = request.progress
    refuse(_swap_problems(request, maintenance, there))
    warnings: list[str] = []
    changed = True
    if ready is not None and is_proved(plan, ready):
        proof, changed = noted_proof(plan, ready), False
    else:
        ready, proof, warnings = _proved(request, maintenance, plan, ready, there)
    answers = ask_checks(plan, ready, maintenance, progress)
    return _Ready(plan, ready, replace(proof, checks=answers), changed, warnings)


def _proved(
    request: Request,
    maintenance: psycopg.Connection,
    plan: Plan,
    ready: Database | None,
    there: Database | None,
) -> tuple[Database, Proof, list[str]]:
    """Prove the staged database that there is; restore anew when it is not what it was."""
    progress = request.progress
    if ready is not None:
        with contextlib.suppress(NotProvedError):
            return (*prove_staged(plan, maintenance, progress), [])
    problems, warnings = stage_problems(request, maintenance, plan, there)
    refuse(problems)
    with progress.phase("read", plan.manifest.bytes):
        verify_files(plan.backup, plan.manifest, jobs=request.jobs, progress=progress.add)
    return (*stage(plan, maintenance, progress), warnings)


def stage_problems(
    request: Request, maintenance: psycopg.Connection, plan: Plan, live: Database | None
) -> tuple[list[str], list[str]]:
    manifest = plan.manifest
    problems = version_problems(manifest, plan.program, maintenance.info.server_version)
    problems += need_problems(maintenance, manifest, request.amcheck)
    problems += privilege_problems(maintenance, live, request.amcheck, manifest.roles)
    if not problems:
        lacking, unknown = space_problems(
            request.login, maintenance, manifest.database_bytes, plan.properties["tablespace"]
        )
        return lacking, [unknown] if unknown else []
    return problems, []


def _swap_problems(
    request: Request, maintenance: psycopg.Connection, there: Database | None
) -> list[str]:
    if there is None:
        return []
    return stranded_problems(request.login, maintenance, there, request.accept)


def _predicted(
    request: Request, maintenance: psycopg.Connection, manifest: Manifest, *, swap_too: bool
) -> Outcome:
    """What a run would do; raises RollbackError for what it would refuse."""
    databases = read_databases(maintenance)
    before = situation(databases, request.database)
    there = databases.get(request.database)
    plan = plan_of(request, maintenance, manifest, there)
    ready = find_staged(plan, databases)
    problems = _swap_problems(request, maintenance, there)
    problems += busy_problem(maintenance, request.database)
    warnings: list[str] = []
    proved = ready is not None and is_proved(plan, ready)
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
        changed=swap_too or not proved,
        before=before,
        after=after,
        backup=described(request, manifest),
        restore_id=request.restore_id or None,
        staged=plan.name if ready is not None else None,
        predecessor=kept or None,
        undo=_undo(request, kept) if swap_too else None,
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


def _swap_in(
    request: Request, maintenance: psycopg.Connection, manifest: Manifest, ready: Database
) -> tuple[Swapped, str]:
    databases = read_databases(maintenance)
    there = databases.get(request.database)
    restore_id = request.restore_id
    kept = free_name(databases, request.database, "before", restore_id) if there else ""
    properties = manifest.properties
    own = str(properties.get("comment") or "")
    if there:
        properties, own = read_properties(maintenance, request.database), there.comment
    at = utc(now())
    entry = Entry(
        LIVE,
        request.database,
        restore_id=restore_id,
        backup=manifest.id,
        digest=manifest.digest,
        at=at,
        by=restore_id,
        predecessor=kept,
        formerly=ready.name,
    )
    renames = [Rename(ready.oid, ready.name, request.database)]
    after = [comment_statement(request.database, own, entry)]
    if there:
        renames.insert(0, Rename(there.oid, request.database, kept))
        after.append(comment_statement(kept, there.comment, _kept(request, there, restore_id, at)))
    with request.progress.phase("swap"), request.pause():
        swapped = swap(
            request.login,
            request.maintenance,
            renames,
            before=adopt_statements(ready.name, properties),
            after=after,
            timeout=request.swap_timeout,
        )
    return swapped, kept


def _kept(request: Request, database: Database, by: str, at: str) -> Entry:
    """What the outgoing database says from now on: who made it stays, who displaced it is new."""
    was = database.entry or Entry(KEPT, request.database)
    return replace(
        was, role=KEPT, of=request.database, by=by, at=at, predecessor="", formerly="", facts={}
    )


def _target(request: Request, databases: t.Mapping[str, Database]) -> Database | None:
    """The kept database to bring back; None when it is live already."""
    there = databases.get(request.database)
    entry = there.entry if there and there.entry else Entry(LIVE, request.database)
    if entry.facts.get("returned") and _is_back(request, entry):
        return None
    wanted = request.predecessor
    if not wanted and not request.restore_id:
        wanted = entry.predecessor
        if not wanted:
            raise RefusedError(
                f"{request.database!r} was not brought there by a restore; there is nothing to go "
                "back to. Nothing was changed."
            )
    kept = of_database(databases, request.database, KEPT)
    found = [one for one in kept if (one.name == wanted if wanted else _displaced(request, one))]
    if not found:
        which = (
            f"database {wanted!r}" if wanted else f"predecessor of restore {request.restore_id!r}"
        )
        raise RefusedError(
            f"there is no {which} to go back to. Nothing was changed. Kept are: "
            f"{', '.join(one.name for one in kept) or 'none'}."
        )
    return found[0]


def _is_back(request: Request, entry: Entry) -> bool:
    """Whether what is wanted came back by an earlier run."""
    if request.predecessor:
        return entry.formerly == request.predecessor
    if request.restore_id:
        return entry.by == request.restore_id != entry.restore_id
    return True


def _displaced(request: Request, kept: Database) -> bool:
    """Whether the restore displaced this database, and did not make it."""
    entry = t.cast(Entry, kept.entry)
    return entry.by == request.restore_id != entry.restore_id


def _swap_back(
    request: Request, there: Database | None, target: Database, kept: str, restore_id: str
) -> Swapped:
    at = utc(now())
    entry = replace(
        t.cast(Entry, target.entry),
        role=LIVE,
        at=at,
        by=restore_id,
        predecessor=kept,
        formerly=target.name,
        facts={"returned": True},
    )
    renames = [Rename(target.oid, target.name, request.database)]
    after = [comment_statement(request.database, target.comment, entry)]
    if there:
        renames.insert(0, Rename(there.oid, request.database, kept))
        after.append(comment_statement(kept, there.comment, _kept(request, there, restore_id, at)))
    with request.progress.phase("swap"), request.pause():
        return swap(
            request.login,
            request.maintenance,
            renames,
            before=[],
            after=after,
            timeout=request.swap_timeout,
        )


def prune(request: Request, maintenance: psycopg.Connection, *, keep: int) -> list[str]:
    """Drop the oldest predecessors that are more than ``keep``; one in use is left alone."""
    kept = of_database(read_databases(maintenance), request.database, KEPT)
    busy = {
        oid for (oid,) in maintenance.execute("SELECT DISTINCT datid::int8 FROM pg_stat_activity")
    }
    removed = []
    for one in kept[keep:]:
        if one.oid in busy:
            continue
        with contextlib.suppress(psycopg.Error):
            maintenance.execute(f"DROP DATABASE {quoted(one.name)}")
            removed.append(one.name)
    return removed


def _undo(request: Request, kept: str, restore_id: str = "") -> dict[str, t.Any] | None:
    if not kept:
        return None
    return {
        "module": MODULE,
        "args": {
            "database": request.database,
            "state": "previous",
            "restore_id": restore_id or request.restore_id,
            "predecessor": kept,
        },
    }


def described(request: Request, manifest: Manifest) -> dict[str, t.Any]:
    return {
        "id": manifest.id,
        "path": str(request.backup),
        "label": manifest.label,
        "bytes": manifest.bytes,
        "finished": manifest.finished,
        "server_version": manifest.server_version,
    }


@contextlib.contextmanager
def readable_errors() -> t.Iterator[None]:
    """Turn what the driver raises into words; a lost server, too."""
    try:
        yield
    except psycopg.Error as exc:
        raise RollbackError(
            f"the server did not go along: {one_line(exc)}. What is live has not been exchanged by "
            "this step; run it again, it sees what is done."
        ) from exc


def timed(started: float) -> float:
    return round(time.monotonic() - started, 3)
