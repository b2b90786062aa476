# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One table of a backup restored into a scratch database, and proved there.

The definitions of everything are restored, because the table may need any of them; rows of nothing
else are.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import asdict, replace

from ansible_collections.sre.rollback.plugins.module_utils._pg_content import read_contents
from ansible_collections.sre.rollback.plugins.module_utils._pg_prove import (
    NotProvedError,
    session_settings,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_rows import Rows, RowsError
from ansible_collections.sre.rollback.plugins.module_utils._pg_stage import (
    StageError,
    aside,
    restore_into,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_stage_plan import Plan
from ansible_collections.sre.rollback.plugins.module_utils._pg_tables import read_tables
from ansible_collections.sre.rollback.plugins.module_utils._postgres import connect, one_line

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_progress import Progress
    from ansible_collections.sre.rollback.plugins.module_utils._pg_tables import Table

_UNTOUCHED = "The live database was not touched."
_CHECK = "rollback-playbook predicate"

# The table itself, or the partitions that hold its rows.
_LEAVES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND (c.oid = %(table)s::regclass
  OR c.oid IN (SELECT relid FROM pg_partition_tree(%(table)s::regclass)))
"""

# What a predicate calls that may look at other rows than the one it is asked about.
_CALLS = """
SELECT DISTINCT p.oid::regprocedure::text FROM pg_constraint k
JOIN pg_depend d ON d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
JOIN pg_proc p ON p.oid = CASE d.refclassid
  WHEN 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode::oid END
WHERE k.conrelid = %(table)s::regclass AND k.conname = %(name)s AND p.provolatile <> 'i'
ORDER BY 1
"""


@contextlib.contextmanager
def table_aside(
    plan: Plan, maintenance: psycopg.Connection, rows: Rows, progress: Progress
) -> t.Iterator[tuple[psycopg.Connection, Rows]]:
    """A session in the scratch database, and ``rows`` with a predicate that can be trusted.

    Raises RollbackError; the live database was not touched then. The scratch database is dropped.
    """
    with aside(plan, maintenance):
        try:
            with progress.phase("restore"):
                restore_into(plan, maintenance, progress, ["--section=pre-data"])
                with connect(plan.login, plan.name) as looking:
                    leaves = _leaves(looking, plan, rows)
                restore_into(plan, maintenance, progress, _data_of(leaves))
            with connect(
                plan.login, plan.name, settings=session_settings(plan.manifest)
            ) as session:
                with progress.phase("prove"):
                    _prove(session, plan, leaves)
                with connect(plan.login, plan.name) as parsing:
                    predicate = written_back(parsing, rows)
                yield session, replace(rows, predicate=predicate)
        except psycopg.Error as exc:
            raise StageError(
                f"the table could not be restored: {one_line(exc)}. {_UNTOUCHED}"
            ) from exc


def _leaves(connection: psycopg.Connection, plan: Plan, rows: Rows) -> list[Table]:
    row = connection.execute("SELECT to_regclass(%s) IS NULL", [rows.name]).fetchone()
    if row is None or row[0]:
        raise RowsError(f"backup {plan.manifest.id} has no table {rows.name}. Nothing was changed.")
    wanted = set(connection.execute(_LEAVES, {"table": rows.name}).fetchall())
    return [one for one in read_tables(connection) if (one.schema, one.name) in wanted]


def _data_of(leaves: t.Sequence[Table]) -> list[str]:
    # Each word is taken as it is, not as a pattern.
    schemas = sorted({one.schema for one in leaves})
    return [
        "--section=data",
        *(f"--schema={name}" for name in schemas),
        *(f"--table={one.name}" for one in leaves),
    ]


def _prove(session: psycopg.Connection, plan: Plan, leaves: t.Sequence[Table]) -> None:
    found = read_contents([session], leaves, plan.manifest.algorithm)
    for name, one in found.items():
        wanted = plan.manifest.tables.get(name, {})
        if any(wanted.get(key) != value for key, value in asdict(one).items()):
            raise NotProvedError(
                f"{name}, restored, has {one.rows} rows that are not those of backup "
                f"{plan.manifest.id} ({wanted.get('rows')}). {_UNTOUCHED}"
            )


def written_back(connection: psycopg.Connection, rows: Rows) -> str:
    """The predicate as the server understood it: one expression about one row.

    The server parses it as a check constraint, where it may not ask other rows, and in a second
    place, where what would end the first one early is no SQL. What it understood is what is used.
    Raises RowsError.
    """
    given = f"(\n{rows.predicate}\n)"
    names = {"table": rows.name, "name": _CHECK}
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(
                f'ALTER TABLE {rows.name} ADD CONSTRAINT "{_CHECK}" CHECK {given} NOT VALID',
                prepare=True,
            )
            connection.execute("SET LOCAL search_path = ''")
            row = connection.execute(
                "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint"
                " WHERE conrelid = %(table)s::regclass AND conname = %(name)s",
                names,
            ).fetchone()
            calls = [name for (name,) in connection.execute(_CALLS, names)]
        with connection.transaction(force_rollback=True):
            connection.execute(
                f"SELECT CASE WHEN {given} THEN 1 END FROM {rows.name} LIMIT 0",  # noqa: S608
                prepare=True,
            )
    except psycopg.Error as exc:
        raise RowsError(
            f"the predicate is not one expression about a row of {rows.name}: {one_line(exc)}. "
            "Nothing was changed."
        ) from exc
    if calls:
        raise RowsError(
            f"the predicate calls {', '.join(calls)}, which may look at other rows than those of "
            f"{rows.name}. Nothing was changed; say it without."
        )
    return str(t.cast("tuple[t.Any, ...]", row)[0])
