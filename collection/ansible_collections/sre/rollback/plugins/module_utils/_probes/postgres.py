# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe kind ``postgres``: a read-only query and what its first value has to be.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import decimal
import math
import os
import socket
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Context,
    Kind,
    Leash,
    LeashExpiredError,
    Options,
    Probe,
    ProbeFailedError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.expectation import Expectation

if t.TYPE_CHECKING:
    import psycopg


def _options() -> dict[str, t.Any]:
    modes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
    return {
        "login_host": {"type": "str"},
        "login_port": {"type": "int", "default": 5432},
        "login_user": {"type": "str", "default": "postgres"},
        "login_password": {"type": "str", "no_log": True},
        "login_unix_socket": {"type": "path"},
        "ssl_mode": {"type": "str", "choices": modes, "default": "prefer"},
        "ca_cert": {"type": "path"},
        "connect_params": {"type": "dict", "default": {}},
        "database": {"type": "str", "default": "postgres"},
        "query": {"type": "str"},
        "expected": {"type": "raw"},
        "matches": {"type": "str"},
        "min": {"type": "float"},
        "max": {"type": "float"},
    }


def prepare(options: Options, _context: Context) -> Probe:
    """Read the options. Raises ProbeRefusedError, also when the driver is missing."""
    # Only here: the driver is large, and needed only where such a check is used.
    from ansible_collections.sre.rollback.plugins.module_utils import _postgres

    if not _postgres.HAS_PSYCOPG:
        raise ProbeRefusedError("needs the Python library psycopg", missing_library="psycopg")
    expectation = Expectation.of(options)
    if bool(options.get("query")) != bool(expectation):
        raise ProbeRefusedError("query needs expected, matches, min or max, and they need query")
    login = {**_postgres.connection_parameters(options, options["database"])}
    login.pop("connect_timeout", None)
    secret = _postgres.password(options)
    if secret is not None:
        login["password"] = secret

    def probe(leash: Leash) -> None:
        value = _first_value(login, options.get("query") or "SELECT 1", leash)
        if expectation:
            expectation.check(value, "the query's answer", leash)

    return probe


def _first_value(login: t.Mapping[str, str], query: str, leash: Leash) -> t.Any:
    import psycopg

    try:
        with contextlib.closing(_connect(login, leash)) as connection, leash.on_expiry(
            lambda: _cut(connection)
        ):
            return _ask(connection, query, leash)
    except psycopg.errors.QueryCanceled:
        raise LeashExpiredError from None
    except psycopg.Error as exc:
        raise ProbeFailedError(_in_words(exc)) from exc


def _connect(login: t.Mapping[str, str], leash: Leash) -> psycopg.Connection:
    import psycopg

    # libpq counts whole seconds and takes 1 for 2.
    patience = str(max(2, math.ceil(leash.remaining())))
    return psycopg.connect(**{**login, "connect_timeout": patience})


def _cut(connection: psycopg.Connection) -> None:
    import psycopg

    # On a copy of the descriptor, because libpq keeps its own; one that is lost already has none.
    with contextlib.suppress(psycopg.OperationalError), socket.socket(
        fileno=os.dup(connection.fileno())
    ) as copy:
        copy.shutdown(socket.SHUT_RDWR)


def _ask(connection: psycopg.Connection, query: str, leash: Leash) -> t.Any:
    connection.read_only = True
    patience = f"{max(1, int(leash.remaining() * 1000))}ms"
    connection.execute("SELECT pg_catalog.set_config('statement_timeout', %s, true)", [patience])
    cursor = connection.execute(query)
    if cursor.description is None:
        raise ProbeFailedError("the query returns no rows by its nature; ask with SELECT")
    row = cursor.fetchone()
    if row is None:
        raise ProbeFailedError("the query returned no row")
    return _native(row[0])


def _native(value: t.Any) -> t.Any:
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if value is None or isinstance(value, (bool, int, float, str, list, dict)):
        return value
    return str(value)


def _in_words(exc: psycopg.Error) -> str:
    diag = getattr(exc, "diag", None)
    primary = getattr(diag, "message_primary", None)
    return " ".join((primary or str(exc) or type(exc).__name__).split())


KIND = Kind("postgres", _options, prepare)
