# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let services of a Compose project run given images, through an override file of our own.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import json
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._compose_detour import (
    Detour,
    Lead,
    end_detours,
)
from ansible_collections.sre.rollback.plugins.module_utils._compose_drain import (
    accept_new,
    refuse_new,
)
from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    ComposeError,
    Project,
    replicas_of,
    repository_of,
)
from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    Image as HostImage,
)
from ansible_collections.sre.rollback.plugins.module_utils._compose_ready import wait_ready
from ansible_collections.sre.rollback.plugins.module_utils._compose_target import (
    Service,
    services_of,
)

_HEAD = (
    "# Written by rollback-playbook: images that run instead of those of your own Compose files,\n"
    "# which were left as they are. Your next deployment takes no notice of it.\n"
)
#: Compose starts containers one after another where it has to; this much time for all of them.
UP_SECONDS = 300.0
#: Labels for a proxy that sends nothing to what the Engine does not call healthy.
_HEALTH_IS_FOLLOWED_BY = ("traefik.",)


@dataclass(frozen=True)
class Image:
    """An image that a service is to run; the id counts, the reference is its name."""

    reference: str
    id: str


@dataclass(frozen=True)
class Order:
    """What is asked for."""

    project: Project
    override: str
    images: t.Mapping[str, Image]
    strategy: str
    timeout: float
    reload: tuple[tuple[str, ...], ...] = ()
    #: Seconds that the old containers stay when the new ones are ready, in which they then finish,
    #: and for which their addresses are asked when they are gone.
    drain: float = 0.0
    finish: float = 0.0
    remember: float = 0.0
    #: Whether proxies ask the Engine which containers are healthy; None where labels tell.
    wait_healthy: bool | None = None
    remove_orphans: bool = False
    remove_volumes: bool = False
    #: Services of which two containers may write to the same volume.
    shared_volumes: frozenset[str] = frozenset()

    def keeps_data(self, service: Service) -> bool:
        """Whether no second container may be started beside its own."""
        return service.keeps_data(shares=service.name in self.shared_volumes)


@dataclass(frozen=True)
class Found:
    """A project as it runs."""

    name: str
    services: t.Mapping[str, Service]
    #: Those that were asked for and are on the host, by id and by reference.
    images: t.Mapping[str, HostImage]

    def as_result(self) -> dict[str, t.Any]:
        """What runs, by service."""
        return {
            name: {
                "reference": service.current.reference,
                "id": service.current.image_id,
                "containers": [each.id for each in service.alive],
            }
            for name, service in self.services.items()
            if service.current is not None
        }


def look(order: Order) -> Found:
    """The project as it runs; raises ComposeError for services and images that are not there."""
    wanted = [word for image in order.images.values() for word in (image.id, image.reference)]
    with ThreadPoolExecutor(max_workers=1) as pool:
        asked = pool.submit(order.project.images, *wanted)
        name, services = services_of(order.project)
    unknown = sorted(set(order.images) - set(services))
    if unknown:
        raise ComposeError(
            f"the Compose file has no service {', '.join(unknown)}, only "
            f"{', '.join(sorted(services))}. Nothing was changed."
        )
    there = asked.result()
    for service, image in order.images.items():
        if image.id not in there:
            raise ComposeError(
                f"image {image.reference} ({image.id[:19]}) for service {service} is not on this "
                "host. Nothing was changed."
            )
    return Found(name, services, there)


def look_again(order: Order, found: Found) -> Found:
    """What runs now of the same definition; raises ComposeError."""
    now = order.project.containers(found.name)
    return replace(
        found,
        services={
            name: replace(each, containers=tuple(one for one in now if one.service == name))
            for name, each in found.services.items()
        },
    )


def to_change(order: Order, found: Found) -> list[str]:
    """The services that do not run their image, or not as often as they should."""
    return [name for name, image in order.images.items() if not _runs(found.services[name], image)]


def _runs(service: Service, image: Image) -> bool:
    right = all(each.image_id == image.id for each in service.alive)
    return right and len(service.alive) >= replicas_of(service.definition)


def switch(order: Order, found: Found, names: t.Sequence[str]) -> str:
    """Let the services run their images; raises ComposeError saying what runs then.

    The words say why users may have noticed an overlap; empty where they could not.
    """
    order = replace(order, images=named(order, found))
    write_override(order, found)
    _take_back(order, found, names)
    overlapped = [
        name
        for name in names
        if order.strategy == "overlap"
        and can_overlap(found.services[name])
        and not order.keeps_data(found.services[name])
    ]
    others = [name for name in names if name not in overlapped]
    noticed = ""
    try:
        if overlapped:
            noticed = _overlap(order, found, overlapped)
        if order.strategy == "all":
            _all_down_and_up(order, found)
        elif others:
            if overlapped:
                # A container that gets the address of one that is gone must be reached.
                _take_back(order, look_again(order, found), [])
            _up(order, others, {name: found.services[name].replicas for name in others})
    except ComposeError as exc:
        raise ComposeError(f"{exc}. {state_in_words(order, names)}", **exc.result) from exc
    return noticed


