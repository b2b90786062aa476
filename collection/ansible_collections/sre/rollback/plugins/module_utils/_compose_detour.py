# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""New connections to a container that cannot answer are led to one that can.

The Engine's name server gives a container's address away before anything listens in it, and whoever
has asked remembers it after the container is gone. Who connects to it then is refused, or waits for
somebody who does not answer: a proxy may ask the next address, a program that has no other gets an
error. (nginx asks no other one, too, when its list changes while it does so: "no live upstreams",
502.) So in every network namespace around, a rule of the packet filter (DNAT of the chain OUTPUT,
where the Engine has its own for names) leads such connections to a container that answers.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import typing as t
from dataclasses import dataclass

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

#: Rules end by themselves so long after a run is killed, since a later container may get the
#: address; until then they are renewed.
_HOLD_SECONDS = 15.0
_RENEW_SECONDS = 5.0
_TIME = "%Y-%m-%dT%H:%M:%S"
_ENDS = re.compile(r"--datestop (\S+)")
_CHAIN = "OUTPUT"
#: Others on a network are parts of the Engine.
_CONTAINER = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Lead:
    """Connections to these containers go to those, each to one on the same network."""

    containers: t.Sequence[str]
    instead: t.Sequence[str]


class Detour:
    """A context in which connections to some of ``containers`` (ids) can be led to others of them.

    ``seconds`` after it the last of its rules end. Connections that exist stay where they are.
    """

    def __init__(self, project: Project, containers: t.Sequence[str], *, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._renewing = threading.Thread(target=self._renew, daemon=True)
        #: The containers for which it is not meant, and the rule without its end.
        self._wanted: list[tuple[t.Collection[str], str]] = []
        self._there: dict[Network, list[str]] = {}
        #: Why some who may ask are not led, or not everywhere; empty when all are.
        self.gap = ""
        self._around = _Around({})
        try:
            self._around = _around(project, containers)
            networks = networks_of(project, self._around.containers)
        except ComposeError as exc:
            self.gap = str(exc)
        else:
            self.gap = self._around.gap
            self._there = {each: [] for each in networks}

    def __enter__(self) -> Detour:
        self._renewing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._renewing.join()
        with self._lock:
            self._apply(self._seconds)

    def lead(self, *leads: Lead) -> None:
        """From now on; what was said before holds no more."""
        with self._lock:
            self._wanted = [rule for each in leads for rule in self._rules(each)]
            self._apply(_HOLD_SECONDS)

    def _rules(self, lead: Lead) -> t.Iterator[tuple[t.Collection[str], str]]:
        # A container finds itself under its own address, which its health check may use, and its
        # replicas under theirs: those speak as members of a cluster, each with a certain other one.
        members = (*lead.containers, *lead.instead)
        for number, container in enumerate(lead.containers):
            for network, address in self._around.of(container).items():
                ends = (self._around.of(each).get(network) for each in lead.instead)
                targets = [each for each in ends if each]
                if targets:
                    target = targets[number % len(targets)]
                    yield (
                        members,
                        f"{_CHAIN} -d {address} {NEW} %s -j DNAT --to-destination {target}",
                    )

    def _renew(self) -> None:
        while not self._over.wait(_RENEW_SECONDS):
            with self._lock:
                if self._wanted:
                    self._apply(_HOLD_SECONDS)

    def _apply(self, seconds: float) -> None:
        """What is wanted, for so long; instead of what is there."""
        end = time.strftime(_TIME, time.gmtime(time.time() + seconds))
        rules = [(members, rule % f"-m time --datestop {end}") for members, rule in self._wanted]
        there: dict[Network, list[str]] = {}

        def change(network: Network) -> None:
            insert = [rule for members, rule in rules if network.container not in members]
            try:
                network.change("nat", insert=insert, delete=self._there[network])
            except ComposeError as exc:
                # One that has ended meanwhile asks nobody.
                if network.is_there():
                    self.gap = str(exc)
            else:
                there[network] = insert

        on_each(list(self._there), change)
        self._there = there


def end_detours(project: Project, containers: t.Sequence[str]) -> None:
    """Remove what earlier runs have left around containers, where it can be done.

    A rule for an address that nobody has any more is waited for, since it is still asked.
    """
    with contextlib.suppress(ComposeError):
        around = _around(project, containers)
        used = {address for each in around.containers for address in around.of(each).values()}
        left: list[tuple[Network, list[str]]] = []

        def look(network: Network) -> None:
            with contextlib.suppress(ComposeError):
                left.append((network, network.ours("nat", _CHAIN)))

        on_each(networks_of(project, around.containers), look)
        ends = [
            found.group(1)
            for _network, rules in left
            for rule in rules
            for found in [_ENDS.search(rule)]
            if found and rule.split()[2].partition("/")[0] not in used
        ]
        while ends and time.strftime(_TIME, time.gmtime()) <= max(ends):
            time.sleep(0.2)
        for network, rules in left:
            with contextlib.suppress(ComposeError):
                network.change("nat", delete=rules)


@dataclass(frozen=True)
class _Around:
    """Every container on the networks of some; its addresses by network, all of them by id."""

    addresses: t.Mapping[str, t.Mapping[str, str]]
    #: Why others than these may ask, or these at another address.
    gap: str = ""

    @property
    def containers(self) -> list[str]:
        return sorted(self.addresses)

    def of(self, container: str) -> t.Mapping[str, str]:
        return self.addresses.get(container, {})


def _around(project: Project, containers: t.Sequence[str]) -> _Around:
    if not containers:
        return _Around({})
    described = json.loads(project.run("inspect", "--type", "container", *containers))
    ends = [end for one in described for end in one["NetworkSettings"]["Networks"].values()]
    names = sorted({end["NetworkID"] for end in ends if end.get("NetworkID")})
    networks = json.loads(project.run("network", "inspect", *names)) if names else []
    addresses: dict[str, dict[str, str]] = {}
    gap = ""
    for network in networks:
        if network["Driver"] != "bridge":
            gap = f"network {network['Name']} reaches further than this host ({network['Driver']})"
        elif network.get("EnableIPv6"):
            gap = f"network {network['Name']} has IPv6 addresses, too"
        for container, end in (network.get("Containers") or {}).items():
            if _CONTAINER.fullmatch(container):
                address = str(end.get("IPv4Address") or "").partition("/")[0]
                addresses.setdefault(container, {})
                if address:
                    addresses[container][network["Id"]] = address
    return _Around(addresses, gap)
