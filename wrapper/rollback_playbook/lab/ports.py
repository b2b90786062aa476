"""Loopback ports for servers that stop and start again."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 10_000
_TRIES = 500


def free_ports(names: Collection[str]) -> dict[str, int]:
    """A loopback port for each name.

    The kernel takes the ports of outgoing connections from its own range (ip(7),
    ip_local_port_range). A server that restarts can lose such a port to any client meanwhile, so
    ports below that range are chosen.
    """
    below = _ephemeral_from()
    with ExitStack() as held:
        # All are held until the last is chosen, so they differ.
        return {name: _bound(held, below) for name in names}


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # As servers do: a connection that has ended but lingers does not take the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True


def _bound(held: ExitStack, below: int) -> int:
    candidates = (random.randrange(_LOWEST, below) for _ in range(_TRIES))  # noqa: S311
    for port in (*candidates, 0) if below > _LOWEST else (0,):
        each = held.enter_context(socket.socket())
        try:
            each.bind(("127.0.0.1", port))
        except OSError:
            continue
        return int(each.getsockname()[1])
    raise OSError("no loopback port is free")


def _ephemeral_from() -> int:
    """The first port of the kernel's range; 0 where it cannot be told."""
    try:
        return int(_EPHEMERAL.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0
