# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a task's options to a wish, and from an outcome to a result with its undo.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import math
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils import _breaker_provider as core
from ansible_collections.sre.rollback.plugins.module_utils._breaker_change import Outcome

# Beside these, `undo` repeats the options that say where the provider finds its breakers.
PLACE_OPTIONS = {
    "pybreaker_redis": ("db",),
    "resilience4j": ("instances",),
    "haproxy": ("haproxy_socket",),
}


def read_wish(params: t.Mapping[str, t.Any]) -> core.Wish:
    """The wish of the task. Raises BreakerError when its options contradict each other."""
    lease, state = params["lease"], params["state"]
    if lease is not None and (state != core.OPEN or not 0 < lease <= core.LONGEST_LEASE):
        raise core.BreakerError(
            "lease goes with state=open alone, and is above 0 and at most "
            f"{core.LONGEST_LEASE} seconds. Nothing was changed."
        )
    if not 0 <= params["settle"] < math.inf or not params["holder"]:
        raise core.BreakerError(
            "settle must not be negative or without end, and holder not empty. Nothing was changed."
        )
    if not 0 < params["login_timeout"] < math.inf:
        raise core.BreakerError("login_timeout must be above 0. Nothing was changed.")
    snapshot = params["snapshot"] or {}
    if any(not isinstance(entry, dict) for entry in snapshot.values()):
        raise core.BreakerError(
            "snapshot holds breakers by name, as this module returned them as before. "
            "Nothing was changed."
        )
    return core.Wish(
        state=state,
        holder=params["holder"],
        reason=params["reason"],
        lease=lease,
        take_over=params["take_over"],
        snapshot=snapshot,
    )


def result_of(outcome: Outcome, params: t.Mapping[str, t.Any], elapsed: float) -> dict[str, t.Any]:
    before = {breaker.name: breaker.as_dict() for breaker in outcome.before}
    after = {breaker.name: breaker.as_dict() for breaker in outcome.after}
    existed = {breaker.name for breaker in outcome.before if breaker.exists}
    return {
        "changed": bool(outcome.touched),
        "before": before,
        "after": after,
        "created": [
            each.name for each in outcome.after if each.exists and each.name not in existed
        ],
        "held_by_others": {each.name: each.as_dict()["hold"] for each in outcome.foreign},
        "reopened": list(outcome.reopened),
        "elapsed": round(elapsed, 6),
        "undo": undo_of(outcome, params) if outcome.touched else None,
    }


def undo_of(outcome: Outcome, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    provider = params["provider"]
    snapshot = {
        breaker.name: breaker.as_dict()
        for breaker in outcome.before
        if breaker.name in outcome.touched
    }
    place = {option: params[option] for option in PLACE_OPTIONS[provider]}
    return {
        "module": "sre.rollback.circuit_breaker",
        "args": {
            "provider": provider,
            **place,
            "state": core.RESTORED,
            "holder": params["holder"],
            "snapshot": snapshot,
        },
    }
