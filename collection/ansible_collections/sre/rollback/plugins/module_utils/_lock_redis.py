# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lease in a hash of Redis or Valkey: for several controllers.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._lock_lease import (
    Lease,
    LockError,
    Request,
    change,
    fields_of,
    lease_from,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis import connect

with contextlib.suppress(ImportError):  # require_redis() in the module says so
    import redis

#: redis_flush spares what begins with this.
PREFIX = "rollback:lock:"
_ATTEMPTS = 1000


def exchange(
    params: t.Mapping[str, t.Any], request: Request, *, write: bool
) -> tuple[Lease, Lease, float]:
    """The lease before and after, and the time by the server's clock. Raises LockError.

    Optimistic: WATCH, decide, MULTI/EXEC; whoever was overtaken decides again.
    """
    key = PREFIX + request.environment
    with contextlib.closing(connect(params)) as client, client.pipeline() as pipe:
        for _attempt in range(_ATTEMPTS):
            try:
                pipe.watch(key)
                seconds, micros = pipe.time()
                now = seconds + micros / 1e6
                before = _read(pipe.hgetall(key), key)
                after = change(request, before, now)
                if write and after is not before:
                    pipe.multi()
                    pipe.hset(key, mapping=fields_of(after))
                    pipe.execute()
                return before, after, now
            except redis.WatchError:
                continue
    raise LockError(f"the lock {key} changes all the time; it is as it was. Try again.")


def _read(fields: t.Mapping[bytes, bytes], key: str) -> Lease:
    if not fields:
        return Lease()
    try:
        return lease_from({name.decode(): value.decode() for name, value in fields.items()})
    except (ValueError, TypeError, KeyError) as exc:
        raise LockError(f"the key {key} does not hold a lease. Nothing was changed.") from exc
