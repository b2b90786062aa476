# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A PgBouncer whose clients wait while the database behind it is exchanged.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import select
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    connection_parameters,
    one_line,
    password,
    quoted,
)

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

_ADMIN = "pgbouncer"


def pooler_argument_spec() -> dict[str, t.Any]:
    """The options of the documentation fragment ``sre.rollback._pgbouncer``."""
    return {
        "pgbouncer_login_host": {"type": "str"},
        "pgbouncer_login_port": {"type": "int", "default": 6432},
        "pgbouncer_login_user": {"type": "str"},
        "pgbouncer_login_password": {"type": "str", "no_log": True},
        "pgbouncer_database": {"type": "str"},
        "pgbouncer_timeout": {"type": "float", "default": 2},
    }


class PoolerError(RollbackError):
    """PgBouncer cannot be reached, or did not do what it was told."""


@dataclass(frozen=True)
class Pooler:
    """PgBouncer's admin console, and what it calls the database.

    ``timeout`` is how many seconds running transactions have to end; then they are ended.
    """

    login: t.Mapping[str, t.Any]
    database: str
    timeout: float

    def is_paused(self) -> bool:
        """Raises PoolerError, also when PgBouncer does not know the database."""
        with self._console() as console:
            cursor = console.execute("SHOW DATABASES")
            names = [column.name for column in cursor.description or ()]
            rows = [dict(zip(names, row)) for row in cursor]
        found = [row for row in rows if row["name"] == self.database]
        if not found:
            raise PoolerError(
                f"PgBouncer knows no database {self.database!r}, only "
                f"{', '.join(sorted(str(row['name']) for row in rows if row['name'] != _ADMIN))}. "
                "Nothing was changed; set pgbouncer_database."
            )
        return any(str(row["paused"]) == "1" for row in found)

    def pause(self) -> None:
        """Let clients wait from now on; wait for running transactions, but not for long."""
        with self._console() as console:
            pgconn = console.pgconn
            pgconn.send_query(f"PAUSE {quoted(self.database)}".encode())
            deadline = time.monotonic() + self.timeout
            while pgconn.is_busy():
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([pgconn.socket], [], [], left)[0]:
                    return  # They wait already; whose transaction still runs, is ended.
                pgconn.consume_input()
            result = pgconn.get_result()
            said = result.error_message.decode(errors="replace").strip() if result else ""
        if said:
            raise PoolerError(
                f"PgBouncer does not pause {self.database!r}: {said}. The live database is as it "
                "was."
            )

    def resume(self) -> None:
        """Let clients go on; that they did not wait is no error. Raises PoolerError."""
        deadline = time.monotonic() + 10
        while True:
            try:
                with self._console() as console:
                    console.execute(f"RESUME {quoted(self.database)}")
            except psycopg.Error as exc:
                if "not paused" in str(exc):
                    return
                if time.monotonic() > deadline:
                    raise PoolerError(
                        f"PgBouncer does not resume {self.database!r}: {one_line(exc)}. Its "
                        f'clients wait; say RESUME "{self.database}" on its console.'
                    ) from exc
                time.sleep(0.2)
            else:
                return

    @contextlib.contextmanager
    def _console(self) -> t.Iterator[psycopg.Connection]:
        try:
            connection = psycopg.connect(
                **connection_parameters(self.login, _ADMIN),
                password=password(self.login),
                autocommit=True,
                prepare_threshold=None,
            )
        except psycopg.Error as exc:
            raise PoolerError(
                f"PgBouncer's console cannot be reached: {one_line(exc)}. Nothing was changed."
            ) from exc
        with contextlib.closing(connection):
            yield connection


def pooler_of(params: t.Mapping[str, t.Any]) -> Pooler | None:
    """The PgBouncer whose clients shall wait, if there is one."""
    if not params["pgbouncer_login_host"]:
        return None
    login = {
        "login_host": params["pgbouncer_login_host"],
        "login_port": params["pgbouncer_login_port"],
        "login_user": params["pgbouncer_login_user"] or params["login_user"],
        "login_password": params["pgbouncer_login_password"] or params["login_password"],
        "ssl_mode": params["ssl_mode"],
        "ca_cert": params["ca_cert"],
    }
    name = params["pgbouncer_database"] or params["database"]
    return Pooler(login, name, params["pgbouncer_timeout"])
