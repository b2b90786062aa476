# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers that get no new connections before they are stopped, and finish what they have begun.

The Engine's name server names a container until it has stopped, so a proxy goes on asking it until
the moment at which nobody answers any more, and then waits for an answer. A connection that is
refused is another matter: the proxy asks the next one at once, and users notice nothing. So old
containers refuse before they are stopped, and once they have stopped those beside them refuse in
their place, until proxies have learnt that they are gone. (An nginx that waits for one and learns
meanwhile that it is gone does not even ask the next one: "no live upstreams", 502.)

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import time
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    ComposeError,
    Project,
)

_MARK = "rollback-playbook"
_NEW = ("-p", "tcp", "--syn", "-m", "comment", "--comment", _MARK)
_REFUSE = ("-j", "REJECT", "--reject-with", "tcp-reset")
#: Loopback is spared: a container's own health check and the Engine's name server are there.
_FROM_OUTSIDE = ("INPUT", "!", "-i", "lo", *_NEW, *_REFUSE)
_SECONDS = 10.0
#: Refusing in the place of others ends by itself, since a later container may get the address.
_IN_THEIR_PLACE_SECONDS = 60


def refuse_new(project: Project, containers: t.Sequence[str]) -> str:
    """Let containers refuse connections from now on; those that they have go on.

    It ends with the container. Where it cannot be done it is left, and the words say why; empty
    when all of them refuse.
    """
    try:
        for filter_ in _filters(project, containers):
            filter_.add(*_FROM_OUTSIDE)
    except ComposeError as exc:
        return str(exc)
    return ""


@contextlib.contextmanager
def refused_in_their_place(project: Project, containers: t.Sequence[str]) -> t.Iterator[None]:
    """Who shares a network with these containers finds them refusing, also once they are gone.

    It is left out where it cannot be done, and ends by itself when this process is killed.
    """
    filters: list[_Filter] = []
    with contextlib.suppress(ComposeError):
        addresses, others = _beside(project, containers)
        until = time.gmtime(time.time() + _IN_THEIR_PLACE_SECONDS)
        while_young = ("-m", "time", "--datestop", time.strftime("%Y-%m-%dT%H:%M:%S", until))
        filters = _filters(project, others) if addresses else []
        for filter_ in filters:
            # One that has ended meanwhile asks nobody.
            with contextlib.suppress(ComposeError):
                filter_.add("OUTPUT", "-d", ",".join(addresses), *_NEW, *while_young, *_REFUSE)
    try:
        yield
    finally:
        for filter_ in filters:
            with contextlib.suppress(ComposeError):
                filter_.clear("OUTPUT")


def accept_new(project: Project, containers: t.Sequence[str], staying: t.Sequence[str]) -> None:
    """Take back what a killed run has left: ``staying`` accept, and none of the project refuses."""
    with contextlib.suppress(ComposeError):
        for filter_ in _filters(project, staying):
            filter_.clear("INPUT")
        for filter_ in _filters(project, containers):
            filter_.clear("OUTPUT")


def _beside(project: Project, containers: t.Sequence[str]) -> tuple[list[str], list[str]]:
    """Addresses of containers, and the containers that share a network with one of them."""
    described = json.loads(project.run("inspect", "--type", "container", *containers))
    ends = [end for one in described for end in one["NetworkSettings"]["Networks"].values()]
    addresses = [end["IPAddress"] for end in ends if end.get("IPAddress")]
    names = sorted({end["NetworkID"] for end in ends if end.get("NetworkID")})
    networks = json.loads(project.run("network", "inspect", *names)) if names else []
    others = {each for network in networks for each in network.get("Containers") or ()}
    return addresses, sorted(others - {one["Id"] for one in described})


@dataclass(frozen=True)
class _Filter:
    """The packet filter in the network of one container."""

    nsenter: Project
    network: str

    def add(self, chain: str, *rule: str) -> None:
        """Before all others."""
        self._iptables("-I", chain, *rule)

    def clear(self, chain: str) -> None:
        """Remove what is ours."""
        for line in self._iptables("-S", chain).splitlines():
            action, *rule = shlex.split(line)
            if action == "-A" and _MARK in rule:
                self._iptables("-D", *rule)

    def _iptables(self, *arguments: str) -> str:
        return self.nsenter.run(
            self.network, "iptables", "--wait", "5", *arguments, timeout=_SECONDS
        )


def _filters(project: Project, containers: t.Sequence[str]) -> list[_Filter]:
    """Of each container that runs; raises ComposeError where one is out of reach."""
    if not containers:
        return []
    host = project.docker_host or os.environ.get("DOCKER_HOST", "")
    if host and not host.startswith("unix:"):
        raise ComposeError("the Engine is on another host")
    text = project.run("inspect", "--format", "{{.State.Pid}} {{.Id}}", *containers)
    processes = [line.split() for line in text.splitlines()]
    for pid, container in processes:
        _require_own(pid, container)
    nsenter = replace(project, docker="nsenter")
    return [_Filter(nsenter, f"--net=/proc/{pid}/ns/net") for pid, _container in processes]


def _require_own(pid: str, container: str) -> None:
    """The number of its process may be that of another one, seen from here."""
    try:
        mine = pid != "0" and container in Path("/proc", pid, "cgroup").read_text()
    except OSError:
        mine = False
    if not mine:
        raise ComposeError("its process is not to be seen from here")
