#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_lock
short_description: Keep two operators from rolling back the same environment
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - A lease with a holder, a reason, an expiry and a fencing token.
  - Whoever is refused learns who holds the environment, since when, why, until when, and how to
    take over.
  - The lease of a run that was killed frees itself at its expiry. A run that lives renews it with
    its token. A late holder, whose lease somebody else has by now, is refused.
  - The token grows by one with every new holder, also across releases and expiries.
options:
  backend:
    description:
      - Where the lease is kept.
      - V(file) is a folder on the host that runs the module, serves one controller, and goes by
        its clock. Its files belong to the account that made them.
      - V(redis) and V(postgres) serve several controllers, by the server's clock.
      - O(tls), O(validate_certs), O(ca_certs), O(client_cert_file), O(client_key_file),
        O(login_timeout), O(cluster) and those of Sentinels are for V(redis) alone.
      - Redis keeps it in a hash C(rollback:lock:ENVIRONMENT). M(sre.rollback.redis_flush) spares
        it. A primary that fails may lose its last writes; the token tells late holders apart only
        as long as the lease is stored.
      - PostgreSQL keeps it in a row of the table C(rollback_environment_lock), which is made when
        it is missing.
    type: str
    choices: [file, redis, postgres]
    default: file
  environment:
    description: Name of the environment, at most 100 characters.
    type: str
    required: true
  state:
    description:
      - With V(held), the caller has the lease. With O(token) its own lease is renewed.
      - With V(released), the caller gives it back. O(token) has to be the present one, unless
        nobody holds it.
      - With V(stolen), the caller takes the lease from whoever holds it. Who that was, and the
        reason, is kept with the lease.
    type: str
    choices: [held, released, stolen]
    default: held
  holder:
    description: Who holds it. Required unless O(state=released).
    type: str
  reason:
    description:
      - Why, for whoever is refused. Required by O(state=stolen).
      - When a lease is renewed without one, its reason stays.
    type: str
    default: ""
  ttl:
    description: Seconds until the lease expires unless it is renewed; at most 31 days.
    type: float
    default: 3600
  token:
    description:
      - The token that RV(token) returned when the lease was taken.
      - Required by O(state=released).
    type: int
  path:
    description: Folder of the leases. Required by O(backend=file).
    type: path
  database:
    description:
      - Database of O(backend=postgres).
      - It must not be a database that a rollback restores.
    type: str
    default: postgres
  schema:
    description: Schema of the table with O(backend=postgres); made when it is missing.
    type: str
    default: public
  login_host:
    description: Host of the server.
    type: str
    default: localhost
  login_port:
    description: Port of the server; 6379 or 5432 when it is left out.
    type: int
    default: null
  login_user:
    description:
      - User to log in as. When it is left out, Redis's default user or the role C(postgres).
    type: str
  login_unix_socket:
    description:
      - Folder of the server's Unix socket, with O(backend=postgres). Used instead of
        O(login_host).
    type: path
  ssl_mode:
    description: How far TLS is demanded and checked with O(backend=postgres).
    type: str
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
    default: prefer
  ca_cert:
    description: File with the certificates to trust, with O(backend=postgres).
    type: path
  connect_params:
    description: Further libpq connection parameters with O(backend=postgres).
    type: dict
    default: {}
requirements:
  - psycopg >= 3.1, with O(backend=postgres); redis-py is needed with O(backend=redis) alone
notes:
  - A renewal is not reported as a change, and needs no undo.
  - A lease that was given back cannot be brought back, because somebody else may have the
    environment by then. RV(undo) is null then; take it anew.
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.full
  - sre.rollback._redis
attributes:
  idempotent:
    support: partial
    details: Without O(token) a second V(held) is refused, and V(stolen) takes a new token.
seealso:
  - name: How to do distributed locking
    description: Why a lease needs a fencing token.
    link: https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html
"""

EXAMPLES = r"""
- name: The environment is mine
  sre.rollback.environment_lock:
    path: /var/lib/rollback-playbook/locks
    environment: prod
    holder: ann (inc-20260304-1)
    reason: release 2.4.0 charges twice
    ttl: 300
  register: lock

- name: It stays mine for another five minutes
  sre.rollback.environment_lock:
    path: /var/lib/rollback-playbook/locks
    environment: prod
    holder: ann (inc-20260304-1)
    token: "{{ lock.token }}"
    ttl: 300

- name: And free again
  sre.rollback.environment_lock:
    path: /var/lib/rollback-playbook/locks
    environment: prod
    token: "{{ lock.token }}"
    state: released

- name: Several controllers share the lock
  sre.rollback.environment_lock:
    backend: redis
    login_host: cache1.prod.example.com
    login_password: "{{ vault_cache_password }}"
    environment: prod
    holder: bob (inc-20260304-2)
    reason: ann's controller burnt down
    state: stolen
"""

RETURN = r"""
environment:
  description: Name of the environment.
  returned: success
  type: str
  sample: prod
token:
  description: The fencing token, to give back with V(released) or to renew with.
  returned: success
  type: int
  sample: 17
holder:
  description: Who holds it now; empty when nobody does.
  returned: success
  type: str
  sample: ann (inc-20260304-1)
since:
  description: Since when.
  returned: success
  type: str
  sample: "2026-03-04T03:12:45Z"
