# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a database is made of besides rows: objects with owner, grants, definition and validity.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

# ruff: noqa: S608 - the statements are put together from constants of this file

from __future__ import annotations

import typing as t
from dataclasses import dataclass

if t.TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class DatabaseObject:
    """One object; ``grants`` and ``owner`` are empty where the kind has none."""

    kind: str
    name: str
    owner: str
    grants: str
    definition: str
    valid: bool


# Kinds that a server adds by itself, or names, differently from one major version to the next.
_CHANGES_WITH_VERSION = ("constraint not null", "schema public")

_GRANTS = """coalesce((SELECT string_agg(g, ' ' ORDER BY g) FROM (
  SELECT coalesce(quote_ident(r.rolname), 'PUBLIC') || '=' || x.privilege_type
    || CASE WHEN x.is_grantable THEN '*' ELSE '' END AS g
  FROM aclexplode(coalesce({acl}, acldefault({kind}, {owner}))) x
  LEFT JOIN pg_roles r ON r.oid = x.grantee) s), '')"""


def _grants(acl: str, kind: str, owner: str) -> str:
    return _GRANTS.format(acl=acl, kind=kind, owner=owner)


def _own(catalog: str, alias: str) -> str:
    """The condition that an object belongs to the database itself, not to an extension."""
    return (
        "NOT EXISTS (SELECT FROM pg_depend d WHERE d.deptype = 'e' AND d.objsubid = 0"
        f" AND d.classid = '{catalog}'::regclass AND d.objid = {alias}.oid)"
    )


_USER_SCHEMA = "n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'"

_SCHEMAS = f"""
SELECT CASE n.nspname WHEN 'public' THEN 'schema public' ELSE 'schema' END,
  quote_ident(n.nspname), pg_get_userbyid(n.nspowner),
  {_grants("n.nspacl", "'n'", "n.nspowner")}, '', true
FROM pg_namespace n WHERE {_USER_SCHEMA} AND {_own("pg_namespace", "n")}
"""

_COLUMNS = f"""coalesce((SELECT string_agg(concat_ws(' ', quote_ident(a.attname),
    format_type(a.atttypid, a.atttypmod), nullif(a.attidentity, ''), nullif(a.attgenerated, ''),
    CASE WHEN a.attnotnull THEN 'NOT NULL' END,
    CASE WHEN a.attcollation <> y.typcollation THEN a.attcollation::regcollation::text END,
    pg_get_expr(f.adbin, f.adrelid),
    CASE WHEN a.attacl IS NOT NULL THEN {_grants("a.attacl", "'c'", "c.relowner")} END
  ), ', ' ORDER BY a.attnum)
  FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
  LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '')"""

_RELATION_KIND = "(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::\"char\""

_RELATIONS = f"""
SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
    WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'sequence' END,
  quote_ident(n.nspname) || '.' || quote_ident(c.relname), pg_get_userbyid(c.relowner),
  {_grants("c.relacl", _RELATION_KIND, "c.relowner")},
  concat_ws(' ', {_COLUMNS}, CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
    c.reloptions::text, c.relpersistence, pg_get_expr(c.relpartbound, c.oid),
    CASE WHEN c.relrowsecurity THEN 'row security' END,
    CASE WHEN c.relforcerowsecurity THEN 'forced' END,
    CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
    (SELECT string_agg(i.inhparent::regclass::text, ' ' ORDER BY i.inhseqno)
     FROM pg_inherits i WHERE i.inhrelid = c.oid),
    (SELECT concat_ws(' ', q.seqtypid::regtype, q.seqstart, q.seqincrement, q.seqmax, q.seqmin,
       q.seqcache, q.seqcycle) FROM pg_sequence q WHERE q.seqrelid = c.oid)),
  c.relkind <> 'm' OR c.relispopulated
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
  AND {_USER_SCHEMA} AND {_own("pg_class", "c")}
"""

# An index that CREATE INDEX CONCURRENTLY left unfinished is not in a dump.
_INDEXES = f"""
SELECT 'index', quote_ident(n.nspname) || '.' || quote_ident(c.relname), '', '',
  pg_get_indexdef(c.oid), i.indisvalid AND i.indisready
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_class o ON o.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_USER_SCHEMA} AND {_own("pg_class", "o")} AND o.relpersistence <> 't'
  AND (i.indisvalid OR o.relkind = 'p') AND i.indisready
"""

