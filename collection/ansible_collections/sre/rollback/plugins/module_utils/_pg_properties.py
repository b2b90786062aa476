# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What belongs to the database as a whole, and how a new one gets the same.

Owner, grants, settings, connection limit and comment go over in the swap's transaction; encoding,
locale and tablespace can only be given when the database is made.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._pg_swap import literal
from ansible_collections.sre.rollback.plugins.module_utils._postgres import quoted

# Settings whose value is a list of names: the catalogue holds them quoted already.
_LISTS = (
    "search_path",
    "temp_tablespaces",
    "session_preload_libraries",
    "local_preload_libraries",
    "shared_preload_libraries",
    "unix_socket_directories",
)


def create_statement(name: str, properties: t.Mapping[str, t.Any], server_version: int) -> str:
    """CREATE DATABASE with the encoding, locale, tablespace and owner of ``properties``."""
    words = [
        f"CREATE DATABASE {quoted(name)} TEMPLATE template0",
        f"OWNER {quoted(properties['owner'])}",
        f"ENCODING {literal(properties['encoding'])}",
        f"LC_COLLATE {literal(properties['collate'])} LC_CTYPE {literal(properties['ctype'])}",
    ]
    # To name the template's own would need a privilege that not to name it does not.
    if properties["tablespace"] != "pg_default":
        words.append(f"TABLESPACE {quoted(properties['tablespace'])}")
    provider = properties.get("provider")
    if server_version >= 150000 and provider:
        names = {"c": "libc", "i": "icu", "b": "builtin", "d": "libc"}
        words.append(f"LOCALE_PROVIDER {names.get(provider, 'libc')}")
        option = {"i": "ICU_LOCALE", "b": "BUILTIN_LOCALE"}.get(provider)
        if option and properties.get("locale"):
            words.append(f"{option} {literal(properties['locale'])}")
        if server_version >= 160000 and properties.get("icu_rules"):
            words.append(f"ICU_RULES {literal(properties['icu_rules'])}")
    return " ".join(words)


# What decides how text is stored and compared.
_LOCALE = ("encoding", "collate", "ctype", "provider", "locale", "icu_rules")


def properties_for(
    dumped: t.Mapping[str, t.Any], live: t.Mapping[str, t.Any] | None
) -> dict[str, t.Any]:
    """The properties of a database to restore into: those of the live one where there is one.

    When its encoding is not the dump's, encoding and locale are the dump's: nothing is converted.
    """
    if live is None:
        return dict(dumped)
    if live["encoding"] == dumped["encoding"]:
        return dict(live)
    return {**live, **{name: dumped.get(name) for name in _LOCALE}}


def adopt_statements(name: str, properties: t.Mapping[str, t.Any]) -> list[str]:
    """Statements that open the database ``name`` and give it the properties of another one."""
    database = quoted(name)
    owner = properties["owner"]
    statements = [
        f"ALTER DATABASE {database} OWNER TO {quoted(owner)}",
        f"ALTER DATABASE {database} CONNECTION LIMIT {int(properties['connection_limit'])}"
        f" IS_TEMPLATE {bool(properties.get('template'))} ALLOW_CONNECTIONS true",
        f"ALTER DATABASE {database} RESET ALL",
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        f"REVOKE ALL ON DATABASE {database} FROM {quoted(owner)}",
    ]
    for role, what, grantable in properties["grants"]:
        grantee = quoted(role) if role else "PUBLIC"
        option = " WITH GRANT OPTION" if grantable and role != owner else ""
        statements.append(f"GRANT {what} ON DATABASE {database} TO {grantee}{option}")
    for role, settings in properties["settings"].items():
        whose = f"ALTER ROLE {quoted(role)} IN DATABASE" if role else "ALTER DATABASE"
        statements += [f"{whose} {database} SET {setting_of(each)}" for each in settings]
    return statements


def setting_of(written: str) -> str:
    """``name=value`` of the catalogue as SET takes it."""
    name, _equals, value = written.partition("=")
    plain = ".".join(quoted(part) for part in name.split("."))
    if name.lower() in _LISTS:
        return f"{plain} TO {value if value.strip() else literal('')}"
    return f"{plain} TO {literal(value)}"
