# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers that get no new connections before they are stopped, and finish what they have begun.

Who shares a network with them is led elsewhere by a detour. This is for all others, such as a proxy
on the host: a connection that is refused is asked of the next container at once.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import time
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    ComposeError,
    Project,
)
from ansible_collections.sre.rollback.plugins.module_utils._container_network import (
    NEW,
    Network,
    networks_of,
    on_each,
)

#: Loopback is spared: a container's own health check and the Engine's name server are there.
_REFUSE = f"INPUT ! -i lo {NEW} -j REJECT --reject-with tcp-reset"
_PERIOD = 0.05


def refuse_new(project: Project, containers: t.Sequence[str], *, seconds: float) -> str:
    """Let containers refuse connections from now on, and finish those that they have.

    Returns when nobody is connected any more, or after ``seconds``. It ends with the container.
    Where it cannot be done it is left, and the words say why; empty when all of them refuse.
    """
    try:
        networks = networks_of(project, containers)
        if len(networks) < len(containers):
            return "one has ended, or shares its network with the host or with another container"
        on_each(networks, lambda network: network.change("filter", insert=[_REFUSE], delete=[]))
    except ComposeError as exc:
        return str(exc)
    deadline = time.monotonic() + seconds
    while any(network.is_connected() for network in networks):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        time.sleep(min(_PERIOD, left))
    return ""


def accept_new(project: Project, containers: t.Sequence[str]) -> None:
    """Take back what an earlier run has left in containers that stay, where it can be done."""

    def accept(network: Network) -> None:
        with contextlib.suppress(ComposeError):
            network.change("filter", delete=network.ours("filter", "INPUT"))

    with contextlib.suppress(ComposeError):
        on_each(networks_of(project, containers), accept)
