# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The network of a container as the host's root sees it: its packet filter, and who is connected.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import os
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    ComposeError,
    Project,
)
from ansible_collections.sre.rollback.plugins.module_utils._tcp_sockets import peers, tables_of

_MARK = "rollback-playbook"
#: A new connection, of a rule that is ours.
NEW = f"-p tcp --syn -m comment --comment {_MARK}"
_SECONDS = 10.0
#: Networks whose rules are changed at the same time; each change is a program that runs.
_AT_ONCE = 4


@dataclass(frozen=True)
class Network:
    """That of one container."""

    nsenter: Project
    pid: str
    container: str

    def is_there(self) -> bool:
        """Whether its container has not ended meanwhile."""
        return Path("/proc", self.pid).exists()

    def is_connected(self) -> bool:
        """Whether somebody is connected to what it listens on, or has not got all of an answer."""
        return any(peers(table) for table in tables_of(self.pid))

    def ours(self, table: str, chain: str) -> list[str]:
        """Our rules in a chain of ``filter`` or ``nat``; raises ComposeError."""
        lines = self._run("iptables", "--table", table, "--list-rules", chain).splitlines()
        return [line.partition(" ")[2] for line in lines if _MARK in line.split()]

    def change(self, table: str, *, insert: t.Sequence[str] = (), delete: t.Sequence[str]) -> None:
        """All of it or nothing; raises ComposeError.

        Rules begin with their chain. Those inserted are before all others.
        """
        lines = [f"-I {rule}" for rule in insert] + [f"-D {rule}" for rule in delete]
        if lines:
            text = "\n".join((f"*{table}", *lines, "COMMIT", ""))
            self._run("iptables-restore", "--noflush", given=text)

    def _run(self, program: str, *arguments: str, given: str | None = None) -> str:
        network = f"--net=/proc/{self.pid}/ns/net"
        argv = (network, program, "--wait=5", *arguments)
        return self.nsenter.run(*argv, timeout=_SECONDS, given=given)


def networks_of(project: Project, containers: t.Iterable[str]) -> list[Network]:
    """Of each that runs and has one of its own; raises ComposeError where one is out of reach."""
    names = list(containers)
    if not names:
        return []
    host = project.docker_host or os.environ.get("DOCKER_HOST", "")
    if host and not host.startswith("unix:"):
        raise ComposeError("the Engine is on another host")
    wanted = "{{.State.Pid}} {{.Id}} {{.HostConfig.NetworkMode}}"
    nsenter, found = replace(project, docker="nsenter"), []
    for line in project.run("inspect", "--format", wanted, *names).splitlines():
        pid, container, mode = line.split()
        # One that keeps ending may have done so since somebody named it.
        if pid == "0":
            continue
        _require_own(pid, container)
        if mode != "host" and not mode.startswith("container:"):
            found.append(Network(nsenter, pid, container))
    return found


def on_each(networks: t.Sequence[Network], act: t.Callable[[Network], None]) -> None:
    """At the same time; raises what one of them raised."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        list(pool.map(act, networks))


def _require_own(pid: str, container: str) -> None:
    """The number of its process may be that of another one, seen from here."""
    try:
        mine = container in Path("/proc", pid, "cgroup").read_text()
    except OSError:
        mine = False
    if not mine:
        raise ComposeError("its process is not to be seen from here")
