# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is connected to a process's network, and whether something listens there, from the kernel.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

from pathlib import Path

#: States of ``/proc/net/tcp`` (include/net/tcp_states.h): all in which the peer may still want
#: something. TIME_WAIT, CLOSE and FIN_WAIT2 are not among them: there it has got all.
_LISTEN = "0A"
_WITH_A_PEER = frozenset({"01", "03", "04", "08", "09", "0B", "0C"})
#: 127.0.0.1, the same within IPv6, and ::1, as that file writes them on a little-endian machine.
_LOOPBACK = frozenset({"0100007F", f"{0:016}FFFF00000100007F", f"{0:024}01000000"})
#: 127.0.0.11, where the Engine's name server listens in the network of a container.
_NAME_SERVER = "0B00007F"


def tables_of(pid: int | str) -> list[str]:
    """The texts of ``/proc/net/tcp`` and ``tcp6``; what is not there is empty.

    The process may have ended, or its network has no IPv6.
    """
    return [_read(Path("/proc", str(pid), "net", name)) for name in ("tcp", "tcp6")]


def peers(table: str) -> list[str]:
    """Who still wants something of what listens, from one table."""
    rows = _rows(table)
    ports = {local.rpartition(":")[2] for local, _peer, state in rows if state == _LISTEN}
    return [
        peer
        for local, peer, state in rows
        if state in _WITH_A_PEER
        and local.rpartition(":")[2] in ports
        and local.rpartition(":")[0] not in _LOOPBACK
    ]


def listening(table: str) -> list[str]:
    """The addresses and ports on which programs listen, from one table."""
    found = [local for local, _peer, state in _rows(table) if state == _LISTEN]
    return sorted(local for local in found if local.rpartition(":")[0] != _NAME_SERVER)


def _rows(table: str) -> list[tuple[str, ...]]:
    """Own address, that of the other side, and the state."""
    return [tuple(line.split()[1:4]) for line in table.splitlines()[1:]]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
