# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A PgBouncer whose clients wait while the database behind it is exchanged.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
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
        # From PAUSE on, clients wait; "paused" is only said once the last transaction has ended.
        return any(str(row[key]) == "1" for row in found for key in ("paused",))

    def pause(self) -> None:
        """Let clients wait from now on; wait for running transactions, but not for long."""
        with self._console() as console, concurrent.futures.ThreadPoolExecutor(1) as pool:
            done = pool.submit(console.execute, f"PAUSE {quoted(self.database)}")
            try:
                done.result(timeout=self.timeout)
            except concurrent.futures.TimeoutError:
                # Those who still wait for an answer here are told when the swap ends sessions.
                return
            except psycopg.Error as exc:
                raise PoolerError(
                    f"PgBouncer does not pause {self.database!r}: {one_line(exc)}. Nothing was "
                    "changed."
                ) from exc

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
