#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_evidence
short_description: Keep the state, processes and last log lines of a Compose project's containers
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Containers are replaced by a rollback, and what they said goes with them; after a restart the
    process that had grown is gone. This writes what each container is, what it said last, and the
    memory and processor time of its processes into a folder on the host.
  - The Engine is asked for all of it, so it may be elsewhere.
  - The files stay there and are returned by name alone, since logs hold secrets and personal data.
  - What is there from an earlier attempt of the same incident is left as it is.
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.no_diff
  - sre.rollback._evidence
  - sre.rollback._compose
options:
  services:
    description: The services; all of the project when empty.
    type: list
    elements: str
    default: []
seealso:
  - module: sre.rollback.compose_restore_point
  - module: sre.rollback.supervisor_evidence
  - module: sre.rollback.systemd_evidence
"""

EXAMPLES = r"""
- name: State of the shop and its last log lines are kept
  sre.rollback.compose_evidence:
    project_src: /srv/shop
    dest: /var/lib/rollback-playbook/restore-points/2026-11-22T06-26-29Z-prod/evidence
"""

RETURN = r"""
files:
  description: What was written.
  returned: success
  type: list
  elements: str
  sample: [containers.json, shop-web-1.log, shop-web-1.processes.txt]
missing:
  description: Files that could not be had, each with its C(file) and C(error).
  returned: success
  type: list
  elements: dict
  sample:
    - error: "docker logs: configured logging driver does not support reading"
      file: shop-web-1.log
"""

import json
import typing as t
from dataclasses import asdict, replace

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _evidence
from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    Container,
    Project,
    connection_spec,
    project_from,
)

_STATE = "containers.json"
_COLUMNS = "pid,ppid,user,rss,pcpu,time,etimes,args"


def parts(
    project: Project, services: t.Container[str], lines: int, seconds: float
) -> list[_evidence.Part]:
    """What every container is, then what each said and has running; raises RollbackError."""
    patient = replace(project, patience=seconds)
    found = patient.containers(patient.name or patient.model()["name"])
    containers = [each for each in found if not services or each.service in services]
    state = json.dumps([asdict(each) for each in containers], indent=2).encode()

    def asked(*question: str) -> t.Callable[[float], bytes]:
        return lambda left: project.run(*question, timeout=left, joined=True).encode()

    def of(container: Container) -> t.Iterator[_evidence.Part]:
        logs = asked("logs", "--timestamps", "--tail", str(lines), container.id)
        yield _evidence.Part(_evidence.file_of(container.name, "log"), logs)
        if container.running:
            top = asked("top", container.id, "-eo", _COLUMNS)
            yield _evidence.Part(_evidence.file_of(container.name, "processes", "txt"), top)

    others = [part for container in containers for part in of(container)]
    return [_evidence.Part(_STATE, lambda _left: state), *others]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **connection_spec(),
            **_evidence.argument_spec(),
            "services": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    project, services = project_from(module.params), module.params["services"]
    lines = module.params["lines"]
    _evidence.exit_kept(module, _STATE, lambda seconds: parts(project, services, lines, seconds))


if __name__ == "__main__":
    main()
