# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table in which a restore of rows kept those that were there before; its comment says so.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import json
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._pg_swap import literal
from ansible_collections.sre.rollback.plugins.module_utils._pg_tables import label
from ansible_collections.sre.rollback.plugins.module_utils._postgres import quoted

if t.TYPE_CHECKING:
    import psycopg

_MARK = "rollback-playbook: "
#: Of a table ``c`` of pg_class: it holds what users wrote, not what a restore kept of that.
NOT_KEPT = f"NOT coalesce(starts_with(obj_description(c.oid, 'pg_class'), '{_MARK}'), false)"


@dataclass(frozen=True)
class Kept:
    """A table of rows as they were before a restore, as its comment tells."""

    schema: str
    table: str
    restore_id: str
    backup: str
    of: str
    counts: dict[str, int]
    undone: bool = False

    @property
    def name(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.table)}"

    @property
    def label(self) -> str:
        return label(self.schema, self.table)

    def comment(self, *, undone: bool) -> str:
        said = {
            "restore_id": self.restore_id,
            "backup": self.backup,
            "of": self.of,
            "counts": self.counts,
            "undone": undone,
        }
        text = _MARK + json.dumps(said, ensure_ascii=False, sort_keys=True)
        return f"COMMENT ON TABLE {self.name} IS {literal(text)}"


def find_kept(live: psycopg.Connection, restore_id: str) -> Kept | None:
    """The newest table of rows that this restore kept."""
    rows = live.execute(
        "SELECT n.nspname, c.relname, d.description FROM pg_description d"
        " JOIN pg_class c ON c.oid = d.objoid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE d.classoid = 'pg_class'::regclass AND d.objsubid = 0"
        " AND starts_with(d.description, %s) ORDER BY c.oid DESC",
        [_MARK],
    ).fetchall()
    for schema, table, description in rows:
        with contextlib.suppress(ValueError, TypeError):
            kept = Kept(schema, table, **json.loads(description[len(_MARK) :]))
            if kept.restore_id == restore_id:
                return kept
    return None
