# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two ways to a version: SQL files of a directory, or a command of the application.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_plan import (
    ZERO,
    Plan,
    applied_up_to,
    make_plan,
    read_files,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_run import (
    MigrationFailedError,
    run_plan,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_state import (
    CURRENT,
    History,
    columns_nobody_fills,
    read_state,
)

if t.TYPE_CHECKING:
    import psycopg

    # AnsibleModule.run_command with a list: return code, standard output, standard error.
    RunCommand = t.Callable[..., t.Tuple[int, str, str]]

_MODULE = "sre.rollback.pg_migrate"
_KEPT_FOR_UNDO = (
    "database",
    "directory",
    "command",
    "undo_command",
    "chdir",
    "down_pattern",
    "up_pattern",
    "table",
    "column",
    "query",
    "history",
    "lock_timeout",
)
_LINES_SHOWN = 20


def by_files(
    connection: psycopg.Connection, history: History, params: t.Mapping[str, t.Any], *, check: bool
) -> dict[str, t.Any]:
    """Reach the target with the files of ``directory``; the module's result."""
    files = read_files(
        Path(params["directory"]),
        down_pattern=params["down_pattern"],
        up_pattern=params["up_pattern"],
    )
    state = read_state(connection, history)
    applied = applied_up_to(files, state) if history.kind == CURRENT else tuple(state)
    plan = make_plan(applied, params["target"], files)
    if check:
        ran = [step.migration.as_dict() for step in plan.steps]
    else:
        lock_timeout = params["lock_timeout"]
        done = run_plan(connection, history, plan, lock_timeout=lock_timeout)
        ran = [each.as_dict() for each in done]
    reason = _no_way_back(connection, history, plan)
    after = plan.steps[-1].applied if plan.steps else plan.applied
    return {
        "changed": bool(plan.steps),
        "before": _state(plan.applied),
        "after": _state(after),
        "direction": plan.steps[0].migration.direction if plan.steps else None,
        "ran": ran,
        **_undo(params, plan.applied, reason if plan.steps else None),
    }


def _no_way_back(connection: psycopg.Connection, history: History, plan: Plan) -> str:
    if plan.no_way_back or not plan.steps or plan.steps[0].migration.direction == "up":
        return plan.no_way_back
    unfilled = columns_nobody_fills(connection, history)
    if unfilled:
        return f"{history.relation} wants a value for {', '.join(unfilled)} in every row"
    return ""


def by_command(
    connection: psycopg.Connection,
    history: History,
    params: t.Mapping[str, t.Any],
    run_command: RunCommand,
    *,
    check: bool,
) -> dict[str, t.Any]:
    """Reach the target with ``command``; the module's result. Raises MigrationFailedError."""
    target = params["target"]
    before = read_state(connection, history)
    reached = is_at(before, target)
    if reached:
        after = before
    elif check:
        after = [] if target == ZERO else [target]
    else:
        after = _run_command(connection, history, params, run_command)
    reason = "" if params["undo_command"] else "no undo_command was given"
    swapped = {
        **params,
        "command": params["undo_command"],
        "undo_command": params["command"],
    }
    return {
        "changed": not reached,
        "before": _state(before),
        "after": _state(after),
        "direction": None,
        "ran": [],
        **_undo(swapped, before, None if reached else reason),
    }


def _run_command(
    connection: psycopg.Connection,
    history: History,
    params: t.Mapping[str, t.Any],
    run_command: RunCommand,
) -> list[str]:
    status, out, err = run_command(params["command"], cwd=params["chdir"])
    after = read_state(connection, history)
    output = "\n".join(f"{out}\n{err}".split("\n")[-_LINES_SHOWN:]).strip()
    newest = after[-1] if after else "nothing"
    if status:
        raise MigrationFailedError(
            f"{params['command'][0]} ended with {status}. Newest applied version now: {newest}. "
            "Look at its output, and run the same again when the cause is gone.",
            output=output,
        )
    if not is_at(after, params["target"]):
        raise MigrationFailedError(
            f"{params['command'][0]} ended well, but the newest applied version is {newest} and "
            f"not {params['target']}. Check `command` and where the state is read from.",
            output=output,
        )
    return after


def is_at(applied: t.Sequence[str], target: str) -> bool:
    """Whether ``target`` is the newest of ``applied``."""
    return list(applied[-1:]) == ([] if target == ZERO else [target])


def _state(applied: t.Sequence[str]) -> dict[str, t.Any]:
    return {"applied": list(applied), "newest": applied[-1] if applied else None}


def _undo(
    params: t.Mapping[str, t.Any], before: t.Sequence[str], reason: str | None
) -> dict[str, t.Any]:
    """``undo`` and ``undo_reason``; ``reason`` is None when nothing changed."""
    if reason is None or reason:
        return {"undo": None, "undo_reason": reason}
    args = {name: params[name] for name in _KEPT_FOR_UNDO if params[name] is not None}
    target = before[-1] if before else ZERO
    return {"undo": {"module": _MODULE, "args": {**args, "target": target}}, "undo_reason": None}
