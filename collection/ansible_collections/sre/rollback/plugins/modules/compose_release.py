#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_release
short_description: Let services of a Compose project run given images
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - The images are set in an override file of this collection's own. Your Compose files stay as they
    are, and your next deployment with them takes no notice of it.
  - Only the services of O(images) are touched; the containers of the others keep running, unless
    O(strategy=all).
  - With O(state=proved) one container of each image is started beside what runs, without a port and
    without the name of the service, seen to be healthy, and taken away again.
  - Replicas stay as many as they are, and are as many as the Compose file says at least.
options:
  images:
    description:
      - The image of each service, with C(reference) and C(id). The image has to be on the host. The
        id counts; where the reference has come to mean another image, a tag is made for it.
    type: dict
    required: true
  override:
    description: The override file. Its folder is made when it is not there.
    type: path
    required: true
  state:
    description:
      - Whether the services run the images, or are only proved to be able to.
      - A service keeps data when it writes to a volume without a name, or to another volume or a
        folder of the host (see O(shared_volumes)). No second container is started beside it.
    type: str
    choices: [running, proved]
    default: running
  strategy:
    description:
      - With V(recreate), the containers of each service are replaced.
      - With V(overlap), new containers are started beside the old ones, and those are stopped when
        the new ones are healthy. When they do not get healthy they are taken away, and the old ones
        go on. A service with a fixed container name, port or address, or in the network of the
        host or of another service, is recreated, and so is one that keeps data.
      - With V(all), the whole project goes down and up.
    type: str
    choices: [recreate, overlap, all]
    default: recreate
  timeout:
    description: Seconds within which new containers have to be healthy (V(overlap), V(proved)).
    type: float
    default: 60
  reload:
    description:
      - Commands that tell proxies about new containers (V(overlap)), each a list of its arguments.
        They are run when the new ones are healthy, and again when the old ones are gone.
    type: list
    elements: list
    default: []
  drain:
    description:
      - Seconds for which the old containers stay when the new ones are ready (V(overlap)). Proxies
        that call a server up by checks of their own need it, such as HAProxy; so do those on the
        host and on other hosts. Where all of them are containers beside and only look names up,
        such as nginx, V(0) is right.
      - Meanwhile the health checks of the new containers have to hold twice more.
    type: float
    default: 3
  finish:
    description:
      - Seconds for which the old containers may then finish what they have begun, while they refuse
        new connections (V(overlap)). They are stopped sooner when nobody is connected to them; a
        proxy that keeps connections open always is.
    type: float
    default: 3
  remember:
    description:
      - Seconds for which the addresses of containers that are gone are still asked (V(overlap)),
        since proxies remember them. nginx looks names up a second later than its C(valid) says.
      - For so long, and before they are gone, what shares a network with them is led to the new
        ones when it connects to one of them. So is who connects to a new one that is not ready, to
        an old one.
      - That and refusing need root, C(nsenter) and C(iptables) on the host of the Engine, and know
        IPv4 alone. Otherwise the old containers stay for O(remember) if that is longer than
        O(drain), and a warning says why.
    type: float
    default: 5
  wait_healthy:
    description:
      - Whether the Engine itself has to call the new containers healthy before the old ones go
        (V(overlap)), which takes an interval of their health check. That is what a proxy needs
        which asks the Engine for healthy containers.
      - When it is not given, it is done for services that have labels of Traefik.
    type: bool
  remove_orphans:
    description: Remove containers of services that the Compose files do not have any more.
    type: bool
    default: false
  remove_volumes:
    description:
      - Delete the volumes of the project while it is down (V(all)). They are gone for good.
      - Only done when O(remove_volumes_of) says so too.
    type: bool
    default: false
  remove_volumes_of:
    description: The name of the project, as a second confirmation of O(remove_volumes).
    type: str
    default: ""
  shared_volumes:
    description:
      - Services of which two containers may write to the same volume or folder. No second container
        is started beside one that does, unless it is named here or has several replicas.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.full
  - sre.rollback._compose
