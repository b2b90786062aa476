# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is to be known of a database beside its objects: properties, sequences, what it needs.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._pg_tables import label
from ansible_collections.sre.rollback.plugins.module_utils._postgres import quoted

if t.TYPE_CHECKING:
    import psycopg

# The locale provider came with 15, its locale moved with 17.
_PROPERTIES = """
SELECT pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS collate, d.datctype AS ctype,
  to_jsonb(d) ->> 'datlocprovider' AS provider,
  coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
  to_jsonb(d) ->> 'daticurules' AS icu_rules,
  pg_get_userbyid(d.datdba) AS owner, s.spcname AS tablespace,
  d.datconnlimit AS connection_limit, d.datistemplate AS template,
  shobj_description(d.oid, 'pg_database') AS comment
FROM pg_database d JOIN pg_tablespace s ON s.oid = d.dattablespace
WHERE d.datname = coalesce(%s, current_database())
"""

_SETTINGS = """
SELECT coalesce(r.rolname, '') AS role, s.setconfig
FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = coalesce(%s, current_database()))
ORDER BY 1
"""

_GRANTS = """
SELECT coalesce(r.rolname, ''), x.privilege_type, x.is_grantable
FROM pg_database d CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) x
LEFT JOIN pg_roles r ON r.oid = x.grantee
WHERE d.datname = coalesce(%s, current_database()) ORDER BY 1, 2
"""

# Everyone who owns something here, is granted something, or is named in a policy.
_ROLES = """
-- What the bootstrap superuser owns is not in pg_shdepend.
SELECT DISTINCT r.rolname FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
WHERE d.refclassid = 'pg_authid'::regclass AND r.rolname NOT LIKE 'pg\\_%'
  AND (SELECT oid FROM pg_database WHERE datname = current_database())
    IN (d.dbid, CASE d.classid WHEN 'pg_database'::regclass THEN d.objid END)
UNION
SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()
UNION
SELECT r.rolname FROM (
  SELECT relowner AS o, oid FROM pg_class UNION SELECT nspowner, oid FROM pg_namespace
  UNION SELECT proowner, oid FROM pg_proc UNION SELECT typowner, oid FROM pg_type) s
JOIN pg_roles r ON r.oid = s.o WHERE s.oid >= 16384 AND r.rolname NOT LIKE 'pg\\_%'
ORDER BY 1
"""

_TABLESPACES = """
SELECT DISTINCT s.spcname FROM pg_class c JOIN pg_tablespace s ON s.oid = c.reltablespace
WHERE s.spcname NOT IN ('pg_default', 'pg_global') ORDER BY 1
"""

_SEQUENCES = """
SELECT n.nspname, c.relname
FROM pg_sequence q JOIN pg_class c ON c.oid = q.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
    AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""

_SEQUENCES_AT_ONCE = 200


def read_properties(
    connection: psycopg.Connection, database: str | None = None
) -> dict[str, t.Any]:
    """What CREATE DATABASE and ALTER DATABASE set; of this database or of another one."""
    cursor = connection.execute(_PROPERTIES, [database])
    names = [column.name for column in cursor.description or ()]
    row = cursor.fetchone()
    settings = connection.execute(_SETTINGS, [database]).fetchall()
    return {
        **dict(zip(names, t.cast("tuple[t.Any, ...]", row))),
        "settings": {role: list(values) for role, values in settings},
        # The role '' is everybody.
        "grants": [list(grant) for grant in connection.execute(_GRANTS, [database])],
    }


def read_extensions(connection: psycopg.Connection) -> dict[str, str]:
    """Name and version of the installed extensions."""
    return dict(connection.execute("SELECT extname, extversion FROM pg_extension ORDER BY 1"))


def read_roles(connection: psycopg.Connection) -> list[str]:
    """The roles that objects of this database belong to, or are granted to."""
    return [name for (name,) in connection.execute(_ROLES)]


def read_tablespaces(connection: psycopg.Connection) -> list[str]:
    """The tablespaces that objects name, beside the database's own."""
    return [name for (name,) in connection.execute(_TABLESPACES)]


def read_sequences(connection: psycopg.Connection) -> dict[str, list[int]]:
    """The last value of each sequence and whether the next one is after it (1) or it itself (0).

    A sequence is not part of any snapshot: this is its value now.
    """
    listed = connection.execute(_SEQUENCES).fetchall()
    values: dict[str, list[int]] = {}
    for start in range(0, len(listed), _SEQUENCES_AT_ONCE):
        names = listed[start : start + _SEQUENCES_AT_ONCE]
        selects = [
            f"SELECT {number}, last_value, is_called::int"  # noqa: S608 - quoted()
            f" FROM {quoted(schema)}.{quoted(name)}"
            for number, (schema, name) in enumerate(names)
        ]
        for number, last, called in connection.execute(" UNION ALL ".join(selects)):
            values[label(*names[number])] = [last, called]
    return values


def between(value: t.Sequence[int], low: t.Sequence[int], high: t.Sequence[int]) -> bool:
    """Whether a sequence's value lies between two others, however it counts."""
    first, last = sorted((list(low), list(high)))
    return first <= list(value) <= last
