# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What pybreaker keeps in Redis about a breaker, and what it has to be for a wish.

``pybreaker.CircuitRedisStorage`` 1.x keeps four plain keys below ``<namespace>:pybreaker:``:
``state`` (closed, open, half-open), ``opened_at`` (whole seconds since 1970, UTC),
``fail_counter`` and ``success_counter``. A client refuses calls while the state is ``open`` and
its clock is before ``opened_at`` plus its own ``reset_timeout``; an open state without
``opened_at`` lets the next call through. Its setter only ever raises ``opened_at``. So a breaker
stays open until closed when ``opened_at`` lies far ahead, and a client that reports a failure
meanwhile cannot shorten it.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import json
import math
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils import _breaker_provider as core

# 3000-01-01T00:00:00Z: later than any lease, and early enough for a client to add its
# reset_timeout to it.
HELD_OPENED_AT = 32503680000

COUNTERS = ("fail_counter", "success_counter")
NUMBERS = ("opened_at", *COUNTERS)
FIELDS = ("state", *NUMBERS)


def storage_key(name: str, field: str) -> str:
    """The key in which pybreaker keeps ``field``. The empty name is the storage's default."""
    return f"{name}:pybreaker:{field}" if name else f"pybreaker:{field}"


def hold_key(name: str) -> str:
    """The key beside pybreaker's own that says who keeps the breaker open."""
    return f"{name}:rollback:hold" if name else "rollback:hold"


def breaker_name(key: bytes) -> str | None:
    """The breaker that this state key belongs to; None when it is not pybreaker's.

    Raises UnicodeDecodeError when the name is not UTF-8.
    """
    if key == b"pybreaker:state":
        return ""
    suffix = b":pybreaker:state"
    return key[: -len(suffix)].decode() if key.endswith(suffix) else None


def parse_hold(value: bytes | None) -> core.Hold | None:
    """The hold that this value records. One that cannot be read belongs to somebody unknown."""
    if value is None:
        return None
    try:
        entry = json.loads(value)
        until = entry["until"]
        return core.Hold(
            holder=str(entry["holder"]),
            reason=str(entry["reason"]),
            since=int(entry["since"]),
            until=None if until is None else int(until),
        )
    except (ValueError, KeyError, TypeError):
        return core.Hold("unknown", value[:80].decode("utf-8", "backslashreplace"), 0, None)


def parse_breaker(name: str, values: t.Mapping[str, bytes | None]) -> core.Breaker:
    """A breaker out of the values of its keys. Raises BreakerError when pybreaker could not."""
    numbers = {}
    for field in NUMBERS:
        value = values[field]
        try:
            numbers[field] = None if value is None else int(value)
        except ValueError:
            raise core.BreakerError(
                f"{storage_key(name, field)} holds {value!r}, which pybreaker cannot read. "
                "Nothing was changed. Delete that key, or repair it."
            ) from None
    raw, opened_at = values["state"], numbers["opened_at"]
    state = core.ABSENT if raw is None else raw.decode("utf-8", "backslashreplace")
    return core.Breaker(
        name=name,
        state=core.HALF_OPEN if state == "half-open" else state,
        held=state == core.OPEN and opened_at == HELD_OPENED_AT,
        hold=parse_hold(values["hold"]),
        facts=numbers,
    )


def target_of(breaker: core.Breaker, wish: core.Wish, *, now: float) -> core.Breaker:
    """The breaker as the wish leaves it."""
    if wish.state == core.RESTORED:
        return _from_snapshot(breaker.name, wish.snapshot[breaker.name])
    if wish.state == core.OPEN:
        until = None if wish.lease is None else math.ceil(now + wish.lease)
        return core.Breaker(
            name=breaker.name,
            state=core.OPEN,
            held=until is None,
            hold=core.Hold(wish.holder, wish.reason, int(now), until),
            facts={
                "opened_at": HELD_OPENED_AT if until is None else until,
                "fail_counter": breaker.facts["fail_counter"] or 0,
                "success_counter": 0,
            },
        )
    if wish.state == core.CLOSED and not breaker.exists and breaker.hold is None:
        return breaker
    facts = {"opened_at": None, "fail_counter": 0, "success_counter": 0}
    return core.Breaker(name=breaker.name, state=wish.state, facts=facts)


def _from_snapshot(name: str, entry: t.Mapping[str, t.Any]) -> core.Breaker:
    try:
        hold = entry["hold"]
        return core.Breaker(
            name=name,
            state=entry["state"],
            held=entry["held"],
            hold=core.Hold(**hold) if hold else None,
            facts={field: None if entry[field] is None else int(entry[field]) for field in NUMBERS},
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise core.BreakerError(
            f"snapshot of breaker {name!r} is not what this module returned as before: {exc!r}. "
            "Nothing was changed."
        ) from exc


def is_settled(breaker: core.Breaker, target: core.Breaker, wish: core.Wish) -> bool:
    """Whether clients already behave as the target has it, for the same holder and reason."""
    if wish.state == core.RESTORED:
        return breaker == target
    if (breaker.state, breaker.held) != (target.state, target.held):
        return False
    if wish.state == core.OPEN:
        mine = breaker.hold and (breaker.hold.holder, breaker.hold.reason)
        return target.held and mine == (wish.holder, wish.reason)
    return breaker.hold is None
