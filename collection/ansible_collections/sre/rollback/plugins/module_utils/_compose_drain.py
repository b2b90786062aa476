# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers that get no new connections before they are stopped, and finish what they have begun.

The Engine's name server names a container until it has stopped, so a proxy goes on asking it until
the moment at which nobody answers any more, and then waits for an answer. A connection that is
refused is another matter: the proxy asks the next one at once, and users notice nothing. So old
containers refuse before they are stopped, and once they have stopped those beside them refuse in
their place, for as long as proxies may take to learn that they are gone. (An nginx that waits for
one and learns meanwhile that it is gone does not even ask the next one: "no live upstreams", 502.)

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import time
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
_NEW = ("-p", "tcp", "--syn", "-m", "comment", "--comment", _MARK)
_REFUSE = ("-j", "REJECT", "--reject-with", "tcp-reset")
#: Loopback is spared: a container's own health check and the Engine's name server are there.
_FROM_OUTSIDE = ("INPUT", "!", "-i", "lo", *_NEW, *_REFUSE)
_SECONDS = 10.0
_PERIOD = 0.05
#: Networks whose rules are changed at the same time.
_AT_ONCE = 4
#: Refusing in the place of others ends by itself, since a later container may get the address.
_IN_THEIR_PLACE_SECONDS = 60


def refuse_new(project: Project, containers: t.Sequence[str], *, seconds: float) -> str:
    """Let containers refuse connections from now on, and finish those that they have.

    Returns when nobody is connected any more, or after ``seconds``. It ends with the container.
    Where it cannot be done it is left, and the words say why; empty when all of them refuse.
    """
    try:
        networks = _networks(project, containers)
        if len(networks) < len(containers):
            return "it shares its network with the host or with another container"
        _on_each(networks, lambda network: network.add(*_FROM_OUTSIDE))
    except ComposeError as exc:
        return str(exc)
    deadline = time.monotonic() + seconds
    while any(network.is_connected() for network in networks):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        time.sleep(min(_PERIOD, left))
    return ""


@contextlib.contextmanager
def refused_in_their_place(
    project: Project, containers: t.Sequence[str], *, seconds: float
) -> t.Iterator[None]:
    """Who shares a network with these containers finds them refusing when they go, and afterwards.

    It is left out where it cannot be done. ``seconds`` after they are gone it ends by itself.
    """
    networks: list[_Network] = []
    refuse: tuple[str, ...] = ()
    with contextlib.suppress(ComposeError):
        addresses, others = _beside(project, containers)
        refuse = ("OUTPUT", "-d", ",".join(addresses), *_NEW)
        networks = _networks(project, others) if addresses else []
    long = _until(_IN_THEIR_PLACE_SECONDS)

    def begin(network: _Network) -> None:
        # One that has ended meanwhile asks nobody.
        with contextlib.suppress(ComposeError):
            network.add(*refuse, *long)

    def end(network: _Network) -> None:
        with contextlib.suppress(ComposeError):
            network.add(*refuse, *_until(seconds))
            network.remove(*refuse, *long)

    _on_each(networks, begin)
    try:
        yield
    finally:
        _on_each(networks, end)


def _until(seconds: float) -> tuple[str, ...]:
    """The end of a rule that holds for so long, and for the rest of that second."""
    end = time.gmtime(time.time() + seconds)
    return ("-m", "time", "--datestop", time.strftime("%Y-%m-%dT%H:%M:%S", end), *_REFUSE)


def accept_new(project: Project, containers: t.Sequence[str], staying: t.Sequence[str]) -> None:
    """Take back what an earlier run has left, killed or not.

    ``staying`` accept, and nobody beside any of ``containers`` refuses in the place of others.
    """
    with contextlib.suppress(ComposeError):
        _on_each(_networks(project, staying), lambda network: network.clear("INPUT"))
    with contextlib.suppress(ComposeError):
        _addresses, others = _beside(project, containers)
        beside = _networks(project, [*containers, *others])
        _on_each(beside, lambda network: network.clear("OUTPUT"))


def _beside(project: Project, containers: t.Sequence[str]) -> tuple[list[str], list[str]]:
    """Addresses of containers, and the containers that share a network with one of them."""
    if not containers:
        return [], []
    described = json.loads(project.run("inspect", "--type", "container", *containers))
    ends = [end for one in described for end in one["NetworkSettings"]["Networks"].values()]
    addresses = [end["IPAddress"] for end in ends if end.get("IPAddress")]
    names = sorted({end["NetworkID"] for end in ends if end.get("NetworkID")})
    networks = json.loads(project.run("network", "inspect", *names)) if names else []
    others = {each for network in networks for each in network.get("Containers") or ()}
    return addresses, sorted(others - {one["Id"] for one in described})


@dataclass(frozen=True)
class _Network:
    """The network of one container, and its packet filter."""

    nsenter: Project
    pid: str

    def is_connected(self) -> bool:
        """Whether somebody is connected to what it listens on, or has not got all of an answer."""
        return any(peers(table) for table in tables_of(self.pid))

    def add(self, chain: str, *rule: str) -> None:
        """Before all others."""
        self._iptables("-I", chain, *rule)

    def remove(self, chain: str, *rule: str) -> None:
        """Of which it is known that it is there."""
        self._iptables("-D", chain, *rule)

    def clear(self, chain: str) -> None:
        """Remove what is ours."""
        for line in self._iptables("-S", chain).splitlines():
            action, *rule = shlex.split(line)
            if action == "-A" and _MARK in rule:
                self._iptables("-D", *rule)

    def _iptables(self, *arguments: str) -> str:
        network = f"--net=/proc/{self.pid}/ns/net"
        return self.nsenter.run(network, "iptables", "--wait", "5", *arguments, timeout=_SECONDS)


def _networks(project: Project, containers: t.Sequence[str]) -> list[_Network]:
    """Of each that has one of its own; raises ComposeError where one is out of reach."""
    if not containers:
        return []
    host = project.docker_host or os.environ.get("DOCKER_HOST", "")
    if host and not host.startswith("unix:"):
        raise ComposeError("the Engine is on another host")
    wanted = "{{.State.Pid}} {{.Id}} {{.HostConfig.NetworkMode}}"
    nsenter, found = replace(project, docker="nsenter"), []
    for line in project.run("inspect", "--format", wanted, *containers).splitlines():
        pid, container, mode = line.split()
        _require_own(pid, container)
        if mode != "host" and not mode.startswith("container:"):
            found.append(_Network(nsenter, pid))
    return found


def _on_each(networks: t.Sequence[_Network], act: t.Callable[[_Network], None]) -> None:
    """At the same time, since each is a program that runs; raises what one of them raised."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        list(pool.map(act, networks))


def _require_own(pid: str, container: str) -> None:
    """The number of its process may be that of another one, seen from here."""
    try:
        mine = pid != "0" and container in Path("/proc", pid, "cgroup").read_text()
    except OSError:
        mine = False
    if not mine:
        raise ComposeError("its process is not to be seen from here")
