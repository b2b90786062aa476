#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_evidence
short_description: Keep the state of a Compose project and its last log lines
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Containers are replaced by a rollback, and their logs go with them. This writes what each one is
    and what it said last into a folder on the host.
  - The files stay there and are returned by name alone, since logs hold secrets and personal data.
  - What is there from an earlier attempt of the same incident is left as it is.
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.no_diff
  - sre.rollback._evidence
  - sre.rollback._compose
"""

EXAMPLES = r"""
- name: State and last log lines are kept
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
  sample: [containers.json, shop-web-1.log]
"""

import json
import typing as t
from dataclasses import asdict
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _evidence
from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    Project,
    connection_spec,
    project_from,
)
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

_STATE = "containers.json"


def read(project: Project, lines: int) -> t.Iterator[tuple[str, bytes]]:
    """The files of every container, then the state; raises RollbackError."""
    containers = project.containers(project.model()["name"])
    for container in containers:
        log = project.run("logs", "--timestamps", "--tail", str(lines), container.id, joined=True)
        yield f"{container.name}.log", log.encode()
    state = json.dumps([asdict(container) for container in containers], indent=2)
    yield _STATE, state.encode()


def argument_spec() -> dict:
    return {**connection_spec(), **_evidence.argument_spec()}


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params: t.Mapping[str, t.Any] = module.params
    dest = Path(params["dest"])
    kept = _evidence.is_kept(dest, _STATE)
    files: list[str] = []
    try:
        if not kept and not module.check_mode:
            files = _evidence.keep(dest, read(project_from(params), params["lines"]))
    except (RollbackError, OSError) as exc:
        module.fail_json(msg=f"the evidence cannot be kept: {exc}", **getattr(exc, "result", {}))
    module.exit_json(changed=not kept, files=files)


if __name__ == "__main__":
    main()
