#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: traffic
short_description: Keep users out while something is switched, and let them in as it was found
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - With V(paused), requests under way are answered and new ones get 503 with C(Retry-After).
  - With V(resumed), users get exactly what they got before the pause.
  - The new configuration is tested before nginx is reloaded, and proved by requests afterwards.
    When either fails, what was there is put back.
  - The server block has to include O(maintenance_path). The file may be empty, and belongs to this
    module.
options:
  provider:
    description: What lets users in.
    type: str
    choices: [nginx]
    default: nginx
  state:
    description: What users get.
    type: str
    choices: [paused, resumed]
    required: true
  binary:
    description: The program of nginx.
    type: str
    default: nginx
  config:
    description: The main configuration file.
    type: path
    default: /etc/nginx/nginx.conf
  prefix:
    description: The prefix that nginx was started with, when it was started with one.
    type: path
  command:
    description: What the program is called through, for example V([docker, exec, proxy]).
    type: list
    elements: str
    default: []
  maintenance_path:
    description: The file that the server block includes.
    type: path
    required: true
  url:
    description: Asked after the reload to prove what users get.
    type: str
    required: true
  validate_certs:
    description: Whether the certificate of O(url) must be valid.
    type: bool
    default: true
  retry_after:
    description: Seconds that the maintenance answer tells clients to wait.
    type: int
    default: 30
  timeout:
    description: Seconds within which users have to get the new answer.
    type: float
    default: 10
extends_documentation_fragment:
  - sre.rollback._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Users get the maintenance answer
  sre.rollback.traffic:
    maintenance_path: /etc/nginx/rollback/maintenance.conf
    url: https://shop.example.com/
    state: paused

- name: Users are let in again
  sre.rollback.traffic:
    maintenance_path: /etc/nginx/rollback/maintenance.conf
    url: https://shop.example.com/
    state: resumed
"""

RETURN = r"""
before:
  description: What users got before.
  returned: success
  type: dict
  sample: {paused: false, status: 200}
after:
  description: What users get now, or in check mode would get.
  returned: success
  type: dict
  sample: {paused: true, status: 503}
elapsed:
  description: Seconds it took.
  returned: success
  type: float
  sample: 0.08
undo:
  description: The module and arguments that bring back what was; null when nothing changed.
  returned: success
  type: dict
  sample:
    module: sre.rollback.traffic
    args: {provider: nginx, state: resumed, maintenance_path: /etc/nginx/rollback/maintenance.conf}
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._traffic_nginx import (
    Nginx,
    nginx_from,
)

_OPPOSITE = {"paused": "resumed", "resumed": "paused"}
_MAINTENANCE_STATUS = 503


def argument_spec() -> dict:
    return {
        "provider": {"type": "str", "choices": ["nginx"], "default": "nginx"},
        "state": {"type": "str", "choices": ["paused", "resumed"], "required": True},
        "binary": {"type": "str", "default": "nginx"},
        "config": {"type": "path", "default": "/etc/nginx/nginx.conf"},
        "prefix": {"type": "path"},
        "command": {"type": "list", "elements": "str", "default": []},
        "maintenance_path": {"type": "path", "required": True},
        "url": {"type": "str", "required": True},
        "validate_certs": {"type": "bool", "default": True},
        "retry_after": {"type": "int", "default": 30},
        "timeout": {"type": "float", "default": 10},
    }


def observed(proxy: Nginx) -> dict:
    """What users get, and what the file says: the two differ when a run was killed in between."""
    answer = proxy.answer()
    return {
        "paused": answer.maintenance,
        "status": answer.status,
        "configured": "paused" if proxy.is_paused() else "resumed",
    }


def is_as_asked(found: t.Mapping[str, t.Any], state: str) -> bool:
    answered = found["status"] > 0
    return answered and found["configured"] == state and found["paused"] is (state == "paused")


def predicted(state: str) -> dict:
    status = _MAINTENANCE_STATUS if state == "paused" else None
    return {"paused": state == "paused", "status": status, "configured": state}


def bring(proxy: Nginx, state: str) -> dict:
    """Pause or resume; what users get then. Raises TrafficError."""
    (proxy.pause if state == "paused" else proxy.resume)()
    return observed(proxy)


def undo_of(params: t.Mapping[str, t.Any]) -> dict:
    names = ("provider", "binary", "config", "prefix", "command", "maintenance_path", "url")
    args = {name: params[name] for name in names if params[name]}
    args["state"] = _OPPOSITE[params["state"]]
    return {"module": "sre.rollback.traffic", "args": args}


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    state = module.params["state"]
    started = time.monotonic()
    try:
        proxy = nginx_from(module.params)
        before = observed(proxy)
        changed = not is_as_asked(before, state)
        after = before
        if changed:
            after = predicted(state) if module.check_mode else bring(proxy, state)
    except RollbackError as exc:
        module.fail_json(msg=str(exc), **exc.result)
    result = {
        "changed": changed,
        "before": before,
        "after": after,
        "elapsed": round(time.monotonic() - started, 3),
        "undo": undo_of(module.params) if changed else None,
    }
    if module._diff:
        result["diff"] = {"before": before, "after": after}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
