# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The states of pg_salvage that write to the reference: merged and unmerged.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import read_catalog
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_compare import (
    Counts,
    compare,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_folder import (
    NewFolder,
    read_index,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_inverse import write_inverse
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_merge import (
    MERGE,
    Merged,
    MergeUnknownError,
    Target,
    apply,
    decide,
    locked_transaction,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_scope import (
    Left,
    refuse_named,
    refuse_staged,
    unmergeable,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_sequences import (
    Advance,
    advances,
    read_sequences,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_session import (
    Session,
    identify,
    newer_columns,
    open_session,
    open_writer,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_staging import (
    Staged,
    stage,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_states import (
    Result,
    comparison_result,
    differences,
    now,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_undo import take_back
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_words import (
    Compared,
    rows_words,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import connect

_MODULE = "sre.rollback.pg_salvage"


class WrongDatabaseError(RollbackError):
    """A merge was to be taken back in a database that it was not made in."""


def merged(params: t.Mapping[str, t.Any], *, check: bool) -> Result:
    """Bring rows of the database into the reference, in one transaction."""
    with connect(params, params["database"]) as outside:
        refuse_staged(outside, params["reference"])
    with open_session(params) as session, open_writer(params) as writer:
        newer = newer_columns(session.pairs, params["newer_by"] or {})
        compared, staged, left = [], [], []
        for number, pair in enumerate(session.pairs):
            reason = unmergeable(pair, params["reference"])
            if reason is not None:
                compared.append(Compared(pair, compare(pair, session.sides)))
                left.append(Left(compared[-1], reason))
                continue
            newer_by = newer.get(pair.name)
            counts, rows = stage(
                writer,
                pair,
                session.sides,
                number=number,
                newer_by=newer_by,
                keep_differing=params["differing"] == "keep",
            )
            compared.append(Compared(pair, counts))
            staged += [] if rows is None else [rows]
        left = [each for each in left if each.compared.counts.added]
        refuse_named(left, params["tables"])
        target = Target(writer, session.reference, session.catalog, params["lock_timeout"])
        done = _merge(_Merging(session, target, staged, params, check))
    return _merge_result(params, compared, left, done, check=check)


@dataclass(frozen=True)
class _Merging:
    """All that a merge needs."""

    session: Session
    target: Target
    staged: t.Sequence[Staged]
    params: t.Mapping[str, t.Any]
    check: bool

    def moves(self) -> list[Advance]:
        """The sequences to advance, as they are now: they went on while rows were compared."""
        included = {pair.name for pair in self.session.pairs}
        return advances(
            self.session.sequences,
            read_sequences(self.target.writer),
            left_out=lambda table: table not in included,
        )

    def facts(self) -> Result:
        """What the folder of the inverse says about the merge."""
        options = (
            "database",
            "reference",
            "tables",
            "exclude",
            "policy",
            "newer_by",
            "differing",
            "dest",
        )
        return {
            "kind": MERGE,
            "created": now(),
            "args": {name: self.params[name] for name in options if self.params[name]},
            "into": identify(self.target.writer).as_dict(),
        }


@dataclass(frozen=True)
class _Done:
    """What a merge did, or in check mode would have done."""

    merged: t.Sequence[Merged]
    moves: t.Sequence[Advance]
    folder: NewFolder | None


def _merge(merging: _Merging) -> _Done:
    if not merging.staged:
        return _Done((), (), None)
    target, check = merging.target, merging.check
    name = merging.params["merge_id"]
    folder = NewFolder(Path(merging.params["dest"]), MERGE, name=name, pretend=check)
    facts = merging.facts()
    try:
        with locked_transaction(target, [each.table for each in merging.staged], check=check):
            done = [each for each in decide(target, merging.staged) if each.changed]
            moves = merging.moves() if done else []
            if done and not check:
                tables = write_inverse(target, done, folder)
                apply(target, done, moves)
                folder.publish({**facts, "id": folder.id, "tables": tables})
    except MergeUnknownError:
        raise
    except BaseException:
        folder.discard()
        raise
    if not done:
        folder.discard()
    return _Done(done, moves, folder if done else None)


def _merge_result(
    params: t.Mapping[str, t.Any],
    compared: t.Sequence[Compared],
    left: t.Sequence[Left],
    done: _Done,
    *,
    check: bool,
) -> Result:
    merged_rows = {each.staged.pair.name: each for each in done.merged}
    remaining = [
        replace(each, counts=_after(each.counts, merged_rows.get(each.pair.name)))
        for each in compared
    ]
    merge = {"id": done.folder.id, "path": str(done.folder.path)} if done.folder else None
    return {
        **comparison_result(compared),
        "changed": merge is not None,
        "summary": _merge_summary(params["reference"], done, remaining, check=check),
        "merge": merge,
        "merged": [each.result() for each in done.merged],
        "not_merged": [each.as_dict() for each in left],
        "sequences": [move.as_dict() for move in done.moves],
        "before": {"differences": differences(compared)},
        "after": {"differences": differences(remaining)},
        **_undo(params, merge, check=check),
    }


def _undo(
    params: t.Mapping[str, t.Any], merge: t.Mapping[str, str] | None, *, check: bool
) -> dict[str, t.Any]:
    """How the merge is taken back. Foretold, its folder is known only when it was named."""
    if merge is None:
        return {"undo": None}
    if check and params["merge_id"] is None:
        return {"undo": None, "undo_reason": "what takes it back is named when it is merged"}
    args = {
        "state": "unmerged",
        "database": params["database"],
        "reference": params["reference"],
        "merge": merge["path"],
    }
    return {"undo": {"module": _MODULE, "args": args}}


def _after(counts: Counts, done: Merged | None) -> Counts:
    if done is None:
        return counts
    return Counts(counts.added - done.inserted, counts.changed - done.updated, counts.removed)


def _merge_summary(
    reference: str, done: _Done, remaining: t.Sequence[Compared], *, check: bool
) -> str:
    would = "would be" if check else "were"
    inserted = rows_words([(each.staged.pair, each.inserted) for each in done.merged])
    updated = rows_words([(each.staged.pair, each.updated) for each in done.merged])
    kept = rows_words([(each.pair, each.counts.changed) for each in remaining])
    parts = []
    if inserted:
        parts.append(f"{inserted} {would} brought into {reference}")
    if updated:
        parts.append(f"{updated} {would} replaced by their newer version")
    if not parts:
        parts.append(f"nothing to merge into {reference}")
    if kept:
        parts.append(f"{kept} that differ stay as they are in {reference}")
    return "; ".join(parts)


def unmerged(params: t.Mapping[str, t.Any], *, check: bool) -> Result:
    """Take back the merge whose folder is ``merge``."""
    path = Path(params["merge"])
    index = read_index(path, MERGE)
    with open_writer(params) as writer:
        if identify(writer).as_dict() != index["into"]:
            raise WrongDatabaseError(
                f"the merge {index['id']} was not made into the database that is called "
                f"{params['reference']!r} now; it may have been swapped since. Nothing was "
                "changed. Name the database it was made into as `reference`."
            )
        target = Target(writer, params["reference"], read_catalog(writer), params["lock_timeout"])
        tables = take_back(target, index, path, check=check)
    rows = sum(each["deleted"] + each["restored"] for each in tables)
    would = "would be" if check else "were"
    words = "1 row" if rows == 1 else f"{rows:,} rows"
    return {
        "changed": rows > 0,
        "summary": f"{words} of merge {index['id']} {would} taken back from {params['reference']}"
        if rows
        else f"nothing of merge {index['id']} is left to take back",
        "unmerged": tables,
        "before": {
            "merged": {each["table"]: each["deleted"] + each["restored"] for each in tables}
        },
        "after": {"merged": {each["table"]: 0 for each in tables}},
        "undo": {"module": _MODULE, "args": {**index["args"], "state": "merged"}} if rows else None,
    }