_CONSTRAINTS = f"""
SELECT CASE k.contype WHEN 'n' THEN 'constraint not null' ELSE 'constraint' END,
  coalesce(nullif(k.conrelid, 0)::regclass::text, nullif(k.contypid, 0)::regtype::text, '')
    || ' ' || quote_ident(k.conname), '', '',
  pg_get_constraintdef(k.oid) || CASE k.contype WHEN 't' THEN ' trigger' ELSE '' END,
  k.convalidated
FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
LEFT JOIN pg_class o ON o.oid = k.conrelid LEFT JOIN pg_type y ON y.oid = k.contypid
WHERE {_USER_SCHEMA} AND coalesce(o.relpersistence, 'p') <> 't'
  AND (k.conrelid = 0 OR {_own("pg_class", "o")}) AND (k.contypid = 0 OR {_own("pg_type", "y")})
"""

_TRIGGERS = f"""
SELECT 'trigger', g.tgrelid::regclass::text || ' ' || quote_ident(g.tgname), '', '',
  concat_ws(' ', pg_get_triggerdef(g.oid), g.tgenabled), true
FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT g.tgisinternal AND {_USER_SCHEMA} AND {_own("pg_trigger", "g")}
"""

_RULES = f"""
SELECT 'rule', w.ev_class::regclass::text || ' ' || quote_ident(w.rulename), '', '',
  concat_ws(' ', pg_get_ruledef(w.oid), w.ev_enabled), true
FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE w.rulename <> '_RETURN' AND {_USER_SCHEMA} AND {_own("pg_rewrite", "w")}
"""

_POLICIES = f"""
SELECT 'policy', p.polrelid::regclass::text || ' ' || quote_ident(p.polname), '', '',
  concat_ws(' ', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
    pg_get_expr(p.polwithcheck, p.polrelid),
    (SELECT string_agg(coalesce(quote_ident(r.rolname), 'PUBLIC'), ' ' ORDER BY r.rolname)
     FROM unnest(p.polroles) x LEFT JOIN pg_roles r ON r.oid = x)), true
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {_USER_SCHEMA}
"""

_FUNCTIONS = f"""
SELECT 'function', p.oid::regprocedure::text, pg_get_userbyid(p.proowner),
  {_grants("p.proacl", "'f'", "p.proowner")},
  CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) ELSE 'aggregate' END, true
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE {_USER_SCHEMA} AND {_own("pg_proc", "p")}
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
    AND d.objid = p.oid AND d.deptype = 'i')
"""

_TYPES = f"""
SELECT 'type', y.oid::regtype::text, pg_get_userbyid(y.typowner),
  {_grants("y.typacl", "'T'", "y.typowner")},
  concat_ws(' ', y.typtype, CASE WHEN y.typtype = 'd' THEN
      concat_ws(' ', format_type(y.typbasetype, y.typtypmod), y.typnotnull, y.typdefault) END,
    (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
     FROM pg_enum e WHERE e.enumtypid = y.oid),
    (SELECT string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod), ', '
       ORDER BY a.attnum)
     FROM pg_attribute a WHERE y.typtype = 'c' AND a.attrelid = y.typrelid AND a.attnum > 0
       AND NOT a.attisdropped)), true
FROM pg_type y JOIN pg_namespace n ON n.oid = y.typnamespace
LEFT JOIN pg_class c ON c.oid = y.typrelid
WHERE {_USER_SCHEMA} AND {_own("pg_type", "y")} AND y.typtype IN ('d', 'e', 'c', 'r')
  AND (y.typrelid = 0 OR c.relkind = 'c')
"""