def recreate(order: Order, found: Found, names: t.Sequence[str]) -> None:
    """Let the services have new containers, of what the definition says now and of their images.

    Raises ComposeError saying what runs then.
    """
    order = replace(order, images=named(order, found))
    write_override(order, found)
    _take_back(order, found, names)
    scale = {name: found.services[name].replicas for name in names}
    try:
        _up(order, names, scale, "--force-recreate")
        now = look_again(order, found)
        fresh = [each.id for name in names for each in now.services[name].required]
        wait_ready(order.project, fresh, timeout=order.timeout)
        _tell_proxies(order)
    except ComposeError as exc:
        raise ComposeError(f"{exc}. {state_in_words(order, names)}", **exc.result) from exc


def _take_back(order: Order, found: Found, names: t.Sequence[str]) -> None:
    """What an earlier switch has left in packet filters, killed or not."""
    end_detours(order.project, [one.id for each in found.services.values() for one in each.alive])
    staying = [
        each.id
        for name in names
        for each in found.services[name].alive
        if each.image_id == order.images[name].id
    ]
    accept_new(order.project, staying)


def can_overlap(service: Service) -> bool:
    """Whether two generations of its containers can run at once.

    No name and no port is fixed. One in the network of the host or of another service has its ports
    there. Data are another matter (``Order.keeps_data``).
    """
    definition = service.definition
    ports = any(str(port.get("published") or "") for port in definition.get("ports") or ())
    networks = definition.get("networks") or {}
    addresses = any((each or {}).get("ipv4_address") for each in networks.values())
    mode = str(definition.get("network_mode") or "")
    shared = mode == "host" or mode.startswith(("service:", "container:"))
    fixed = definition.get("container_name") or ports or addresses or shared
    return bool(service.alive) and not fixed


def state_in_words(order: Order, names: t.Iterable[str]) -> str:
    """Which image each service runs now, for a message."""
    try:
        _name, services = services_of(order.project)
    except ComposeError:
        return "Docker does not say what runs now."
    words = []
    for name in names:
        alive = services[name].alive
        images = sorted({each.reference for each in alive})
        words.append(f"{name} runs {' and '.join(images)}" if alive else f"{name} does not run")
    return f"Now {', '.join(words)}."


def named(order: Order, found: Found) -> dict[str, Image]:
    """Each image with a name that means it."""
    return {
        name: Image(_name_of(order, found, name, image, found.images), image.id)
        for name, image in order.images.items()
    }


def _name_of(
    order: Order, found: Found, service: str, image: Image, there: t.Mapping[str, HostImage]
) -> str:
    """Its reference; a tag that has moved on gets one of ours instead."""
    now = there.get(image.reference)
    if not image.reference.startswith("sha256:") and now is not None and now.id == image.id:
        return image.reference
    repository = repository_of(found.services[service].reference)
    name = f"{repository}:rollback-{image.id.replace('sha256:', '')[:12]}"
    order.project.run("tag", image.id, name)
    return name


def write_override(order: Order, found: Found) -> None:
    """Earlier pins stay while they are still what runs; a deployment since then has undone them."""
    pins: dict[str, str] = {}
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = (_atomic_file.read(order.override) or b"{}").decode()
        body = "".join(line for line in text.splitlines(True) if not line.startswith("#"))
        earlier = {name: each["image"] for name, each in json.loads(body)["services"].items()}
        pins = {name: ref for name, ref in earlier.items() if _still_runs(found, name, ref)}
    if order.strategy == "all":
        pins = {**_what_runs(order, found, pins), **pins}
    pins.update({name: image.reference for name, image in order.images.items()})
    services = {name: {"image": ref, "pull_policy": "never"} for name, ref in sorted(pins.items())}
    Path(order.override).parent.mkdir(parents=True, exist_ok=True)
    text = _HEAD + json.dumps({"services": services}, indent=2) + "\n"
    _atomic_file.replace(order.override, text.encode())


def _what_runs(order: Order, found: Found, but: t.Container[str]) -> dict[str, str]:
    """A name for the image of each other service that has a container."""
    running = {
        name: Image(service.current.reference, service.current.image_id)
        for name, service in found.services.items()
        if service.current is not None and name not in but and name not in order.images
    }
    there = order.project.images(*(image.reference for image in running.values()))
    return {name: _name_of(order, found, name, image, there) for name, image in running.items()}


