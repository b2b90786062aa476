# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Some rows of one table: which, and the table in which those are kept that were there before.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import json
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_content import SESSION, label
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import Key, Table
from ansible_collections.sre.rollback.plugins.module_utils._pg_swap import literal
from ansible_collections.sre.rollback.plugins.module_utils._postgres import connect, quoted

if t.TYPE_CHECKING:
    import psycopg

# What has to be done with a kept row, and what it is from then on.
ACTION = quoted("rollback-playbook action")
NOW = quoted("rollback-playbook now")
SCOPE = quoted("rollback-playbook in scope")
_MARK = "rollback-playbook: "


class RowsError(RollbackError):
    """The rows are as they were."""


@dataclass(frozen=True)
class Rows:
    """Which rows: those of a table for which a condition holds, as the server wrote it back."""

    schema: str
    table: str
    predicate: str

    @property
    def name(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.table)}"

    @property
    def where(self) -> str:
        return f"({self.predicate})"


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


def session(login: t.Mapping[str, t.Any], database: str, encoding: str) -> psycopg.Connection:
    """A session that writes values as any other does."""
    settings = {"client_encoding": encoding, "default_transaction_read_only": "off"}
    return connect(login, database, settings={**SESSION, **settings})


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


def columns(names: t.Iterable[str], alias: str) -> str:
    """The columns of the row ``alias``."""
    return ", ".join(f"{alias}.{quoted(name)}" for name in names)


def same_key(key: Key, left: str, right: str) -> str:
    """The condition that two rows have the same key."""
    return " AND ".join(
        f"{left}.{quoted(column)} {operator} {right}.{quoted(column)}"
        for column, operator in zip(key.columns, key.operators)
    )


def row_text(table: Table, alias: str) -> str:
    """A row as text, the only form in which every type can be compared."""
    return f"ROW({columns(table.stored, alias)})::text"


def overwrite(live: psycopg.Connection, table: Table, source: str, condition: str) -> None:
    """UPDATE the rows ``l`` of the table from those of ``source`` (``s``) with the same key."""
    key = table.keys[0]
    settable = [
        column.name
        for column in table.columns
        if not column.generated and column.identity != "a" and column.name not in key.columns
    ]
    if settable:
        changes = ", ".join(f"{quoted(column)} = s.{quoted(column)}" for column in settable)
        live.execute(
            f"UPDATE {quoted(table.name[0])}.{quoted(table.name[1])} l SET {changes}"  # noqa: S608
            f" FROM {source} s WHERE {same_key(key, 'l', 's')} AND {condition}"
        )
