# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a lease can be kept. Locking is the first thing that happens in an emergency, so a driver,
which takes a good part of a second to import, is imported only for the backend that needs it.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t

from ansible_collections.sre.rollback.plugins.module_utils import _lock_file
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._lock_lease import Lease, Request

BACKENDS = ("file", "redis", "postgres")


class MissingLibraryError(RollbackError):
    """The backend's driver cannot be imported; ``library`` and ``traceback`` say which and why."""

    def __init__(self, library: str, traceback: str) -> None:
        super().__init__(f"the library {library} is missing. Nothing was changed.")
        self.library = library
        self.traceback = traceback


def exchange(
    params: t.Mapping[str, t.Any], request: Request, *, write: bool
) -> tuple[Lease, Lease, float]:
    """The lease before and after, and the time by the backend's clock.

    ``params`` are the module's. Without ``write`` the answer is a prediction. Raises RollbackError.
    """
    return _EXCHANGES[params["backend"]](params, request, write)


def warnings(params: t.Mapping[str, t.Any]) -> list[str]:
    """What could take the lease away behind its holder's back."""
    if params["backend"] != "redis":
        return []
    from ansible_collections.sre.rollback.plugins.module_utils import _lock_redis

    if not _lock_redis.is_evictable(params):
        return []
    return [
        "This server may evict the lock when its memory is full (maxmemory-policy allkeys-*). "
        "Use a policy volatile-* or noeviction, or another backend."
    ]


def _in_file(
    params: t.Mapping[str, t.Any], request: Request, write: bool
) -> tuple[Lease, Lease, float]:
    return _lock_file.exchange(params, request, write=write)


def _in_redis(
    params: t.Mapping[str, t.Any], request: Request, write: bool
) -> tuple[Lease, Lease, float]:
    from ansible_collections.sre.rollback.plugins.module_utils import _lock_redis, _redis

    if _redis.REDIS_IMPORT_ERROR is not None:
        raise MissingLibraryError("redis", _redis.REDIS_IMPORT_ERROR)
    return _lock_redis.exchange(params, request, write=write)


def _in_postgres(
    params: t.Mapping[str, t.Any], request: Request, write: bool
) -> tuple[Lease, Lease, float]:
    from ansible_collections.sre.rollback.plugins.module_utils import _lock_postgres, _postgres

    if not _postgres.HAS_PSYCOPG:
        raise MissingLibraryError("psycopg", _postgres.PSYCOPG_IMPORT_ERROR or "")
    given = {"login_port": 5432, "login_user": "postgres", **_without_none(params)}
    return _lock_postgres.exchange(given, request, write=write)


_EXCHANGES = {"file": _in_file, "redis": _in_redis, "postgres": _in_postgres}


def _without_none(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {name: value for name, value in params.items() if value is not None}