_OTHERS = f"""
SELECT 'publication', quote_ident(p.pubname), pg_get_userbyid(p.pubowner), '', '', true
FROM pg_publication p WHERE {_own("pg_publication", "p")}
UNION ALL
SELECT 'event trigger', quote_ident(v.evtname), pg_get_userbyid(v.evtowner), '',
  concat_ws(' ', v.evtevent, v.evtfoid::regprocedure, v.evtenabled, v.evttags::text), true
FROM pg_event_trigger v WHERE {_own("pg_event_trigger", "v")}
UNION ALL
SELECT 'foreign server', quote_ident(s.srvname), pg_get_userbyid(s.srvowner),
  {_grants("s.srvacl", "'S'", "s.srvowner")}, s.srvoptions::text, true
FROM pg_foreign_server s WHERE {_own("pg_foreign_server", "s")}
UNION ALL
SELECT 'operator', o.oid::regoperator::text, pg_get_userbyid(o.oprowner), '',
  o.oprcode::regprocedure::text, true
FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
WHERE {_USER_SCHEMA} AND {_own("pg_operator", "o")}
UNION ALL
SELECT 'collation', o.oid::regcollation::text, pg_get_userbyid(o.collowner), '',
  concat_ws(' ', o.collprovider, o.collcollate, o.collisdeterministic), true
FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace
WHERE {_USER_SCHEMA} AND {_own("pg_collation", "o")}
UNION ALL
SELECT 'statistics', quote_ident(n.nspname) || '.' || quote_ident(s.stxname),
  pg_get_userbyid(s.stxowner), '', pg_get_statisticsobjdef(s.oid), true
FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE {_USER_SCHEMA}
UNION ALL
SELECT 'default privileges',
  concat_ws(' ', pg_get_userbyid(a.defaclrole), n.nspname, a.defaclobjtype), '',
  coalesce((SELECT string_agg(x::text, ' ' ORDER BY x::text) FROM unnest(a.defaclacl) x), ''),
  '', true
FROM pg_default_acl a LEFT JOIN pg_namespace n ON n.oid = a.defaclnamespace
"""

# A definition that was dumped and loaded is not written as it was: PostgreSQL puts casts and
# parentheses elsewhere ("IN" over varchar). They stay out of the comparison, and white space too.
_NAME = '(?:"(?:[^"]|"")+"|[[:alpha:]_][[:alnum:]_$]*)'
_CAST = (
    f"::{_NAME}(?:[.]{_NAME})?(?: varying| precision| with(?:out)? time zone)?"
    r"(?:[(][0-9, ]+[)])?(?: with(?:out)? time zone)?(?:\[\])*"
).replace("'", "''")
_QUERIES = (
    _SCHEMAS,
    _RELATIONS,
    _INDEXES,
    _CONSTRAINTS,
    _TRIGGERS,
    _RULES,
    _POLICIES,
    _FUNCTIONS,
    _TYPES,
    _OTHERS,
)


def read_objects(connection: psycopg.Connection) -> list[DatabaseObject]:
    """Every object of the database that a dump holds, in a session with an empty search_path."""
    rows: list[tuple[t.Any, ...]] = []
    for query in _QUERIES:
        rows += connection.execute(
            # A definition is long and only ever compared.
            "SELECT kind, name, owner::text, grants, left(encode(sha256(convert_to("
            f"regexp_replace(regexp_replace(coalesce(definition, ''), '{_CAST}', '', 'g'),"
            " '[()[:space:]]', '', 'g'), 'UTF8')), 'hex'), 24), valid"
            f" FROM ({query}) AS o(kind, name, owner, grants, definition, valid)"
        ).fetchall()
    return sorted((DatabaseObject(*row) for row in rows), key=lambda o: (o.kind, o.name))


def differences(
    wanted: t.Iterable[DatabaseObject], found: t.Iterable[DatabaseObject], *, same_version: bool
) -> list[str]:
    """What ``found`` lacks or has otherwise, a sentence each.

    Definitions are compared between servers of one major version only, because the next one may
    write the same thing in other words.
    """
    there = {(each.kind, each.name): each for each in found}
    problems = []
    for one in wanted:
        if not same_version and one.kind in _CHANGES_WITH_VERSION:
            continue
        other = there.pop((one.kind, one.name), None)
        problems += _compared(one, other, same_version=same_version)
    problems += [
        f"{kind} {name} is not in the backup"
        for kind, name in there
        if same_version or kind not in _CHANGES_WITH_VERSION
    ]
    return problems


def _compared(
    one: DatabaseObject, other: DatabaseObject | None, *, same_version: bool
) -> list[str]:
    title = f"{one.kind} {one.name}"
    if other is None:
        return [f"{title} is missing"]
    problems = []
    if one.owner != other.owner:
        problems.append(f"{title} belongs to {other.owner} instead of {one.owner}")
    # MAINTAIN came with PostgreSQL 17, where an owner has it without being granted it.
    if same_version and one.grants != other.grants:
        problems.append(f"{title} has grants {other.grants!r} instead of {one.grants!r}")
    if same_version and one.definition != other.definition:
        problems.append(f"{title} is defined otherwise")
    if one.valid and not other.valid:
        problems.append(f"{title} is not valid")
    return problems
