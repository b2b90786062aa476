# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a restore is asked for, what it answers, and what there is before and after.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import secrets
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._pg_integrity import Check, parse_checks
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import (
    KEPT,
    STAGED,
    Database,
    of_database,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import Manifest, now
from ansible_collections.sre.rollback.plugins.module_utils._pg_pgbouncer import Pooler, pooler_of
from ansible_collections.sre.rollback.plugins.module_utils._pg_preflight import RefusedError
from ansible_collections.sre.rollback.plugins.module_utils._pg_progress import Progress
from ansible_collections.sre.rollback.plugins.module_utils._pg_stage_plan import AMCHECK

MODULE = "sre.rollback.pg_restore_verified"


@dataclass(frozen=True)
class Request:
    """What the caller wants. The clients of ``pooler`` wait during the swap."""

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
    schema_only: bool = False
    table: str = ""
    predicate: str = ""
    pooler: Pooler | None = None


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
    rows: dict[str, t.Any] | None = None
    warnings: list[str] = field(default_factory=list)


def restoring_argument_spec() -> dict[str, t.Any]:
    """The options of the documentation fragment ``sre.rollback._restoring``."""
    return {
        "jobs": {"type": "int", "default": 2},
        "check_timeout": {"type": "float", "default": 60},
        "amcheck": {"type": "str", "choices": list(AMCHECK), "default": "indexes"},
        "keep_predecessors": {"type": "int", "default": 2},
        "keep_staged": {"type": "int", "default": 2},
        "accept": {
            "type": "list",
            "elements": "str",
            "choices": ["replication_slots", "publications", "subscriptions"],
            "default": [],
        },
        "swap_timeout": {"type": "float", "default": 30},
        "lock_timeout": {"type": "float", "default": 10},
        "maintenance_work_mem": {"type": "str", "default": "256MB"},
        "maintenance_db": {"type": "str", "default": "postgres"},
        "progress_path": {"type": "path"},
    }


def request_of(params: t.Mapping[str, t.Any], progress: Progress) -> Request:
    """Raises RollbackError for values that make no sense."""
    if params["jobs"] < 1 or params["keep_predecessors"] < 1 or params["keep_staged"] < 0:
        raise RefusedError(
            "jobs and keep_predecessors must be at least 1, keep_staged at least 0. Without a "
            "predecessor there is no way back. Nothing was changed."
        )
    if params["scope"] == "rows":
        _refuse_rows(params)
    backup = params["backup"]
    given = params["restore_id"]
    return Request(
        login=params,
        maintenance=maintenance_database(params["database"], params["maintenance_db"]),
        database=params["database"],
        backup=Path(backup) if backup else None,
        restore_id=given or ("" if params["state"] == "previous" else new_restore_id()),
        predecessor=params["predecessor"],
        jobs=params["jobs"],
        checks=parse_checks(params["checks"]),
        check_timeout=params["check_timeout"],
        amcheck=params["amcheck"],
        memory=params["maintenance_work_mem"],
        accept=params["accept"],
        keep_predecessors=params["keep_predecessors"],
        keep_staged=params["keep_staged"],
        swap_timeout=params["swap_timeout"],
        lock_timeout=params["lock_timeout"],
        progress=progress,
        schema_only=params["scope"] == "schema_only",
        table=params["table"],
        predicate=params["predicate"],
        pooler=pooler_of(params),
    )


def _refuse_rows(params: t.Mapping[str, t.Any]) -> None:
    if params["state"] not in ("live", "previous"):
        raise RefusedError(
            f"rows have no state {params['state']}, only live and previous. Nothing was changed."
        )
    if params["state"] == "live" and not (params["table"] and params["predicate"].strip()):
        raise RefusedError(
            "scope=rows needs a table and a predicate (true is all rows). Nothing was changed."
        )


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
        "live": None if live is None else origin(live),
        "staged": [one.name for one in of_database(databases, database, STAGED)],
        "predecessors": [one.name for one in of_database(databases, database, KEPT)],
    }


def origin(database: Database) -> dict[str, t.Any]:
    """Which database it is, and which restore made it."""
    entry = database.entry
    return {
        "oid": database.oid,
        "backup": entry.backup if entry else "",
        "restore_id": entry.restore_id if entry else "",
    }


def undo_of(request: Request, kept: str, restore_id: str = "") -> dict[str, t.Any] | None:
    """The arguments that bring back the database ``kept``."""
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
    """The backup, as the module returns it."""
    return {
        "id": manifest.id,
        "path": str(request.backup),
        "label": manifest.label,
        "bytes": manifest.bytes,
        "finished": manifest.finished,
        "server_version": manifest.server_version,
    }
