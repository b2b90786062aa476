# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rows that a restore replaced, put back from the table in which it kept them.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

# ruff: noqa: S608 - every name in a statement went through quoted()

from __future__ import annotations

import contextlib

from ansible_collections.sre.rollback.plugins.module_utils._pg_kept import Kept
from ansible_collections.sre.rollback.plugins.module_utils._pg_rows import (
    ACTION,
    NOW,
    SCOPE,
    RowsError,
    overwrite,
    row_text,
    same_key,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import (
    Table,
    read_catalog,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_triggers import (
    disable_triggers,
    enable_triggers,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_tables import label
from ansible_collections.sre.rollback.plugins.module_utils._postgres import one_line, quoted

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg


def undo_rows(live: psycopg.Connection, kept: Kept, *, lock_timeout: float, check: bool) -> None:
    """Put back what was kept, unless somebody changed it since. Raises RowsError."""
    try:
        with live.transaction(force_rollback=check):
            live.execute(f"SET LOCAL lock_timeout = {int(lock_timeout * 1000)}")
            table = _table_named(live, kept)
            name = f"{quoted(table.name[0])}.{quoted(table.name[1])}"
            live.execute(f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE")
            _refuse_changed_since(live, kept, table, name)
            triggers = disable_triggers(live, [table])
            stored = ", ".join(quoted(column) for column in table.stored)
            key = table.keys[0]
            live.execute(
                f"DELETE FROM {name} l USING {kept.name} k"
                f" WHERE k.{ACTION} = 'added' AND {same_key(key, 'l', 'k')}"
            )
            overwrite(live, table, kept.name, f"s.{ACTION} = 'changed'")
            live.execute(
                f"INSERT INTO {name} ({stored}) OVERRIDING SYSTEM VALUE"
                f" SELECT {stored} FROM {kept.name} WHERE {ACTION} = 'removed'"
            )
            enable_triggers(live, triggers)
            live.execute("SET CONSTRAINTS ALL IMMEDIATE")
            live.execute(kept.comment(undone=True))
    except psycopg.Error as exc:
        raise RowsError(
            f"the rows of {kept.of} could not be put back: {one_line(exc)}. The transaction was "
            "rolled back; nothing was changed."
        ) from exc


def _table_named(live: psycopg.Connection, kept: Kept) -> Table:
    for name, table in read_catalog(live).tables.items():
        if label(*name) == kept.of and table.keys:
            return table
    raise RowsError(f"table {kept.of} is not there any more, or has no key. Nothing was changed.")


def _refuse_changed_since(live: psycopg.Connection, kept: Kept, table: Table, name: str) -> None:
    key = table.keys[0]
    columns = ", ".join(f"k.{quoted(column)}::text" for column in key.columns)
    found = live.execute(
        f"SELECT concat_ws(', ', {columns}) FROM {kept.name} k"
        f" LEFT JOIN (SELECT *, true AS {SCOPE} FROM {name}) l ON {same_key(key, 'l', 'k')}"
        f" WHERE CASE k.{ACTION} WHEN 'removed' THEN l.{SCOPE} IS NOT NULL"
        f" ELSE {row_text(table, 'l')} IS DISTINCT FROM k.{NOW} OR l.{SCOPE} IS NULL END LIMIT 20"
    ).fetchall()
    if found:
        keys = "; ".join(str(one) for (one,) in found)
        raise RowsError(
            f"rows of {kept.of} were written to since they were restored: {keys}. Nothing was "
            f"changed; what they were is in {kept.label}.",
            conflicts=[str(one) for (one,) in found],
        )
