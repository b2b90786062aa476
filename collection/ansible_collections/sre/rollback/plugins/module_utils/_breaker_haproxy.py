# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers behind HAProxy as breakers: an open one is in maintenance, and gets no requests.

Through the runtime API, which is a socket with the level ``admin``. A breaker is named
``backend/server``, or ``backend`` for all its servers.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils import _breaker_provider as core
from ansible_collections.sre.rollback.plugins.module_utils._haproxy import (
    DRAIN,
    MAINT,
    READY,
    RuntimeApi,
    states_of,
)

_MEANINGS = {READY: core.CLOSED, DRAIN: "draining", MAINT: core.OPEN}
_MIXED = "mixed"
_NAME = re.compile(r"[-\w.:]+(/[-\w.:]+)?", re.ASCII)


class Haproxy(core.Provider):
    """The servers of one HAProxy process."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._api = RuntimeApi(params["haproxy_socket"], params["login_timeout"])

    def refuse(self, wish: core.Wish) -> None:
        if wish.state == core.HALF_OPEN or wish.lease is not None:
            raise core.BreakerError(
                "HAProxy keeps a server in maintenance until it is told otherwise: it takes "
                "neither half_open nor a lease. Nothing was changed."
            )

    def names(self) -> list[str]:
        return sorted(self._api.servers())

    def observe(self, names: t.Sequence[str]) -> list[core.Breaker]:
        servers = states_of(self._api.servers())
        return [_breaker(name, _members(name, servers)) for name in names]

    def predict(self, breaker: core.Breaker, wish: core.Wish) -> core.Breaker:
        wanted = _wanted(breaker, wish)
        if not wanted:
            return breaker
        return _breaker(breaker.name, {**breaker.facts["servers"], **wanted})

    def apply(self, breakers: t.Sequence[core.Breaker], wish: core.Wish) -> None:
        for breaker in breakers:
            for server, state in _wanted(breaker, wish).items():
                self._api.set_state(server, state)

    def contradiction(self, breaker: core.Breaker, wish: core.Wish) -> str:
        return ", ".join(
            f"{server} is {breaker.facts['servers'][server]}, not {state}"
            for server, state in _wanted(breaker, wish).items()
        )


def _members(name: str, servers: t.Mapping[str, str]) -> dict[str, str]:
    if not _NAME.fullmatch(name):
        raise core.BreakerError(
            f"{name!r} is not a name of HAProxy: backend or backend/server. Nothing was changed."
        )
    return {
        server: state
        for server, state in servers.items()
        if name in (server, server.partition("/")[0])
    }


def _breaker(name: str, servers: t.Mapping[str, str]) -> core.Breaker:
    states = set(servers.values())
    state = core.ABSENT if not states else _MIXED
    if len(states) == 1:
        state = _MEANINGS[states.pop()]
    return core.Breaker(name, state, held=state == core.OPEN, facts={"servers": dict(servers)})


def _wanted(breaker: core.Breaker, wish: core.Wish) -> dict[str, str]:
    """The state that each server shall get, for those that have another one."""
    wanted = {}
    for server, state in breaker.facts["servers"].items():
        target = MAINT if wish.state == core.OPEN else READY
        if wish.state == core.RESTORED:
            target = _before(server, breaker.name, wish)
        if state != target:
            wanted[server] = target
    return wanted


def _before(server: str, name: str, wish: core.Wish) -> str:
    try:
        state = wish.snapshot[name]["servers"][server]
    except (KeyError, TypeError):
        state = None
    if state not in _MEANINGS:
        raise core.BreakerError(
            f"snapshot of breaker {name!r} does not say which state {server} had. Nothing was "
            "changed by that."
        )
    return str(state)
