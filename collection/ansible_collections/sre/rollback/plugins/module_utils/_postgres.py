# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a module reaches PostgreSQL: its options, its connections, its client programs.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import re
import traceback
import typing as t

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

try:
    import psycopg
    from psycopg import conninfo, sql
except ImportError:
    HAS_PSYCOPG = False
    PSYCOPG_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    HAS_PSYCOPG = True
    PSYCOPG_IMPORT_ERROR = None

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

_CONNECT_TIMEOUT = 10
_OLDEST_SERVER = 130000
_ATTEMPTS_TO_SET = 20
_APPLICATION_NAME = "rollback-playbook"
_MAX_NAME_BYTES = 63


class DatabaseUnreachableError(RollbackError):
    """No connection to the server or to the database."""


def postgres_argument_spec() -> dict[str, t.Any]:
    """The options of the documentation fragment ``sre.rollback._postgres``."""
    return {
        "login_host": {"type": "str"},
        "login_port": {"type": "int", "default": 5432},
        "login_user": {"type": "str", "default": "postgres"},
        "login_password": {"type": "str", "no_log": True},
        "login_unix_socket": {"type": "path"},
        "ssl_mode": {
            "type": "str",
            "choices": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
            "default": "prefer",
        },
        "ca_cert": {"type": "path"},
        "connect_params": {"type": "dict", "default": {}},
        "bin_dir": {"type": "path"},
    }


def require_psycopg(module: AnsibleModule) -> None:
    """End the module with Ansible's usual message when the driver is missing."""
    if not HAS_PSYCOPG:
        module.fail_json(msg=missing_required_lib("psycopg"), exception=PSYCOPG_IMPORT_ERROR)


def connection_parameters(params: t.Mapping[str, t.Any], database: str) -> dict[str, str]:
    """libpq's parameters for ``database``, without the password."""
    given = {
        "host": params.get("login_host") or params.get("login_unix_socket"),
        "port": params.get("login_port"),
        "user": params.get("login_user"),
        "sslmode": params.get("ssl_mode"),
        "sslrootcert": params.get("ca_cert"),
        "connect_timeout": _CONNECT_TIMEOUT,
        "application_name": _APPLICATION_NAME,
        **(params.get("connect_params") or {}),
        "dbname": database,
    }
    given.pop("password", None)
    return {name: str(value) for name, value in given.items() if value is not None}


def password(params: t.Mapping[str, t.Any]) -> str | None:
    """The password to log in with, wherever it was given."""
    extra = params.get("connect_params") or {}
    return extra.get("password") or params.get("login_password")


def connect(
    params: t.Mapping[str, t.Any],
    database: str,
    *,
    autocommit: bool = True,
    settings: t.Mapping[str, str] | None = None,
) -> psycopg.Connection:
    """A connection to ``database`` with the module's connection options.

    ``settings`` are set for the session after connecting, because a pooler in between would
    refuse them as start-up options. Raises DatabaseUnreachableError, also for a server that is too
    old.
    """
    secret = password(params)
    try:
        connection = psycopg.connect(
            autocommit=True,
            **connection_parameters(params, database),
            **({} if secret is None else {"password": secret}),
        )
    except (psycopg.OperationalError, psycopg.ProgrammingError) as exc:
        raise DatabaseUnreachableError(
            f"cannot connect to database {database!r} on {address(params)}: {one_line(exc)}. "
            "Nothing was changed by this attempt. Check that the server runs and the login_* "
            "options are right."
        ) from exc
    if connection.info.server_version < _OLDEST_SERVER:
        version = connection.info.server_version
        connection.close()
        raise DatabaseUnreachableError(
            f"the server on {address(params)} is PostgreSQL {version // 10000}; 13 is the oldest "
            "this module knows. Nothing was changed."
        )
    if settings:
        apply_settings(connection, settings)
    connection.autocommit = autocommit
    return connection


def apply_settings(connection: psycopg.Connection, settings: t.Mapping[str, str]) -> None:
    """Set ``settings`` for the rest of the session, in one round trip.

    The database's own ``statement_timeout`` may be so short that it ends this very statement.
    """
    calls = sql.SQL(", ").join(
        sql.SQL("pg_catalog.set_config({}, {}, false)").format(name, value)
        for name, value in settings.items()
    )
    statement = sql.SQL("SELECT {}").format(calls)
    for _attempt in range(_ATTEMPTS_TO_SET):
        with contextlib.suppress(psycopg.errors.QueryCanceled):
            connection.execute(statement)
            return
    connection.execute(statement)


def address(params: t.Mapping[str, t.Any]) -> str:
    """Where the server is, for messages."""
    parameters = connection_parameters(params, "")
    return f"{parameters.get('host', 'the local socket')}:{parameters.get('port', 5432)}"


def client_conninfo(
    params: t.Mapping[str, t.Any], database: str, settings: t.Mapping[str, str] | None = None
) -> str:
    """The ``--dbname`` of a client program, with session settings. It holds no password."""
    parameters = connection_parameters(params, database)
    if settings:
        parameters["options"] = with_options(parameters.get("options", ""), settings)
    return str(conninfo.make_conninfo(**parameters))


def with_options(options: str, settings: t.Mapping[str, str]) -> str:
    """libpq's ``options`` with ``settings`` added, which win."""
    escaped = (f"-c {k}=" + re.sub(r"([\\\s])", r"\\\1", v) for k, v in settings.items())
    return " ".join([options, *escaped]).strip()


def client_environment(params: t.Mapping[str, t.Any]) -> dict[str, str]:
    """What a client program needs in its environment: the password, and its language."""
    environment = {"LC_ALL": "C", "PGCLIENTENCODING": "UTF8"}
    secret = password(params)
    if secret is not None:
        environment["PGPASSWORD"] = str(secret)
    return environment


def one_line(exc: BaseException) -> str:
    """An error's message in one line: PostgreSQL's primary message and detail when it has them."""
    diag = getattr(exc, "diag", None)
    parts = [getattr(diag, "message_primary", None), getattr(diag, "message_detail", None)]
    text = "; ".join(part for part in parts if part) or str(exc)
    return " ".join(text.split()).rstrip(".")


def quoted(name: str) -> str:
    """``name`` as a SQL identifier, always in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def fit_name(head: str, tail: str) -> str:
    """``head`` + ``tail`` within PostgreSQL's 63 bytes, by cutting ``head`` between characters.

    The server would cut the end silently (NAMEDATALEN), and with it the part that tells names
    apart.
    """
    room = _MAX_NAME_BYTES - len(tail.encode())
    if room < 1:
        raise ValueError(f"{tail!r} leaves no room for a name")
    return head.encode()[:room].decode(errors="ignore") + tail
