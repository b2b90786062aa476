# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Some rows of one table as a backup has them, in one transaction of the live database.

What was there before stays in a table of its own, which is also what an undo reads: a row for each
that was changed, removed or added.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

# ruff: noqa: S608 - names went through quoted(); the predicate is as the server wrote it

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._pg_content import (
    Content,
    algorithm_of,
    content,
    sums_query,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_kept import Kept
from ansible_collections.sre.rollback.plugins.module_utils._pg_rows import (
    ACTION,
    NOW,
    SCOPE,
    Rows,
    RowsError,
    columns,
    overwrite,
    row_text,
    same_key,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_catalog import (
    ForeignKey,
    Table,
    read_catalog,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_triggers import (
    disable_triggers,
    enable_triggers,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_tables import label
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    fit_name,
    one_line,
    quoted,
)

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

_SOURCE = "pg_temp." + quoted("rollback-playbook rows")
_EMPTY = {"changed": 0, "removed": 0, "added": 0}


def table_of(live: psycopg.Connection, rows: Rows) -> tuple[Table, tuple[ForeignKey, ...]]:
    """The table and who points at it; raises RowsError when its rows cannot be told apart."""
    catalog = read_catalog(live)
    table = catalog.tables.get((rows.schema, rows.table))
    if table is None:
        raise RowsError(
            f"there is no table {label(rows.schema, rows.table)} in the live database, or it is a "
            "partition (name its parent). Nothing was changed."
        )
    if has_children(live, rows):
        raise RowsError(
            f"other tables inherit from {label(rows.schema, rows.table)}, so its key does not tell "
            "its rows apart. Nothing was changed; name the tables that hold the rows."
        )
    if not table.keys:
        raise RowsError(
            f"table {label(rows.schema, rows.table)} has no primary key, so its rows cannot be "
            "told apart. Nothing was changed; restore the database, or merge by hand."
        )
    pointing = tuple(one for one in catalog.foreign_keys if one.parent == table.name)
    return table, pointing


def has_children(live: psycopg.Connection, rows: Rows) -> bool:
    """Whether other tables, not partitions, inherit from it."""
    row = live.execute(
        "SELECT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = %s::regclass AND NOT c.relispartition)",
        [rows.name],
    ).fetchone()
    return bool(row and row[0])


def restore_rows(
    live: psycopg.Connection,
    backup: psycopg.Connection,
    rows: Rows,
    *,
    restore_id: str,
    backup_id: str,
    lock_timeout: float,
    check: bool,
) -> Kept:
    """Make the rows what they are in ``backup``; what was kept. Raises RowsError.

    With ``check`` the differences are counted and all is rolled back.
    """
    try:
        with live.transaction(force_rollback=check):
            live.execute(f"SET LOCAL lock_timeout = {int(lock_timeout * 1000)}")
            table, pointing = table_of(live, rows)
            _refuse_othercolumns(table, backup, rows)
            if not check:
                live.execute(f"LOCK TABLE {rows.name} IN SHARE ROW EXCLUSIVE MODE")
            _fetch(live, backup, table, rows)
            counts = _differences(live, table, rows)
            kept = Kept(
                rows.schema,
                _free_name(live, rows, restore_id),
                restore_id,
                backup_id,
                label(rows.schema, rows.table),
                counts,
            )
            if check or not any(counts.values()):
                return kept
            _keep(live, kept)
            _refuse_cascades(live, kept, pointing)
            _apply(live, kept, table)
            _prove(live, backup, table, rows)
            return kept
    except psycopg.Error as exc:
        raise RowsError(
            f"the rows of {label(rows.schema, rows.table)} could not be restored: {one_line(exc)}. "
            "The transaction was rolled back; nothing was changed."
        ) from exc


def _refuse_othercolumns(table: Table, backup: psycopg.Connection, rows: Rows) -> None:
    there = read_catalog(backup).tables.get(table.name)
    if there is None:
        raise RowsError(
            f"the backup has no table {label(rows.schema, rows.table)}. Nothing was changed."
        )
    mine = {column.name: column.type for column in table.columns if not column.generated}
    others = {column.name: column.type for column in there.columns if not column.generated}
    differing = sorted(
        name for name in mine.keys() | others.keys() if mine.get(name) != others.get(name)
    )
    if differing:
        raise RowsError(
            f"columns of {label(rows.schema, rows.table)} are not the same in the live database "
            f"and in the backup: {', '.join(differing)}. Nothing was changed; migrate first."
        )


def _fetch(live: psycopg.Connection, backup: psycopg.Connection, table: Table, rows: Rows) -> None:
    names = ", ".join(quoted(name) for name in table.stored)
    live.execute(
        f"CREATE TEMPORARY TABLE {_SOURCE.split('.', 1)[1]} ON COMMIT DROP AS"
        f" SELECT {names}, NULL::text AS {ACTION}, NULL::text AS {NOW} FROM {rows.name}"
        " WITH NO DATA"
    )
    query = f"COPY (SELECT {names} FROM {rows.name} WHERE {rows.where}) TO STDOUT"
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(backup.cursor().copy(query))
        target = stack.enter_context(live.cursor().copy(f"COPY {_SOURCE} ({names}) FROM STDIN"))
        for block in source:
            target.write(block)
    key = ", ".join(quoted(name) for name in table.keys[0].columns)
    live.execute(f"CREATE UNIQUE INDEX ON {_SOURCE} ({key})")
    live.execute(f"ANALYZE {_SOURCE}")


def _differences(live: psycopg.Connection, table: Table, rows: Rows) -> dict[str, int]:
    """Mark what has to be done: the backup's rows say so themselves, live ones are added."""
    stored = ", ".join(quoted(name) for name in table.stored)
    key = table.keys[0]
    live.execute(
        f"UPDATE {_SOURCE} s SET {NOW} = {row_text(table, 's')}, {ACTION} = CASE"
        f" WHEN NOT EXISTS (SELECT FROM {rows.name} l WHERE {same_key(key, 'l', 's')})"
        " THEN 'added' ELSE 'same' END"
    )
    # In front of the backup's rows, those of the live table that they are to replace.
    live.execute(
        f"CREATE TEMPORARY TABLE {quoted('rollback-playbook old')} ON COMMIT DROP AS"
        f" SELECT {columns(table.stored, 'l')},"
        f" CASE WHEN s.{ACTION} IS NULL THEN 'removed' ELSE 'changed' END AS {ACTION},"
        f" s.{NOW} AS {NOW}"
        f" FROM (SELECT *, {rows.where} AS {SCOPE} FROM {rows.name}) l"
        f" LEFT JOIN {_SOURCE} s ON {same_key(key, 'l', 's')}"
        f" WHERE CASE WHEN s.{ACTION} IS NULL THEN l.{SCOPE}"
        f" ELSE {row_text(table, 'l')} <> s.{NOW} END",
    )
    live.execute(
        f"INSERT INTO pg_temp.{quoted('rollback-playbook old')}"
        f" SELECT {stored}, {ACTION}, {NOW} FROM {_SOURCE} WHERE {ACTION} = 'added'"
    )
    found = live.execute(
        f"SELECT {ACTION}, count(*) FROM pg_temp.{quoted('rollback-playbook old')} GROUP BY 1"
    )
    return {**_EMPTY, **dict(found)}


def _free_name(live: psycopg.Connection, rows: Rows, restore_id: str) -> str:
    number = 1
    while True:
        tail = f"__kept_{restore_id[-40:]}" + (f"_{number}" if number > 1 else "")
        name = fit_name(rows.table, tail)
        if (
            live.execute(
                "SELECT FROM pg_class WHERE relname = %s AND relnamespace = %s::regnamespace",
                [name, quoted(rows.schema)],
            ).fetchone()
            is None
        ):
            return name
        number += 1


def _keep(live: psycopg.Connection, kept: Kept) -> None:
    live.execute(
        f"CREATE TABLE {kept.name} AS SELECT * FROM pg_temp.{quoted('rollback-playbook old')}"
    )
    live.execute(kept.comment(undone=False))


def _refuse_cascades(
    live: psycopg.Connection, kept: Kept, pointing: t.Sequence[ForeignKey]
) -> None:
    """Rows of other tables that would silently go or change with the removed ones."""
    for one in pointing:
        if one.on_delete not in "cnd":
            continue
        pairs = " AND ".join(
            f"k.{quoted(parent)} {operator} c.{quoted(child)}"
            for parent, child, operator in zip(one.parent_columns, one.columns, one.operators)
        )
        row = live.execute(
            f"SELECT count(*) FROM {quoted(one.table[0])}.{quoted(one.table[1])} c WHERE EXISTS"
            f" (SELECT FROM {kept.name} k WHERE k.{ACTION} = 'removed' AND {pairs})"
        ).fetchone()
        if row and row[0]:
            raise RowsError(
                f"{row[0]} rows of {label(*one.table)} belong to rows of {kept.of} that the backup "
                "does not have, and would be deleted or changed with them. The transaction was "
                "rolled back; nothing was changed. Narrow the predicate, or restore those first."
            )


def _apply(live: psycopg.Connection, kept: Kept, table: Table) -> None:
    name = f"{quoted(table.name[0])}.{quoted(table.name[1])}"
    key = table.keys[0]
    triggers = disable_triggers(live, [table])
    live.execute(
        f"DELETE FROM {name} l USING {kept.name} k"
        f" WHERE k.{ACTION} = 'removed' AND {same_key(key, 'l', 'k')}"
    )
    overwrite(live, table, _SOURCE, f"s.{NOW} <> {row_text(table, 'l')}")
    stored = ", ".join(quoted(column) for column in table.stored)
    live.execute(
        f"INSERT INTO {name} ({stored}) OVERRIDING SYSTEM VALUE"
        f" SELECT {stored} FROM {_SOURCE} WHERE {ACTION} = 'added'"
    )
    enable_triggers(live, triggers)
    live.execute("SET CONSTRAINTS ALL IMMEDIATE")


def _prove(live: psycopg.Connection, backup: psycopg.Connection, table: Table, rows: Rows) -> None:
    found, wanted = (_content(one, table, rows) for one in (live, backup))
    if found != wanted:
        raise RowsError(
            f"after the restore, {found.rows} rows of {label(*table.name)} match the predicate, "
            f"and they are not the {wanted.rows} of the backup. The transaction was rolled back; "
            "nothing was changed."
        )


def _content(connection: psycopg.Connection, table: Table, rows: Rows) -> Content:
    fields = [f"{quoted(column)}::text" for column in table.stored]
    query = sums_query(
        f"{rows.name} WHERE {rows.where}", fields, algorithm_of(connection.info.server_version)
    )
    return content(connection.execute(query).fetchone())
