# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Breakers of the Python library pybreaker that share their state through Redis or Valkey.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import json
import time
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils import _breaker_provider as core
from ansible_collections.sre.rollback.plugins.module_utils._breaker_pybreaker_keys import (
    FIELDS,
    NUMBERS,
    breaker_name,
    hold_key,
    is_settled,
    parse_breaker,
    parse_hold,
    storage_key,
    target_of,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis import connect, is_cluster
from ansible_collections.sre.rollback.plugins.module_utils._redis_errors import command_errors

with contextlib.suppress(ImportError):
    import redis

# Changed in one transaction together: short enough that no other client waits for it.
_CHUNK = 200
_ATTEMPTS = 20
_UNCHANGED = "Nothing was changed by that."


class PybreakerRedis(core.Provider):
    """Breakers in one Redis database or cluster."""

    creates = True

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._params = params
        self._client = connect(params, db=params["db"])
        self._clock_offset = _server_time(self._client) - time.monotonic()
        self._unreadable: list[str] = []

    def close(self) -> None:
        self._client.close()

    def warnings(self) -> list[str]:
        names = ", ".join(self._unreadable)
        skipped = f"Left out, because their names are not UTF-8: {names}." if names else ""
        return [text for text in (skipped, _eviction_warning(self._client)) if text]

    def names(self) -> list[str]:
        found = set()
        with command_errors("looking for breakers", left=_UNCHANGED):
            for key in self._client.scan_iter(match=b"*pybreaker:state", count=1000):
                try:
                    found.add(breaker_name(key))
                except UnicodeDecodeError:
                    self._unreadable.append(repr(key))
        return sorted(name for name in found if name is not None)

    def observe(self, names: t.Sequence[str]) -> list[core.Breaker]:
        client = connect(self._params, db=self._params["db"])
        try:
            with command_errors("reading breakers", left=_UNCHANGED):
                pipeline = client.pipeline(transaction=False)
                for name in names:
                    _queue_reads(pipeline, name)
                values = pipeline.execute()
        finally:
            client.close()
        return _parse_all(names, values)

    def predict(self, breaker: core.Breaker, wish: core.Wish) -> core.Breaker:
        target = target_of(breaker, wish, now=self._now())
        return breaker if is_settled(breaker, target, wish) else target

    def apply(self, breakers: t.Sequence[core.Breaker], wish: core.Wish) -> None:
        change = _change_in_cluster if is_cluster(self._client) else _change_together
        for start in range(0, len(breakers), _CHUNK):
            chunk = breakers[start : start + _CHUNK]
            with command_errors("changing breakers", left=_left(chunk)):
                change(self._client, chunk, wish, self._now())

    def contradiction(self, breaker: core.Breaker, wish: core.Wish) -> str:
        refusing = breaker.state == core.OPEN and (breaker.facts["opened_at"] or 0) > self._now()
        if wish.state == core.RESTORED:
            wanted = bool(wish.snapshot[breaker.name]["held"])
            return "" if wanted == breaker.held else f"held is {breaker.held}, not {wanted}"
        if wish.state == core.OPEN:
            return "" if refusing else f"clients see it {breaker.state} and may call"
        return "clients go on refusing calls" if refusing else ""

    def may_slip(self, breaker: core.Breaker) -> bool:
        return not breaker.held and breaker.state in (core.HALF_OPEN, core.OPEN)

    def _now(self) -> float:
        """Seconds since 1970 on the server's clock."""
        return time.monotonic() + self._clock_offset


def _queue_reads(pipeline: t.Any, name: str) -> None:
    for field in FIELDS:
        pipeline.get(storage_key(name, field))
    pipeline.get(hold_key(name))


def _parse_all(names: t.Sequence[str], values: t.Sequence[bytes | None]) -> list[core.Breaker]:
    labels = (*FIELDS, "hold")
    step = len(labels)
    return [
        parse_breaker(name, dict(zip(labels, values[index * step : (index + 1) * step])))
        for index, name in enumerate(names)
    ]


def _server_time(client: t.Any) -> float:
    with command_errors("asking for the time", left=_UNCHANGED):
        answer = client.time()
    # A cluster client answers for each of its nodes.
    seconds, microseconds = answer if isinstance(answer, tuple) else next(iter(answer.values()))
    return float(seconds) + microseconds / 1e6


def _writes(pipeline: t.Any, target: core.Breaker, now: float) -> None:
    """Send what makes the keys those of the target, in an order that is safe when cut short.

    The state comes last when a breaker opens: open without ``opened_at`` would let a call through.
    """
    _write_hold(pipeline, target, now)
    for field in NUMBERS:
        value, key = target.facts[field], storage_key(target.name, field)
        if value is None:
            pipeline.delete(key)
        else:
            pipeline.set(key, value)
    state = storage_key(target.name, "state")
    if target.exists:
        pipeline.set(state, "half-open" if target.state == core.HALF_OPEN else target.state)
    else:
        pipeline.delete(state)


def _write_hold(pipeline: t.Any, target: core.Breaker, now: float) -> None:
    key, hold = hold_key(target.name), target.hold
    if hold is None:
        pipeline.delete(key)
    else:
        left = None if hold.until is None else max(1, int((hold.until - now) * 1000))
        pipeline.set(key, json.dumps(hold.as_dict()), px=left)


def _change_together(
    client: t.Any, breakers: t.Sequence[core.Breaker], wish: core.Wish, now: float
) -> None:
    """One transaction for all: clients see every breaker change at the same moment."""
    names = [breaker.name for breaker in breakers]
    holds = [hold_key(name) for name in names]
    for _attempt in range(_ATTEMPTS):
        pipeline = client.pipeline(transaction=True)
        try:
            pipeline.watch(*holds)
            # Between WATCH and MULTI redis-py sends each command at once.
            _refuse_new_holders(breakers, [parse_hold(value) for value in pipeline.mget(holds)])
            pipeline.multi()
            for breaker in breakers:
                _writes(pipeline, target_of(breaker, wish, now=now), now)
            pipeline.execute()
        except redis.WatchError:
            continue
        else:
            return
        finally:
            pipeline.reset()
    raise core.BreakerError(
        "Others took and gave up these breakers again and again within the moment of the change. "
        f"{_left(breakers)}"
    )


def _change_in_cluster(
    client: t.Any, breakers: t.Sequence[core.Breaker], wish: core.Wish, now: float
) -> None:
    """Key by key: those of one breaker live on several nodes, which share no transaction."""
    for breaker in breakers:
        _refuse_new_holders([breaker], [parse_hold(client.get(hold_key(breaker.name)))])
        _writes(client, target_of(breaker, wish, now=now), now)


def _refuse_new_holders(
    breakers: t.Sequence[core.Breaker], holds: t.Sequence[core.Hold | None]
) -> None:
    for breaker, hold in zip(breakers, holds):
        if hold is not None and hold != breaker.hold:
            raise core.BreakerTakenError(
                f"{hold.holder!r} took breaker {breaker.name!r} a moment ago ({hold.reason}). "
                f"{_left(breakers)}"
            )


def _left(breakers: t.Sequence[core.Breaker]) -> str:
    names = ", ".join(repr(breaker.name) for breaker in breakers[:5])
    more = f" and {len(breakers) - 5} more" if len(breakers) > 5 else ""
    return f"Breakers {names}{more} may be changed or not; running the task again is safe."


def _eviction_warning(client: t.Any) -> str:
    try:
        memory = client.info("memory")
    except redis.RedisError:
        return ""
    policy = str(memory.get("maxmemory_policy", ""))
    if not policy.startswith("allkeys") or not memory.get("maxmemory"):
        return ""
    return (
        f"This server may evict breaker keys when its memory is full (maxmemory-policy {policy}); "
        "clients would then fall back to closed."
    )
