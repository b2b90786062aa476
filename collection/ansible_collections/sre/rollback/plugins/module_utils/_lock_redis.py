# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lease in a hash of Redis or Valkey: for several controllers.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import json
import time
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._lock_lease import (
    Lease,
    LockError,
    Request,
    change,
    fields_of,
    lease_from,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis import connect, is_cluster

with contextlib.suppress(ImportError):  # the module says so before it comes here
    import redis

#: redis_flush spares what begins with this.
PREFIX = "rollback:lock:"
_PATIENCE = 10.0


def exchange(
    params: t.Mapping[str, t.Any], request: Request, *, write: bool
) -> tuple[Lease, Lease, float]:
    """The lease before and after, and the time by the server's clock. Raises LockError.

    Optimistic: WATCH, decide, MULTI/EXEC; whoever was overtaken decides again.
    """
    key = PREFIX + request.environment
    try:
        with contextlib.closing(connect(params)) as client:
            return _exchange(_server_of(client, key), key, request, write=write)
    except (redis.RedisError, OSError) as exc:
        raise LockError(
            f"the lock {key} cannot be kept: {str(exc).rstrip('.')}. If the answer was lost on "
            "its way, the lock may have been taken: then ask again, and it names this holder."
        ) from exc


def is_evictable(params: t.Mapping[str, t.Any]) -> bool:
    """Whether the server may throw the lease away when its memory is full."""
    try:
        with contextlib.closing(connect(params)) as client:
            memory = _server_of(client, PREFIX).info("memory")
    except (redis.RedisError, OSError):
        return False
    policy = str(memory.get("maxmemory_policy", ""))
    return policy.startswith("allkeys-") and int(memory.get("maxmemory", 0)) > 0


def _server_of(client: t.Any, key: str) -> t.Any:
    """The primary of the key's slot: a transaction is one server's business."""
    if not is_cluster(client):
        return client
    return client.get_redis_connection(client.get_node_from_key(key))


def _exchange(
    client: t.Any, key: str, request: Request, *, write: bool
) -> tuple[Lease, Lease, float]:
    deadline = time.monotonic() + _PATIENCE
    with client.pipeline() as pipe:
        while time.monotonic() < deadline:
            try:
                pipe.watch(key)
                seconds, micros = pipe.time()
                now = seconds + micros / 1e6
                before = _read(pipe.hgetall(key), key)
                after = change(request, before, now)
                if write and after is not before:
                    pipe.multi()
                    pipe.hset(key, mapping=_stored(after))
                    pipe.execute()
                return before, after, now
            except redis.WatchError:
                continue
    raise LockError(f"the lock {key} changes all the time; it is as it was. Try again.")


def _stored(lease: Lease) -> dict[str, t.Any]:
    return {**fields_of(lease), "taken_from": json.dumps(lease.taken_from)}


def _read(fields: t.Mapping[bytes, bytes], key: str) -> Lease:
    if not fields:
        return Lease()
    try:
        texts = {name.decode(): value.decode() for name, value in fields.items()}
        return lease_from({**texts, "taken_from": json.loads(texts["taken_from"])})
    except (ValueError, TypeError, KeyError, OverflowError) as exc:
        raise LockError(
            f"the key {key} does not hold a lease. Nothing was changed. Look at the key; when "
            "nobody holds the environment, delete it."
        ) from exc
