# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HAProxy's runtime API: a socket with the level ``admin``.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import socket
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

READY, DRAIN, MAINT = "ready", "drain", "maint"

# Bits of srv_admin_state: in maintenance by a command, by a tracked server, by the resolver or by
# its name; and draining. 0x04 only remembers that the configuration had it disabled at the start.
_MAINTENANCE = 0x01 | 0x02 | 0x20 | 0x40
_DRAINING = 0x08 | 0x10
_OPERATIONAL = 2


class HaproxyError(RollbackError):
    """HAProxy does not answer, or refuses; the message says what was changed."""


@dataclass(frozen=True)
class Server:
    """One server of a backend: what the operator wants of it, and whether it is up."""

    state: str
    is_up: bool


@dataclass(frozen=True)
class RuntimeApi:
    """``address`` is the socket's path, or ``host:port``; ``timeout`` is in seconds."""

    address: str
    timeout: float

    def servers(self) -> dict[str, Server]:
        """Every server, by ``backend/server``. Raises HaproxyError."""
        return self.parsed(self.dump())

    def dump(self) -> str:
        """What a state file of HAProxy holds. Raises HaproxyError."""
        return self._ask("show servers state")

    def parsed(self, dump: str) -> dict[str, Server]:
        """The servers of a dump. Raises HaproxyError."""
        try:
            return parse_servers(dump)
        except (ValueError, IndexError, KeyError):
            text = dump.strip().splitlines()[0] if dump.strip() else "nothing"
            raise HaproxyError(
                f"{self.address} does not answer like HAProxy's runtime API: {text[:200]} "
                "Nothing was changed by that."
            ) from None

    def set_state(self, server: str, state: str) -> None:
        """Bring one ``backend/server`` into a state. Raises HaproxyError."""
        answer = self._ask(f"set server {server} state {state}").strip()
        if answer:
            raise HaproxyError(
                f"HAProxy refuses to set {server} to {state}: {answer} Servers that were asked "
                "for before it may be changed. The socket needs 'level admin'."
            )

    def _ask(self, command: str) -> str:
        try:
            with contextlib.closing(self._connect()) as connection:
                connection.sendall(command.encode() + b"\n")
                received = bytearray()
                while chunk := connection.recv(65536):
                    received += chunk
        except (OSError, ValueError) as exc:
            raise HaproxyError(
                f"HAProxy's runtime API at {self.address} cannot be used: {exc}. Nothing was "
                "changed by that. Check haproxy_socket and who may use it."
            ) from exc
        return received.decode("utf-8", "backslashreplace")

    def _connect(self) -> socket.socket:
        if self.address.startswith("/"):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(self.timeout)
            try:
                connection.connect(self.address)
            except OSError:
                connection.close()
                raise
            return connection
        host, _colon, port = self.address.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), self.timeout)


def parse_servers(answer: str) -> dict[str, Server]:
    """``show servers state``. Raises ValueError, IndexError or KeyError for anything else."""
    version, header, *lines = answer.strip().splitlines()
    if int(version) != 1:
        raise ValueError(version)
    columns = header.lstrip("# ").split(" ")
    servers = {}
    for line in lines:
        entry = dict(zip(columns, line.split(" ")))
        name = f"{entry['be_name']}/{entry['srv_name']}"
        is_up = int(entry["srv_op_state"]) == _OPERATIONAL
        servers[name] = Server(_state(int(entry["srv_admin_state"])), is_up)
    return servers


def states_of(servers: t.Mapping[str, Server]) -> dict[str, str]:
    """The states alone."""
    return {name: server.state for name, server in servers.items()}


def _state(admin: int) -> str:
    return MAINT if admin & _MAINTENANCE else DRAIN if admin & _DRAINING else READY
