# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Some rows of one table: which, and how they are told apart, compared and overwritten.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_content import SESSION
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import Key, Table
from ansible_collections.sre.rollback.plugins.module_utils._postgres import connect, quoted

if t.TYPE_CHECKING:
    import psycopg

# What has to be done with a kept row, and what it is from then on.
ACTION = quoted("rollback-playbook action")
NOW = quoted("rollback-playbook now")
SCOPE = quoted("rollback-playbook in scope")


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


def session(login: t.Mapping[str, t.Any], database: str, encoding: str) -> psycopg.Connection:
    """A session that writes values as any other does."""
    settings = {"client_encoding": encoding, "default_transaction_read_only": "off"}
    return connect(login, database, settings={**SESSION, **settings})


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
