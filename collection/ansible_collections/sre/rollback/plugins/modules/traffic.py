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
  - With V(paused), requests under way are answered and new ones get 503. With V(resumed), users get
    exactly what they got before the pause. With V(switched), they are sent to the other side, for
    example from green to blue.
  - What users get is proved by requests afterwards. When they get something else, what was there
    is put back.
  - With nginx, the maintenance answer has C(Retry-After), the new configuration is tested before
    the reload, and the proof waits until no old worker takes connections. The server block has to
    include O(maintenance_path), and the C(http) block O(upstream_path). The files may be empty, and
    belong to this module.
  - With HAProxy, the servers of O(backend) are set to C(ready), C(drain) or C(maint) through the
    runtime API. O(server_state_path) is written for the process that comes after a reload, which
    reads it when the configuration has C(server-state-file) with this path and
    C(load-server-state-from-file global).
options:
  provider:
    description: What lets users in.
    type: str
    choices: [nginx, haproxy]
    default: nginx
  state:
    description: What users get.
    type: str
    choices: [paused, resumed, switched]
    required: true
  url:
    description: Asked afterwards to prove what users get.
    type: str
    required: true
  validate_certs:
    description: Whether the certificate of O(url) must be valid.
    type: bool
    default: true
  expected_status:
    description:
      - The answers of O(url) that prove V(switched). Any answer does when it is left out.
      - With V(haproxy), the answers that prove V(paused) and V(resumed), too. By default that is
        503 when no server is left to serve, and anything else when there is one.
    type: list
    elements: int
    default: []
  expected_text:
    description:
      - What only the new side's answer has, in its body or in the line of a header, in any case.
        Proves V(switched) beyond doubt.
    type: str
    default: ""
  timeout:
    description: Seconds within which users have to get the new answer.
    type: float
    default: 10
  maintenance_path:
    description: The file that nginx's server block includes. Required to pause and resume it.
    type: path
  retry_after:
    description: Seconds that nginx's maintenance answer tells clients to wait.
    type: int
    default: 30
  upstream_path:
    description: The file that nginx's C(http) block includes. Required to switch it.
    type: path
  upstream:
    description: What O(upstream_path) shall hold, in nginx's language. Required to switch it.
    type: str
  binary:
    description: The program of nginx.
    type: str
    default: nginx
  config:
    description: The main configuration file of nginx.
    type: path
    default: /etc/nginx/nginx.conf
  prefix:
    description: The prefix that nginx was started with, when it was started with one.
    type: path
  command:
    description:
      - What nginx is called through, for example V([docker, exec, proxy]). Its workers are not seen
        then, and the proof takes longer.
    type: list
    elements: str
    default: []
  haproxy_socket:
    description:
      - HAProxy's runtime API with the level C(admin), as the path of its socket or as C(host:port).
      - Required by V(haproxy).
    type: str
  backend:
    description: The backend whose servers are set. Required by V(haproxy).
    type: str
  server_state_path:
    description: HAProxy's C(server-state-file). Required by V(haproxy).
    type: path
  pause_with:
    description:
      - V(maint) ends the traffic to a server. V(drain) lets those go on who are bound to it by a
        cookie.
    type: str
    choices: [maint, drain]
    default: maint
  servers:
    description:
      - Servers of O(backend) and the state each shall have, V(ready), V(drain) or V(maint); the
        others stay as they are. Those that come are waited for before those that go are set.
      - Required to switch HAProxy.
    type: dict
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.full
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

- name: Users are on blue again
  sre.rollback.traffic:
    upstream_path: /etc/nginx/rollback/upstream.conf
    upstream: |
      upstream shop { server 10.0.0.7:8000; keepalive 16; }
    url: https://shop.example.com/health
    expected_status: [200]
    expected_text: "X-Colour: blue"
    state: switched

- name: HAProxy sends users to blue, and none to green
  sre.rollback.traffic:
    provider: haproxy
    haproxy_socket: /run/haproxy/admin.sock
    server_state_path: /var/lib/haproxy/server-state
    backend: shop
    servers:
      blue: ready
      green: drain
    url: https://shop.example.com/health
    state: switched
"""

RETURN = r"""
before:
  description:
    - What users got before. With nginx, C(configured) is what its file says. C(upstream) is its
      content with V(switched). With HAProxy, C(servers) has the state of each server.
  returned: success
  type: dict
  sample: {paused: false, status: 200, configured: resumed}
after:
  description: What users get now, or in check mode would get.
  returned: success
  type: dict
  sample: {paused: true, status: 503, configured: paused}
elapsed:
  description: Seconds it took.
  returned: success
  type: float
  sample: 0.18
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
from ansible_collections.sre.rollback.plugins.module_utils._secrets import secrets_in
from ansible_collections.sre.rollback.plugins.module_utils._traffic_haproxy import haproxy_from
from ansible_collections.sre.rollback.plugins.module_utils._traffic_nginx import nginx_from
from ansible_collections.sre.rollback.plugins.module_utils._traffic_provider import (
    Facts,
    Provider,
)

_PROVIDERS: dict[str, t.Callable[[t.Mapping[str, t.Any]], Provider]] = {
    "nginx": nginx_from,
    "haproxy": haproxy_from,
}


def argument_spec() -> dict:
    return {
        "provider": {"type": "str", "choices": list(_PROVIDERS), "default": "nginx"},
        "state": {"type": "str", "choices": ["paused", "resumed", "switched"], "required": True},
        "url": {"type": "str", "required": True},
        "validate_certs": {"type": "bool", "default": True},
        "expected_status": {"type": "list", "elements": "int", "default": []},
        "expected_text": {"type": "str", "default": ""},
        "timeout": {"type": "float", "default": 10},
        "maintenance_path": {"type": "path"},
        "retry_after": {"type": "int", "default": 30},
        "upstream_path": {"type": "path"},
        "upstream": {"type": "str"},
        "binary": {"type": "str", "default": "nginx"},
        "config": {"type": "path", "default": "/etc/nginx/nginx.conf"},
        "prefix": {"type": "path"},
        "command": {"type": "list", "elements": "str", "default": []},
        "haproxy_socket": {"type": "str"},
        "backend": {"type": "str"},
        "server_state_path": {"type": "path"},
        "pause_with": {"type": "str", "choices": ["maint", "drain"], "default": "maint"},
        "servers": {"type": "dict"},
    }


def undo_of(
    params: t.Mapping[str, t.Any], provider: Provider, before: Facts, *, changed: bool
) -> dict | None:
    if not changed:
        return None
    args = {"provider": params["provider"], "url": params["url"], **provider.place}
    if not params["validate_certs"]:
        args["validate_certs"] = False
    args.update(provider.undo(before))
    return {"module": "sre.rollback.traffic", "args": args}


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[
            ("provider", "haproxy", ["haproxy_socket", "backend", "server_state_path"]),
        ],
        supports_check_mode=True,
    )
    params = module.params
    module.no_log_values.update(secrets_in(params["url"]))
    started = time.monotonic()
    try:
        provider = _PROVIDERS[params["provider"]](params)
        before = provider.observe()
        changed = not provider.is_as_asked(before)
        after = before
        if changed and module.check_mode:
            after = provider.predict(before)
        elif changed:
            provider.bring()
            after = provider.observe()
    except RollbackError as exc:
        module.fail_json(msg=str(exc), **exc.result)
    result = {
        "changed": changed,
        "before": before,
        "after": after,
        "elapsed": round(time.monotonic() - started, 3),
        "undo": undo_of(params, provider, before, changed=changed),
    }
    if module._diff:
        result["diff"] = {"before": before, "after": after}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
