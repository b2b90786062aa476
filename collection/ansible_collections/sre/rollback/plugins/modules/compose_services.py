#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_services
short_description: Start, stop, restart or recreate services of a Compose project
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - The named services alone; what they depend on is left as it is.
  - A container that is there is started again as it is, whatever the Compose files say by now. One
    that is not is made from them; images are neither pulled nor built.
  - With O(state=recreated) the containers are made anew, from what the Compose files and the
    environment files say by now, and of the images that they run. A restart reads neither.
  - Services are started and restarted one after the other, each when the one before it is healthy.
    One without a health check has to run for three seconds. A container that has ended with exit
    code 0 is through.
options:
  services:
    description: The services, in the order in which they start. They are stopped in reverse.
    type: list
    elements: str
    required: true
  state:
    description: What is to be true of them afterwards.
    type: str
    choices: [started, stopped, restarted, recreated]
    default: started
  override:
    description:
      - The override file that keeps the services on the images that they run; that of
        M(sre.rollback.compose_release). Its folder is made when it is not there. Required with
        O(state=recreated).
    type: path
    default: ""
  reload:
    description:
      - Commands that tell proxies about new containers, with O(state=recreated), each a list of its
        arguments. They are run when the new ones are healthy.
    type: list
    elements: list
    default: []
  timeout:
    description: Seconds within which each of them has to be healthy; with O(state=recreated) all.
    type: float
    default: 60
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.no_diff
  - sre.rollback._compose
attributes:
  idempotent:
    support: partial
    details:
      - With O(state=restarted) they are restarted each time, with O(state=recreated) recreated.
seealso:
  - module: sre.rollback.compose_release
  - module: community.docker.docker_compose_v2
"""

EXAMPLES = r"""
- name: The bad colour is stopped
  sre.rollback.compose_services:
    project_src: /srv/shop
    services: [web-green]
    state: stopped

- name: The application has the limits that its environment file says by now
  sre.rollback.compose_services:
    project_src: /srv/shop
    services: [web]
    state: recreated
    override: /var/lib/rollback-playbook/releases/shop.override.yml
"""

RETURN = r"""
changes:
  description: The services that were changed, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: [web-green]
undo:
  description:
    - The module and arguments that bring back what was; null after a restart and after they were
      recreated.
  returned: success
  type: dict
  sample:
    module: sre.rollback.compose_services
    args: {project_src: /srv/shop, services: [web-green], state: started}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    ComposeError,
    Project,
    connection_spec,
    project_from,
)
from ansible_collections.sre.rollback.plugins.module_utils._compose_ready import wait_ready
from ansible_collections.sre.rollback.plugins.module_utils._compose_switch import (
    Image,
    Order,
    look,
    recreate,
)
from ansible_collections.sre.rollback.plugins.module_utils._compose_target import (
    Service,
    services_of,
)
from ansible_collections.sre.rollback.plugins.module_utils._compose_turn import turn
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

_OPPOSITE = {"started": "stopped", "stopped": "started"}
#: Beyond the time that a service may take to stop.
_SECONDS = 300.0
_EACH_TIME = ("restarted", "recreated")
_BEGIN = {
    "started": ("up", "--detach", "--no-deps", "--no-build", "--no-recreate", "--pull", "never"),
    "restarted": ("restart", "--no-deps"),
}


def found(project: Project, names: t.Sequence[str]) -> dict[str, Service]:
    """The services by name; raises ComposeError for a name that is none."""
    _name, services = services_of(project)
    unknown = sorted(set(names) - set(services))
    if unknown:
        raise ComposeError(
            f"the Compose file has no service {', '.join(unknown)}, only "
            f"{', '.join(sorted(services))}. Nothing was changed."
        )
    return {name: services[name] for name in names}


def to_change(services: t.Mapping[str, Service], state: str) -> list[str]:
    """The services that are not in that state."""
    if state in _EACH_TIME:
        return list(services)
    if state == "stopped":
        return [name for name, each in services.items() if _may_run(each)]
    return [name for name, each in services.items() if not _runs(each)]


def _may_run(service: Service) -> bool:
    """Whether one of its containers runs, or is about to be started again."""
    return any(each.running or each.restarting for each in service.containers)


def _runs(service: Service) -> bool:
    return bool(service.alive) and len(service.alive) == len(service.required)


def bring(project: Project, names: t.Sequence[str], state: str, timeout: float) -> None:
    """One after the other; raises ComposeError when a service does not get healthy."""
    if state == "stopped":
        project.compose("stop", *reversed(names), timeout=_SECONDS)
        return
    for name in names:
        project.compose(*_BEGIN[state], name, timeout=_SECONDS)
        # Also what has ended: a container that crashes is one to wait for, in vain.
        required = [each.id for each in found(project, [name])[name].required]
        wait_ready(project, required, timeout=timeout)


def bring_anew(project: Project, names: t.Sequence[str], params: t.Mapping[str, t.Any]) -> None:
    """What runs goes on to, with what is written down now; raises ComposeError."""
    runs = {name: service.current for name, service in found(project, names).items()}
    order = Order(
        project,
        params["override"],
        {name: Image(one.reference, one.image_id) for name, one in runs.items() if one is not None},
        "recreate",
        params["timeout"],
        reload=tuple(tuple(map(str, command)) for command in params["reload"]),
    )
    recreate(order, look(order), names)


def undo_of(params: t.Mapping[str, t.Any], changes: t.Sequence[str]) -> t.Any:
    """What was restarted or recreated leaves nothing to undo."""
    if not changes or params["state"] not in _OPPOSITE:
        return None
    args = {name: params[name] for name in (*connection_spec(), "timeout")}
    args.update(services=list(changes), state=_OPPOSITE[params["state"]])
    return {"module": "sre.rollback.compose_services", "args": args}


def argument_spec() -> dict:
    return {
        **connection_spec(),
        "services": {"type": "list", "elements": "str", "required": True},
        "state": {
            "type": "str",
            "choices": ["started", "stopped", "restarted", "recreated"],
            "default": "started",
        },
        "override": {"type": "path", "default": ""},
        "reload": {"type": "list", "elements": "list", "default": []},
        "timeout": {"type": "float", "default": 60},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[("state", "recreated", ["override"])],
        supports_check_mode=True,
    )
    params = module.params
    undo = None
    try:
        project = project_from(params)
        changes = to_change(found(project, params["services"]), params["state"])
        undo = undo_of(params, changes)
        if changes and not module.check_mode:
            with turn(project, timeout=_SECONDS) as mine:
                if params["state"] == "recreated":
                    bring_anew(mine, changes, params)
                else:
                    bring(mine, changes, params["state"], params["timeout"])
    except RollbackError as exc:
        module.fail_json(msg=str(exc), **{"undo": undo, **exc.result})
    module.exit_json(changed=bool(changes), changes=changes, undo=undo)


if __name__ == "__main__":
    main()
