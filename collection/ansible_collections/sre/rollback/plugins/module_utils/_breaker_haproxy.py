# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers behind HAProxy as breakers: an open one is in maintenance, and gets no requests.

Through the runtime API, which is a socket with the level ``admin``. A breaker is named
``backend/server``, or ``backend`` for all its servers.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import re
import socket
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils import _breaker_provider as core

# Bits of srv_admin_state: in maintenance by a command, by a tracked server, by the resolver or by
# its name; and draining. 0x04 only remembers that the configuration had it disabled at the start.
_MAINTENANCE = 0x01 | 0x02 | 0x20 | 0x40
_DRAINING = 0x08 | 0x10

_READY, _DRAIN, _MAINT = "ready", "drain", "maint"
_MEANINGS = {_READY: core.CLOSED, _DRAIN: "draining", _MAINT: core.OPEN}
_MIXED = "mixed"
_NAME = re.compile(r"[-\w.:]+(/[-\w.:]+)?", re.ASCII)


class Haproxy(core.Provider):
    """The servers of one HAProxy process."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._socket = params["haproxy_socket"]
        self._timeout = params["login_timeout"]

    def refuse(self, wish: core.Wish) -> None:
        if wish.state == core.HALF_OPEN or wish.lease is not None:
            raise core.BreakerError(
                "HAProxy keeps a server in maintenance until it is told otherwise: it takes "
                "neither half_open nor a lease. Nothing was changed."
            )

    def names(self) -> list[str]:
        return sorted(self._servers())

    def observe(self, names: t.Sequence[str]) -> list[core.Breaker]:
        servers = self._servers()
        return [_breaker(name, _members(name, servers)) for name in names]

    def predict(self, breaker: core.Breaker, wish: core.Wish) -> core.Breaker:
        wanted = _wanted(breaker, wish)
        if not wanted:
            return breaker
        return _breaker(breaker.name, {**breaker.facts["servers"], **wanted})

    def apply(self, breakers: t.Sequence[core.Breaker], wish: core.Wish) -> None:
        for breaker in breakers:
            for server, state in _wanted(breaker, wish).items():
                answer = self._ask(f"set server {server} state {state}").strip()
                if answer:
                    raise core.BreakerError(
                        f"HAProxy refuses to set {server} to {state}: {answer} Servers before it "
                        "in breakers may be changed. The socket needs 'level admin'."
                    )

    def contradiction(self, breaker: core.Breaker, wish: core.Wish) -> str:
        return ", ".join(
            f"{server} is {breaker.facts['servers'][server]}, not {state}"
            for server, state in _wanted(breaker, wish).items()
        )

    def _servers(self) -> dict[str, str]:
        """The administrative state of every server, by ``backend/server``."""
        answer = self._ask("show servers state")
        try:
            return parse_servers(answer)
        except (ValueError, IndexError, KeyError):
            text = answer.strip().splitlines()[0] if answer.strip() else "nothing"
            raise core.BreakerError(
                f"{self._socket} does not answer like HAProxy's runtime API: {text[:200]} "
                "Nothing was changed by that."
            ) from None

    def _ask(self, command: str) -> str:
        try:
            with contextlib.closing(self._connect()) as connection:
                connection.sendall(command.encode() + b"\n")
                received = bytearray()
                while chunk := connection.recv(65536):
                    received += chunk
        except (OSError, ValueError) as exc:
            raise core.BreakerError(
                f"HAProxy's runtime API at {self._socket} cannot be used: {exc}. Nothing was "
                "changed by that. Check haproxy_socket and who may use it."
            ) from exc
        return received.decode("utf-8", "backslashreplace")

    def _connect(self) -> socket.socket:
        if self._socket.startswith("/"):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(self._timeout)
            try:
                connection.connect(self._socket)
            except OSError:
                connection.close()
                raise
            return connection
        host, _colon, port = self._socket.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), self._timeout)


def parse_servers(answer: str) -> dict[str, str]:
    """The states of ``show servers state``. Raises ValueError or KeyError for anything else."""
    version, header, *lines = answer.strip().splitlines()
    if int(version) != 1:
        raise ValueError(version)
    columns = header.lstrip("# ").split(" ")
    servers = {}
    for line in lines:
        entry = dict(zip(columns, line.split(" ")))
        admin = int(entry["srv_admin_state"])
        state = _MAINT if admin & _MAINTENANCE else _DRAIN if admin & _DRAINING else _READY
        servers[f"{entry['be_name']}/{entry['srv_name']}"] = state
    return servers


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
        target = _MAINT if wish.state == core.OPEN else _READY
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