expires:
  description: Until when, unless it is renewed.
  returned: success
  type: str
  sample: "2026-03-04T04:12:45Z"
expires_in:
  description: Seconds until then, by the backend's clock.
  returned: success
  type: float
  sample: 3600.0
reason:
  description: Why.
  returned: success
  type: str
  sample: release 2.4.0 charges twice
renewed:
  description: Whether the caller had the lease already and only its expiry moved.
  returned: success
  type: bool
  sample: false
lock:
  description: The lease that stood in the way.
  returned: when refused
  type: dict
  sample: &lease
    held: true
    token: 17
    holder: ann (inc-20260304-1)
    reason: release 2.4.0 charges twice
    since: "2026-03-04T03:12:45Z"
    expires: "2026-03-04T04:12:45Z"
    expires_in: 3411.2
    taken_from: null
before:
  description:
    - The lease before. C(taken_from) is who held it (C(holder), C(token), C(since), C(reason),
      C(at)) when its holder took it over.
  returned: success
  type: dict
  sample: *lease
after:
  description: The lease afterwards.
  returned: success
  type: dict
  sample: *lease
elapsed:
  description: Seconds it took.
  returned: success
  type: float
  sample: 0.01
undo:
  description:
    - The module and arguments that give the lease back; null when nothing changed, or when it was
      given back.
  returned: success
  type: dict
  sample:
    module: sre.rollback.environment_lock
    args: {backend: file, environment: prod, token: 17, state: released}
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.sre.rollback.plugins.module_utils import _lock_backend
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._lock_lease import (
    Lease,
    Request,
    is_renewal,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_options import (
    REDIS_REQUIRED_TOGETHER,
    redis_argument_spec,
)

_SSL_MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


def argument_spec() -> dict:
    return {
        "backend": {"type": "str", "choices": list(_lock_backend.BACKENDS), "default": "file"},
        "environment": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["held", "released", "stolen"], "default": "held"},
        "holder": {"type": "str"},
        "reason": {"type": "str", "default": ""},
        "ttl": {"type": "float", "default": 3600},
        "token": {"type": "int", "no_log": False},
        "path": {"type": "path"},
        **redis_argument_spec(),
        # The port and the user of either server, by default its own.
        "login_port": {"type": "int"},
        **postgres_spec(),
    }


def postgres_spec() -> dict:
    return {
        "database": {"type": "str", "default": "postgres"},
        "schema": {"type": "str", "default": "public"},
        "login_unix_socket": {"type": "path"},
        "ssl_mode": {"type": "str", "choices": _SSL_MODES, "default": "prefer"},
        "ca_cert": {"type": "path"},
        "connect_params": {"type": "dict", "default": {}},
    }


def connection_of(params: t.Mapping[str, t.Any]) -> dict:
    """The parameters as the backends take them: a socket instead of the default host."""
    if params["backend"] == "postgres" and params["login_unix_socket"]:
        return {**params, "login_host": None}
    return dict(params)


def hidden_passwords(params: t.Mapping[str, t.Any]) -> set[str]:
    """Secrets in places that Ansible does not know to hold any."""
    return {
        str(params["connect_params"][name]) for name in params["connect_params"] if "pass" in name
    }


def request_of(params: t.Mapping[str, t.Any]) -> Request:
    """The validated request; raises LockError."""
    return Request(
        environment=params["environment"],
        state=params["state"],
        holder=params["holder"] or "",
        reason=params["reason"],
        ttl=params["ttl"],
        token=params["token"],
    )


def undo_of(params: t.Mapping[str, t.Any], before: Lease, after: Lease) -> dict | None:
    if after is before or not after.holder or is_renewal(before, after):
        return None
    names = ["backend", "environment", "path", "database", "schema"]
    args = {name: params[name] for name in names if params[name]}
    if params["backend"] != "postgres":
        del args["database"], args["schema"]
    args.update(token=after.token, state="released")
    return {"module": "sre.rollback.environment_lock", "args": args}


def result_of(params: t.Mapping[str, t.Any], before: Lease, after: Lease, now: float) -> dict:
    lease = after.as_result(now)
    renewed = is_renewal(before, after)
    return {
        "changed": after is not before and not renewed,
        "environment": params["environment"],
        **{name: lease[name] for name in ("token", "holder", "since", "expires", "expires_in")},
        "reason": after.reason,
        "renewed": renewed,
        "before": before.as_result(now),
        "after": lease,
        "undo": undo_of(params, before, after),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[
            ("backend", "file", ["path"]),
            ("state", "held", ["holder"]),
            ("state", "stolen", ["holder"]),
            ("state", "released", ["token"]),
        ],
        required_together=REDIS_REQUIRED_TOGETHER,
        supports_check_mode=True,
    )
    params = connection_of(module.params)
    module.no_log_values.update(hidden_passwords(params))
    started = time.monotonic()
    try:
        request = request_of(params)
        before, after, now = _lock_backend.exchange(params, request, write=not module.check_mode)
        result = result_of(params, before, after, now)
        for warning in _lock_backend.warnings(params) if result["changed"] else []:
            module.warn(warning)
    except _lock_backend.MissingLibraryError as exc:
        module.fail_json(msg=missing_required_lib(exc.library), exception=exc.traceback)
    except RollbackError as exc:
        module.fail_json(msg=str(exc), **exc.result)
    result["elapsed"] = round(time.monotonic() - started, 3)
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
