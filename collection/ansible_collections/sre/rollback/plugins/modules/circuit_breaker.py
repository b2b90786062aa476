#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: circuit_breaker
short_description: Open, close and half-open circuit breakers that real clients obey
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Brings circuit breakers to a state and looks again afterwards, on a new connection, through the
    same view that a client has. A breaker that clients would not obey is a failure.
  - All breakers of one call change together where the provider can do so.
  - An opened breaker stays open until it is closed, past every client's own timeout, unless
    O(lease) is given.
  - Breakers that another holder keeps open are never taken silently.
options:
  provider:
    description:
      - Where the breakers live.
      - V(pybreaker_redis) are breakers of the Python library pybreaker on C(CircuitRedisStorage).
        A breaker's name is the C(namespace) of its storage, and the empty string is the storage
        without a namespace. A breaker that no client has used yet can be opened beforehand.
      - V(resilience4j) are breakers of Resilience4j, through the Spring Boot actuators of all
        O(instances) of a service. Only breakers that an instance lists are changed. An instance
        that restarts forgets the change.
      - V(haproxy) are servers behind HAProxy, named C(backend/server), or C(backend) for all its
        servers. An open one is in maintenance. A reload of HAProxy forgets it unless HAProxy loads
        a server state file.
    type: str
    choices: [pybreaker_redis, resilience4j, haproxy]
    default: pybreaker_redis
  breakers:
    description:
      - Names of breakers, or V(all) alone for every breaker there is.
      - Required unless O(state=restored).
    type: list
    elements: str
  state:
    description:
      - With V(open), clients refuse calls.
      - With V(closed), clients call as usual, their counters at zero, and open by themselves again
        when calls fail.
      - With V(half_open), the next call of a client is a trial that decides. Only
        O(provider=pybreaker_redis) has this state.
      - With V(restored), every breaker in O(snapshot) is put back as it was. This is what the
        returned RV(undo) uses.
    type: str
    choices: [open, closed, half_open, restored]
    required: true
  lease:
    description:
      - Seconds until an opened breaker may recover by itself. Clients let a trial call through
        when the lease and after it their own reset timeout have passed, so never before the lease.
      - Without it, the breaker stays open until closed.
      - Each run renews the lease.
      - Only with O(provider=pybreaker_redis).
    type: float
  holder:
    description:
      - Who keeps the breakers in this state, for example an incident's id.
      - Only the same holder, or O(take_over), closes what a holder keeps open.
      - Kept beside the breaker with O(provider=pybreaker_redis). Other providers have no place for
        it, so there anybody can close what anybody opened.
    type: str
    default: unnamed
  reason:
    description: Why, for whoever looks at the breaker. Kept where O(holder) is.
    type: str
    default: ""
  take_over:
    description: Whether to change breakers that another holder keeps open.
    type: bool
    default: false
  settle:
    description:
      - Seconds for which breakers that were half open, or open for clients to try, are watched
        after O(state=open). A trial call that was under way closes them; they are opened again.
      - Set it to the longest time that a call of the applications takes.
      - Only O(provider=pybreaker_redis) needs it.
    type: float
    default: 1.0
  snapshot:
    description: Breakers by name, as RV(before) returned them. Required by O(state=restored).
    type: dict
  db:
    description: Number of the Redis database.
    type: int
    default: 0
  instances:
    description:
      - Addresses of the actuators of every instance of a service, such as
        C(http://10.0.0.7:8080/actuator). Required by O(provider=resilience4j).
      - All are tried. One that does not answer, or does not know a breaker to open, is a failure
        after the others were changed.
      - O(validate_certs), O(ca_certs), O(client_cert_file) and O(client_key_file) hold here too.
    type: list
    elements: str
  url_username:
    description: User of the actuators, with HTTP basic authentication.
    type: str
  url_password:
    description: Password of O(url_username).
    type: str
  bearer_token:
    description: Token that is sent to the actuators.
    type: str
  haproxy_socket:
    description:
      - HAProxy's runtime API with the level C(admin), the path of a socket or C(host:port).
      - Required by O(provider=haproxy).
    type: str
notes:
  - pybreaker takes a breaker whose keys are gone for a closed one, so a C(FLUSHDB) by somebody else
    closes all of them, and a state C(open) without C(opened_at) lets the next call through as a
    trial. C(held) in RV(before) and RV(after) tells whether clients really go on refusing.
  - In a Redis Cluster the keys of one breaker live on several nodes, which share no transaction.
    They are written in an order that is safe when it is cut short.
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.full
  - sre.rollback._redis
attributes:
  idempotent:
    support: partial
    details: With O(lease) each run renews the lease, which is a change.
seealso:
  - module: sre.rollback.redis_flush
"""

EXAMPLES = r"""
- name: Calls to the payment provider are refused until somebody closes the breaker
  sre.rollback.circuit_breaker:
    login_host: cache.example.com
    breakers: [payments]
    state: open
    holder: inc-20260304-1
    reason: double charges since release 2.4.0

- name: Every breaker is open for at least ten minutes
  sre.rollback.circuit_breaker:
    login_host: cache.example.com
    breakers: [all]
    state: open
    lease: 600

- name: Every instance of the shop refuses to call the search service
  sre.rollback.circuit_breaker:
    provider: resilience4j
    instances:
      - http://10.0.0.7:8080/actuator
      - http://10.0.0.8:8080/actuator
    breakers: [search]
    state: open

- name: HAProxy sends nothing to the servers of the new release
  sre.rollback.circuit_breaker:
    provider: haproxy
    haproxy_socket: /run/haproxy/admin.sock
    breakers: [shop/green1, shop/green2]
    state: open

- name: Payments are called again
  sre.rollback.circuit_breaker:
    login_host: cache.example.com
    breakers: [payments]
    state: closed
    holder: inc-20260304-1
"""

RETURN = r"""
before:
  description:
    - The breakers before, by name. An entry can be given back as part of O(snapshot).
    - With O(provider=resilience4j) an entry has C(instances), the state on each; with
      O(provider=haproxy) it has C(servers), the state of each.
  returned: success
  type: dict
  sample:
    payments:
      state: closed
      held: false
      hold: null
      opened_at: null
      fail_counter: 3
      success_counter: 0
after:
  description: The breakers as a new client sees them afterwards, or in check mode would see them.
  returned: success
  type: dict
  sample:
    payments:
      state: open
      held: true
      hold: {holder: inc-20260304-1, reason: double charges, since: 1772600000, until: null}
      opened_at: 32503680000
      fail_counter: 3
      success_counter: 0
created:
  description: Breakers that the storage did not know before and that were written beforehand.
  returned: success
  type: list
  elements: str
  sample: []
held_by_others:
  description: Breakers that were left alone because another holder keeps them open, with that hold.
  returned: always when there are any, and on success
  type: dict
  sample:
    search: {holder: inc-20260304-0, reason: index rebuilt, since: 1772590000, until: null}
reopened:
  description: Breakers that a trial call closed while they were watched; they were opened again.
  returned: success
  type: list
  elements: str
  sample: []
elapsed:
  description: Seconds that the module took.
  returned: success
  type: float
  sample: 0.021
undo:
  description: The module and arguments that bring back what was; null when nothing changed.
  returned: success
  type: dict
  sample:
    module: sre.rollback.circuit_breaker
    args:
      provider: pybreaker_redis
      db: 0
      state: restored
      holder: inc-20260304-1
      snapshot:
        payments:
          state: closed
          held: false
          hold: null
          opened_at: null
          fail_counter: 3
          success_counter: 0
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.sre.rollback.plugins.module_utils import _breaker_provider as core
from ansible_collections.sre.rollback.plugins.module_utils._breaker_change import (
    change_breakers,
    resolve_names,
)
from ansible_collections.sre.rollback.plugins.module_utils._breaker_haproxy import Haproxy
from ansible_collections.sre.rollback.plugins.module_utils._breaker_pybreaker_redis import (
    PybreakerRedis,
)
from ansible_collections.sre.rollback.plugins.module_utils._breaker_report import (
    read_wish,
    result_of,
)
from ansible_collections.sre.rollback.plugins.module_utils._breaker_resilience4j import (
    Resilience4j,
)
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._redis import REDIS_IMPORT_ERROR
from ansible_collections.sre.rollback.plugins.module_utils._redis_options import (
    REDIS_REQUIRED_TOGETHER,
    redis_argument_spec,
)
from ansible_collections.sre.rollback.plugins.module_utils._secrets import secrets_in

PROVIDERS: dict[str, t.Callable[[t.Mapping[str, t.Any]], core.Provider]] = {
    "pybreaker_redis": PybreakerRedis,
    "resilience4j": Resilience4j,
    "haproxy": Haproxy,
}


def argument_spec() -> dict[str, dict[str, t.Any]]:
    return {
        **redis_argument_spec(),
        "provider": {"type": "str", "choices": list(PROVIDERS), "default": "pybreaker_redis"},
        "breakers": {"type": "list", "elements": "str"},
        "state": {
            "type": "str",
            "choices": [core.OPEN, core.CLOSED, core.HALF_OPEN, core.RESTORED],
            "required": True,
        },
        "lease": {"type": "float"},
        "holder": {"type": "str", "default": core.UNNAMED},
        "reason": {"type": "str", "default": ""},
        "take_over": {"type": "bool", "default": False},
        "settle": {"type": "float", "default": 1.0},
        "snapshot": {"type": "dict"},
        "db": {"type": "int", "default": 0},
        "instances": {"type": "list", "elements": "str"},
        "url_username": {"type": "str"},
        "url_password": {"type": "str", "no_log": True},
        "bearer_token": {"type": "str", "no_log": True},
        "haproxy_socket": {"type": "str"},
    }


def run(module: AnsibleModule) -> dict[str, t.Any]:
    started = time.monotonic()
    wish = read_wish(module.params)
    provider = PROVIDERS[module.params["provider"]](module.params)
    try:
        if wish.state == core.RESTORED:
            names = list(wish.snapshot)
        else:
            names = resolve_names(provider, module.params["breakers"])
        outcome = change_breakers(
            provider,
            names,
            wish,
            settle=module.params["settle"],
            check=module.check_mode,
        )
        for warning in provider.warnings():
            module.warn(warning)
    finally:
        provider.close()
    for breaker in outcome.foreign:
        module.warn(f"Breaker {breaker.name!r} stays as {breaker.hold.holder!r} holds it.")
    return result_of(outcome, module.params, time.monotonic() - started)


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        supports_check_mode=True,
        required_together=[*REDIS_REQUIRED_TOGETHER, ("url_username", "url_password")],
        required_if=[
            ("provider", "resilience4j", ["instances"]),
            ("provider", "haproxy", ["haproxy_socket"]),
            ("state", core.OPEN, ["breakers"]),
            ("state", core.CLOSED, ["breakers"]),
            ("state", core.HALF_OPEN, ["breakers"]),
            ("state", core.RESTORED, ["snapshot"]),
        ],
        mutually_exclusive=[("breakers", "snapshot"), ("url_username", "bearer_token")],
    )
    if REDIS_IMPORT_ERROR is not None and module.params["provider"] == "pybreaker_redis":
        module.fail_json(msg=missing_required_lib("redis"), exception=REDIS_IMPORT_ERROR)
    module.no_log_values.update(secrets_in(module.params["instances"]))
    try:
        result = run(module)
    except RollbackError as exc:
        module.fail_json(msg=str(exc), exception=exc, **exc.result)
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