notes:
  - A health check of a container is run as soon as something listens in it, after a second at the
    latest, and again until it holds, and not only after the interval at which the Engine runs it.
seealso:
  - module: sre.rollback.compose_release_info
  - module: community.docker.docker_compose_v2
"""

EXAMPLES = r"""
- name: Release 1.4.2 of the web service runs
  sre.rollback.compose_release:
    project_src: /srv/shop
    override: /var/lib/rollback-playbook/releases/shop.override.yml
    images:
      web: {reference: "shop/web:1.4.2", id: "sha256:4bd6…"}
    strategy: overlap
    reload:
      - [docker, exec, shop-proxy-1, nginx, -s, reload]
"""

RETURN = r"""
before:
  description: What each service ran before.
  returned: success
  type: dict
  sample:
    web: {reference: "shop/web:2.0.0", id: "sha256:77aa…", containers: [5f1c…]}
after:
  description: What each service runs now, or in check mode would run.
  returned: success
  type: dict
  sample:
    web: {reference: "shop/web:1.4.2", id: "sha256:4bd6…", containers: [90d2…]}
changes:
  description: The services that were changed, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: [web]
elapsed:
  description: Seconds it took.
  returned: success
  type: float
  sample: 2.4
undo:
  description: The module and arguments that bring back what was; null when nothing changed.
  returned: success
  type: dict
  sample:
    module: sre.rollback.compose_release
    args: {project_src: /srv/shop, images: {web: {reference: "shop/web:2.0.0", id: "sha256:77aa…"}}}
