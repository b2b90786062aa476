# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may be merged at all: which databases, which tables, and what to say about the others.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import (
    STAGED,
    STAGING,
    read_databases,
)

if t.TYPE_CHECKING:
    import psycopg

    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_pairs import Pair
    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_words import Compared


class NotMergeableError(RollbackError):
    """A table that was asked for by name, or a database, that nothing can be merged into."""


@dataclass(frozen=True)
class Left:
    """A table whose rows are not merged, and why."""

    compared: Compared
    reason: str

    def as_dict(self) -> dict[str, t.Any]:
        """The table in the module's result."""
        return {
            "table": self.compared.pair.label,
            "rows": self.compared.counts.added,
            "reason": self.reason,
        }


def refuse_staged(connection: psycopg.Connection, reference: str) -> None:
    """A staged database was proved to be the backup, and is swapped in on the strength of that."""
    there = read_databases(connection).get(reference)
    entry = there.entry if there else None
    if entry is not None and entry.role in (STAGING, STAGED):
        raise NotMergeableError(
            f"{reference!r} is a backup restored aside and waits to be swapped in as {entry.of!r}. "
            "Nothing was changed. Merge after the swap, before users are let in again."
        )


def unmergeable(pair: Pair, reference: str) -> str | None:
    """Why rows of ``pair`` cannot be merged; None when they can."""
    if pair.reference is None:
        return f"{reference} has no such table"
    if pair.database is None:
        return "only the reference has it"
    if pair.key is None:
        return "it has no key that both databases share, so nothing tells its rows apart"
    missing = [
        column.name
        for column in pair.reference.columns
        if column.name not in pair.columns
        and column.not_null
        and not column.has_default
        and not column.generated
    ]
    if missing:
        return f"{reference} wants a value for {', '.join(missing)}, which the database has not"
    return None


def refuse_named(left: t.Sequence[Left], tables: t.Sequence[str]) -> None:
    """Raise NotMergeableError when ``left`` are tables that were asked for."""
    if left and tables:
        reasons = "; ".join(f"{each.compared.pair.label}: {each.reason}" for each in left)
        raise NotMergeableError(
            f"cannot merge what `tables` names: {reasons}. Nothing was changed. Take them out of "
            "`tables`; state=exported keeps their rows.",
            not_merged=[each.as_dict() for each in left],
        )