def _still_runs(found: Found, name: str, reference: str) -> bool:
    service = found.services.get(name)
    return bool(service and service.alive and service.alive[0].reference == reference)


def _up(order: Order, names: t.Sequence[str], scale: t.Mapping[str, int], *options: str) -> None:
    scaled = [word for name, count in scale.items() for word in ("--scale", f"{name}={count}")]
    orphans = ["--remove-orphans"] if order.remove_orphans else []
    order.project.compose(
        "up", "--detach", "--no-deps", "--no-build", "--quiet-pull", *orphans, *options, *scaled,
        *names,
        override=order.override,
        timeout=UP_SECONDS,
    )  # fmt: skip


def _all_down_and_up(order: Order, found: Found) -> None:
    options = ["--remove-orphans"] if order.remove_orphans else []
    options += ["--volumes"] if order.remove_volumes else []
    scale = {name: each.replicas for name, each in found.services.items() if each.alive}
    order.project.compose("down", *options, override=order.override, timeout=UP_SECONDS)
    scaled = [word for name, count in scale.items() for word in ("--scale", f"{name}={count}")]
    order.project.compose(
        "up", "--detach", "--no-build", *scaled, override=order.override, timeout=UP_SECONDS
    )


def _overlap(order: Order, found: Found, names: t.Sequence[str]) -> str:
    """New containers beside the old ones; those go when the new ones are ready and known.

    The words say why users may have noticed it, where they may.
    """
    old, scale = {}, {}
    for name in names:
        service, image = found.services[name], order.images[name]
        for each in service.containers:
            if not each.running:
                # By force, since one that keeps ending is being started again.
                order.project.run("rm", "--force", each.id)
        old[name] = [each.id for each in service.alive if each.image_id != image.id]
        right = len(service.alive) - len(old[name])
        wanted = max(len(old[name]), replicas_of(service.definition))
        scale[name] = len(old[name]) + max(right, wanted)
    _up(order, names, scale, "--no-recreate")
    now = order.project.containers(found.name)
    before = {name: [each.id for each in found.services[name].alive] for name in names}
    new = {
        name: [
            each.id
            for each in now
            if each.service == name and each.image_id == order.images[name].id
        ]
        for name in names
    }
    fresh = {name: [each for each in new[name] if each not in before[name]] for name in names}
    gone = _together(old)
    meanwhile = [Lead(fresh[name], before[name]) for name in names]
    there = _together(before) + _together(fresh)
    with Detour(order.project, there, seconds=order.remember) as detour:
        detour.lead(*meanwhile)
        try:
            wait_ready(
                order.project,
                _together(new),
                timeout=order.timeout,
                in_a_row=1,
                called_healthy=[
                    each.id for each in now if _has_to_be_called_healthy(order, found, each.service)
                ],
            )
            detour.lead(*(Lead(old[name], new[name]) for name in names))
            _tell_proxies(order)
            led = time.monotonic()
            # Twice more, with users on them: they stay ready.
            wait_ready(order.project, _together(new), timeout=order.timeout, settled=0.0)
            if gone:
                drain = max(order.drain, order.remember) if detour.gap else order.drain
                time.sleep(max(0.0, led + drain - time.monotonic()))
        except ComposeError:
            detour.lead(*meanwhile)
            if _together(fresh):
                order.project.run("rm", "--force", "--volumes", *_together(fresh), fails=False)
            raise
        # Where everybody is led, the old ones have been finishing since then.
        passed = 0.0 if order.drain or detour.gap else time.monotonic() - led
        return _retire(order, gone, order.finish - passed, detour.gap)


def _together(by_service: t.Mapping[str, t.Sequence[str]]) -> list[str]:
    return [each for containers in by_service.values() for each in containers]


def _has_to_be_called_healthy(order: Order, found: Found, service: str) -> bool:
    if order.wait_healthy is not None or service not in found.services:
        return bool(order.wait_healthy)
    labels = found.services[service].definition.get("labels") or {}
    return any(str(label).startswith(_HEALTH_IS_FOLLOWED_BY) for label in labels)


def _retire(order: Order, gone: t.Sequence[str], seconds: float, gap: str) -> str:
    """The old ones refuse, finish what they have begun, and go; words where users may notice."""
    if not gone:
        return ""
    why = refuse_new(order.project, gone, seconds=seconds)
    _remove(order, gone)
    return why or gap


def _remove(order: Order, gone: t.Sequence[str]) -> None:
    order.project.run("stop", *gone, timeout=UP_SECONDS)
    order.project.run("rm", *gone)
    _tell_proxies(order)


def _tell_proxies(order: Order) -> None:
    for command in order.reload:
        # What it starts may stay, and must not keep the turn.
        replace(order.project, docker=command[0], held=()).run(*command[1:])