"""

import time
import typing as t
from dataclasses import replace

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    ComposeError,
    connection_spec,
    project_from,
)
from ansible_collections.sre.rollback.plugins.module_utils._compose_switch import (
    UP_SECONDS,
    Found,
    Image,
    Order,
    look,
    look_again,
    switch,
    to_change,
)
from ansible_collections.sre.rollback.plugins.module_utils._compose_trial import prove
from ansible_collections.sre.rollback.plugins.module_utils._compose_turn import turn
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

_LONGEST_SECONDS = 86400


def order_from(params: t.Mapping[str, t.Any]) -> Order:
    """Raises ComposeError for images without an id, and for waits that are none."""
    for name in ("timeout", "drain", "finish", "remember"):
        if not 0 <= params[name] <= _LONGEST_SECONDS:
            raise ComposeError(
                f"{name} must be from 0 to {_LONGEST_SECONDS} seconds, not {params[name]:g}. "
                "Nothing was changed."
            )
    images = {}
    for service, image in params["images"].items():
        if not isinstance(image, dict) or not image.get("id") or not image.get("reference"):
            raise ComposeError(
                f"the image of {service} needs reference and id. Nothing was changed."
            )
        images[service] = Image(str(image["reference"]), str(image["id"]))
    return Order(
        project=project_from(params),
        override=params["override"],
        images=images,
        strategy=params["strategy"],
        timeout=params["timeout"],
        reload=tuple(tuple(map(str, command)) for command in params["reload"]),
        drain=params["drain"],
        finish=params["finish"],
        remember=params["remember"],
        wait_healthy=params["wait_healthy"],
        remove_orphans=params["remove_orphans"],
        remove_volumes=params["remove_volumes"],
        shared_volumes=frozenset(params["shared_volumes"]),
    )


def require_confirmed(params: t.Mapping[str, t.Any], found: Found) -> None:
    """Raises ComposeError unless the deletion of volumes was asked for twice."""
    if not params["remove_volumes"]:
        return
    if params["strategy"] != "all":
        raise ComposeError("volumes are removed with strategy=all only. Nothing was changed.")
    if params["remove_volumes_of"] != found.name:
        raise ComposeError(
            f"the volumes of project {found.name} would be deleted for good, and "
            f"remove_volumes_of is {params['remove_volumes_of']!r}. Nothing was changed. Say "
            f"remove_volumes_of={found.name} if you mean it."
        )


def undo_of(params: t.Mapping[str, t.Any], found: Found, changes: t.Sequence[str]) -> t.Any:
    """Volumes that were deleted do not come back, and are not deleted again."""
    how = ("timeout", "reload", "drain", "finish", "remember", "wait_healthy", "shared_volumes")
    names = [*connection_spec(), "override", *how]
    images = {
        name: {"reference": current.reference, "id": current.image_id}
        for name in changes
        for current in [found.services[name].current]
        if current is not None
    }
    if not images:
        return None
    strategy = "recreate" if params["strategy"] == "all" else params["strategy"]
    args = {**{name: params[name] for name in names}, "images": images, "strategy": strategy}
    return {"module": "sre.rollback.compose_release", "args": args}


def act(module: AnsibleModule, order: Order, found: Found, changes: list[str]) -> Found:
    """What runs afterwards; raises ComposeError with the undo of what was begun."""
    if module.params["state"] == "proved":
        unproved = prove(order, found, changes)
        if unproved:
            module.warn(
                f"{', '.join(unproved)}: no second container was started beside it, since it keeps "
                "data in a volume; the gate alone proves its image"
            )
        return found
    if order.strategy == "overlap":
        alone = [name for name in changes if order.keeps_data(found.services[name])]
        if alone:
            module.warn(
                f"{', '.join(alone)}: recreated and not overlapped, since it keeps data in a "
                "volume; shared_volumes (release_compose_shared_volumes) says where two containers "
                "may write to it"
            )
    try:
        noticed = switch(order, found, changes)
    except ComposeError as exc:
        exc.result.setdefault("undo", undo_of(module.params, found, changes))
        raise
    if noticed:
        module.warn(
            f"proxies could not be led away from the old containers ({noticed}); a few "
            "requests may have waited or failed"
        )
    return look_again(order, found)


def run(module: AnsibleModule) -> dict[str, t.Any]:
    """The result of the module; raises RollbackError."""
    if module.check_mode:
        return changed_by(module, order_from(module.params))
    order = order_from(module.params)
    with turn(order.project, timeout=UP_SECONDS) as project:
        return changed_by(module, replace(order, project=project))


def changed_by(module: AnsibleModule, order: Order) -> dict[str, t.Any]:
    """The same, while nobody else changes the project."""
    params, started = module.params, time.monotonic()
    found = look(order)
    require_confirmed(params, found)
    changes = to_change(order, found)
    running = params["state"] == "running"
    after = found if module.check_mode or not changes else act(module, order, found, changes)
    expected = {
        name: {"reference": order.images[name].reference, "id": order.images[name].id}
        for name in changes
        if running and module.check_mode
    }
    return {
        "changed": bool(changes) and running,
        "before": found.as_result(),
        "after": {**after.as_result(), **expected},
        "changes": changes,
        "elapsed": round(time.monotonic() - started, 3),
        "undo": undo_of(params, found, changes) if running else None,
    }


def argument_spec() -> dict:
    return {
        **connection_spec(),
        "images": {"type": "dict", "required": True},
        "override": {"type": "path", "required": True},
        "state": {"type": "str", "choices": ["running", "proved"], "default": "running"},
        "strategy": {
            "type": "str",
            "choices": ["recreate", "overlap", "all"],
            "default": "recreate",
        },
        "timeout": {"type": "float", "default": 60},
        "reload": {"type": "list", "elements": "list", "default": []},
        "drain": {"type": "float", "default": 3},
        "finish": {"type": "float", "default": 3},
        "remember": {"type": "float", "default": 5},
        "wait_healthy": {"type": "bool"},
        "remove_orphans": {"type": "bool", "default": False},
        "remove_volumes": {"type": "bool", "default": False},
        "remove_volumes_of": {"type": "str", "default": ""},
        "shared_volumes": {"type": "list", "elements": "str", "default": []},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        result = run(module)
    except RollbackError as exc:
        module.fail_json(msg=str(exc), **exc.result)
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
