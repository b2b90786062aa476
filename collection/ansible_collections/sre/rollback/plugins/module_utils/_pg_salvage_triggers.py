# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The users' triggers of a table, off for the length of a transaction.

A row that is brought back was seen by its triggers when it was written. Firing them again would
write it differently and repeat what they did elsewhere. The triggers behind foreign keys stay on.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._postgres import quoted

if t.TYPE_CHECKING:
    import psycopg

    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import Table

# The parent before its partitions: enabling a trigger there may reach the partitions' (before
# PostgreSQL 15), whose own setting then comes last.
_TRIGGERS = """
SELECT n.nspname, c.relname, g.tgname, g.tgenabled::text
  FROM (SELECT %(table)s::regclass AS relid, 0 AS level
        UNION SELECT p.relid, p.level FROM pg_partition_tree(%(table)s::regclass) p) r
  JOIN pg_trigger g ON g.tgrelid = r.relid
  JOIN pg_class c ON c.oid = r.relid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT g.tgisinternal AND g.tgenabled <> 'D'
 ORDER BY r.level, n.nspname, c.relname, g.tgname
"""

_ENABLE = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}


@dataclass(frozen=True)
class Trigger:
    """A trigger and how it is enabled (pg_trigger.tgenabled)."""

    schema: str
    table: str
    name: str
    enabled: str

    def alter(self, action: str) -> str:
        """The statement that sets it, for this table alone."""
        table = f"{quoted(self.schema)}.{quoted(self.table)}"
        return f"ALTER TABLE ONLY {table} {action} TRIGGER {quoted(self.name)}"


def disable_triggers(writer: psycopg.Connection, tables: t.Iterable[Table]) -> list[Trigger]:
    """Turn off the triggers of ``tables`` and return them for :func:`enable_triggers`.

    Both belong into one transaction, so that a rollback or a crash leaves them as they were.
    """
    triggers = []
    for table in tables:
        name = f"{quoted(table.name[0])}.{quoted(table.name[1])}"
        rows = writer.execute(_TRIGGERS, {"table": name}).fetchall()
        triggers.extend(Trigger(*row) for row in rows)
    for trigger in triggers:
        writer.execute(trigger.alter("DISABLE"))
    return triggers


def enable_triggers(writer: psycopg.Connection, triggers: t.Iterable[Trigger]) -> None:
    """Put the triggers back as they were."""
    for trigger in triggers:
        writer.execute(trigger.alter(_ENABLE[trigger.enabled]))
