# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe kind ``tcp``: a connection is accepted and, if wanted, something is said.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import socket
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Context,
    Kind,
    Leash,
    Options,
    Probe,
    ProbeFailedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.matching import Pattern
from ansible_collections.sre.rollback.plugins.module_utils._probes.network import (
    connected,
    endpoint,
)

_MOST_READ = 64 * 1024


def _options() -> dict[str, t.Any]:
    return {
        "host": {"type": "str", "required": True},
        "port": {"type": "int", "required": True},
        "send": {"type": "str"},
        "expect": {"type": "str"},
    }


def prepare(options: Options, _context: Context) -> Probe:
    """Read the options. Raises ProbeRefusedError."""
    where = endpoint(options["host"], options["port"])
    said = options["send"].encode() if options.get("send") else b""
    expect = Pattern.compile(options["expect"], "expect") if options.get("expect") else None

    def probe(leash: Leash) -> None:
        with connected(where, leash) as connection:
            connection.sendall(said)
            if expect is not None:
                _await(connection, expect, leash)

    return probe


def _await(connection: socket.socket, expect: Pattern, leash: Leash) -> None:
    heard = b""
    while not expect.found_in(heard.decode("utf-8", "replace"), leash):
        connection.settimeout(leash.remaining())
        piece = connection.recv(4096)
        if not piece or len(heard) > _MOST_READ:
            raise ProbeFailedError(f"the server never said {expect.text!r}")
        heard += piece


KIND = Kind("tcp", _options, prepare)
