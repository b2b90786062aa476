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
options:
  dest:
    description: The folder. It is made when it is not there, readable by its owner alone.
    type: path
    required: true
  lines:
    description: How many log lines of each container to keep.
    type: int
    default: 100
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._compose
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
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

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    Project,
    connection_spec,
    project_from,
)
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

_STATE = "containers.json"


def keep(project: Project, dest: Path, lines: int) -> list[str]:
    """The names of the files; raises RollbackError. The state is written last: it is the mark."""
    dest.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = project.model()["name"]
    containers = project.containers(name)
    written = []
    for container in containers:
        log = project.run("logs", "--timestamps", "--tail", str(lines), container.id, joined=True)
        written.append(f"{container.name}.log")
        _atomic_file.replace(str(dest / written[-1]), log.encode(), mode=0o600)
    state = json.dumps([asdict(container) for container in containers], indent=2)
    _atomic_file.replace(str(dest / _STATE), state.encode(), mode=0o600)
    return [_STATE, *written]


def argument_spec() -> dict:
    return {
        **connection_spec(),
        "dest": {"type": "path", "required": True},
        "lines": {"type": "int", "default": 100},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params: t.Mapping[str, t.Any] = module.params
    dest = Path(params["dest"])
    kept = (dest / _STATE).exists()
    files: list[str] = []
    try:
        if not kept and not module.check_mode:
            files = keep(project_from(params), dest, params["lines"])
    except (RollbackError, OSError) as exc:
        module.fail_json(msg=f"the evidence cannot be kept: {exc}", **getattr(exc, "result", {}))
    module.exit_json(changed=not kept, files=files)


if __name__ == "__main__":
    main()
