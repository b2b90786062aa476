# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers that get no new connections before they are stopped, and finish what they have begun.

The Engine's name server names a container until it has stopped, so a proxy goes on asking it until
the moment at which nobody answers any more, and then waits for an answer. A connection that is
refused is another matter: the proxy asks the next one at once, and users notice nothing.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import replace
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    ComposeError,
    Project,
)

#: Loopback is spared: a container's own health check and the Engine's name server are there.
_REFUSE = (
    "INPUT", "!", "-i", "lo", "-p", "tcp", "--syn", "-j", "REJECT", "--reject-with", "tcp-reset",
)  # fmt: skip
_SECONDS = 10.0


def refuse_new(project: Project, containers: t.Iterable[str]) -> str:
    """Let containers refuse connections from now on; those that they have go on.

    It ends with the container. Where it cannot be done it is left, and the words say why; empty
    when all of them refuse.
    """
    try:
        for container in containers:
            rules = _Rules(project, container)
            if not rules.refuse():
                rules.change("-I")
    except ComposeError as exc:
        return str(exc)
    return ""


def accept_new(project: Project, containers: t.Iterable[str]) -> None:
    """Take that back in containers that are to stay: a run may have been killed in between."""
    with contextlib.suppress(ComposeError):
        for container in containers:
            rules = _Rules(project, container)
            if rules.refuse():
                rules.change("-D")


class _Rules:
    """The packet filter in the network of one container; ComposeError where it is out of reach."""

    def __init__(self, project: Project, container: str) -> None:
        host = project.docker_host or os.environ.get("DOCKER_HOST", "")
        if host and not host.startswith("unix:"):
            raise ComposeError("the Engine is on another host")
        pid = project.run("inspect", "--format", "{{.State.Pid}}", container).strip()
        self._require_own(pid, container)
        self._network = f"--net=/proc/{pid}/ns/net"
        self._nsenter = replace(project, docker="nsenter")

    @staticmethod
    def _require_own(pid: str, container: str) -> None:
        """The number of its process may be that of another one, seen from here."""
        try:
            mine = pid != "0" and container in Path("/proc", pid, "cgroup").read_text()
        except OSError:
            mine = False
        if not mine:
            raise ComposeError("its process is not to be seen from here")

    def refuse(self) -> bool:
        """Whether new connections are refused already."""
        return "--reject-with tcp-reset" in self._iptables("-S", "INPUT")

    def change(self, action: str) -> None:
        self._iptables(action, *_REFUSE)

    def _iptables(self, *arguments: str) -> str:
        return self._nsenter.run(
            self._network, "iptables", "--wait", "5", *arguments, timeout=_SECONDS
        )
