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
  - Whoever is refused learns who holds the environment, since when, why, and how to take over.
  - The lease of a run that was killed frees itself at its expiry.
options:
  backend:
    description:
      - Where the lease is kept.
      - V(file) is a folder on the host that runs the module and serves one controller.
      - V(redis) and V(postgres) serve several, by the server's clock.
    type: str
    choices: [file, redis, postgres]
    default: file
  environment:
    description: Name of the environment.
    type: str
    required: true
  state:
    description:
      - With V(held), the caller has the lease. With O(token) its own lease is renewed.
      - With V(released), the caller gives it back; O(token) has to be the present one.
      - With V(stolen), the caller takes the lease from whoever holds it.
    type: str
    choices: [held, released, stolen]
    default: held
  holder:
    description: Who holds it. Required unless O(state=released).
    type: str
  reason:
    description: Why, for whoever is refused. Required by O(state=stolen).
    type: str
    default: ""
  ttl:
    description: Seconds until the lease expires unless it is renewed.
    type: float
    default: 3600
  token:
    description: The token that RV(token) returned when the lease was taken.
    type: int
  path:
    description: Folder of the leases. Required by O(backend=file).
    type: path
  database:
    description:
      - Database of the table C(rollback_environment_lock), which is made when it is missing.
      - It must not be a database that a rollback restores.
    type: str
    default: postgres
  login_host:
    description: Host of the server.
    type: str
    default: localhost
  login_port:
    description: Port of the server; 6379 or 5432 when it is left out.
    type: int
  login_user:
    description: User to log in as.
    type: str
  login_password:
    description: Password of O(login_user).
    type: str
  tls:
    description: Whether to use TLS with O(backend=redis).
    type: bool
    default: false
  ca_certs:
    description: File with the certificates to trust, with O(tls).
    type: path
extends_documentation_fragment:
  - sre.rollback._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details: Renewing a lease changes its expiry, and V(stolen) always takes a new token.
"""

EXAMPLES = r"""
- name: The environment is mine
  sre.rollback.environment_lock:
    path: /var/lib/rollback-playbook/locks
    environment: prod
    holder: ann (inc-20260304-1)
    reason: release 2.4.0 charges twice
  register: lock

- name: And free again
  sre.rollback.environment_lock:
    path: /var/lib/rollback-playbook/locks
    environment: prod
    token: "{{ lock.token }}"
    state: released
"""

RETURN = r"""
token:
  description: The fencing token, to give back with V(released) or to renew with.
  returned: success
  type: int
  sample: 17
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
before:
  description: The lease before.
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
  description: The module and arguments that give the lease back; null when nothing changed.
  returned: success
  type: dict
  sample:
    module: sre.rollback.environment_lock
    args: {backend: file, environment: prod, token: 17, state: released}
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.sre.rollback.plugins.module_utils import _lock_file
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._lock_lease import (
    Lease,
    LockError,
    Request,
)

# Locking is the first thing that happens in an emergency: the drivers of the other backends, which
# take a good part of a second to import, are imported by the functions that use them.


def argument_spec() -> dict:
    return {
        "backend": {"type": "str", "choices": ["file", "redis", "postgres"], "default": "file"},
        "environment": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["held", "released", "stolen"], "default": "held"},
        "holder": {"type": "str"},
        "reason": {"type": "str", "default": ""},
        "ttl": {"type": "float", "default": 3600},
        "token": {"type": "int", "no_log": False},
        "path": {"type": "path"},
        "database": {"type": "str", "default": "postgres"},
        "login_host": {"type": "str", "default": "localhost"},
        "login_port": {"type": "int"},
        "login_user": {"type": "str"},
        "login_password": {"type": "str", "no_log": True},
        "tls": {"type": "bool", "default": False},
        "ca_certs": {"type": "path"},
    }


def request_of(params: t.Mapping[str, t.Any]) -> Request:
    """The validated request; raises LockError."""
    if params["ttl"] <= 0:
        raise LockError(f"ttl must be more than 0 s, not {params['ttl']}. Nothing was changed.")
    if params["state"] == "stolen" and not params["reason"].strip():
        raise LockError("taking a lock over needs a reason. Nothing was changed.")
    return Request(
        environment=params["environment"],
        state=params["state"],
        holder=params["holder"] or "",
        reason=params["reason"],
        ttl=params["ttl"],
        token=params["token"],
    )


def exchange_in_file(module: AnsibleModule, request: Request) -> tuple[Lease, Lease, float]:
    return _lock_file.exchange(module.params, request, write=not module.check_mode)


def exchange_in_redis(module: AnsibleModule, request: Request) -> tuple[Lease, Lease, float]:
    from ansible_collections.sre.rollback.plugins.module_utils import _lock_redis, _redis

    if _redis.REDIS_IMPORT_ERROR is not None:
        message = missing_required_lib("redis")
        module.fail_json(msg=message, exception=_redis.REDIS_IMPORT_ERROR)
    options = connection_of(module.params, _redis.redis_argument_spec())
    return _lock_redis.exchange(options, request, write=not module.check_mode)


def exchange_in_postgres(module: AnsibleModule, request: Request) -> tuple[Lease, Lease, float]:
    from ansible_collections.sre.rollback.plugins.module_utils import _lock_postgres, _postgres

    _postgres.require_psycopg(module)
    options = connection_of(module.params, _postgres.postgres_argument_spec())
    return _lock_postgres.exchange(options, request, write=not module.check_mode)


_BACKENDS = {
    "file": exchange_in_file,
    "redis": exchange_in_redis,
    "postgres": exchange_in_postgres,
}


def connection_of(params: t.Mapping[str, t.Any], spec: t.Mapping[str, t.Any]) -> dict:
    """The options of the backend's server, with that backend's own defaults."""
    defaults = {name: option.get("default") for name, option in spec.items()}
    given = {name: value for name, value in params.items() if value is not None}
    return {**defaults, **given}


def undo_of(params: t.Mapping[str, t.Any], token: int) -> dict:
    args = {
        "backend": params["backend"],
        "environment": params["environment"],
        "token": token,
        "state": "released",
    }
    if params["path"]:
        args["path"] = params["path"]
    return {"module": "sre.rollback.environment_lock", "args": args}


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[
            ("backend", "file", ["path"]),
            ("state", "held", ["holder"]),
            ("state", "stolen", ["holder"]),
        ],
        supports_check_mode=True,
    )
    params = module.params
    started = time.monotonic()
    try:
        request = request_of(params)
        before, after, now = _BACKENDS[params["backend"]](module, request)
    except RollbackError as exc:
        module.fail_json(msg=str(exc), **exc.result)
    changed = after is not before
    result = {
        "changed": changed,
        "token": after.token,
        "before": before.as_result(now),
        "after": after.as_result(now),
        "elapsed": round(time.monotonic() - started, 3),
        "undo": undo_of(params, after.token) if changed and after.holder else None,
    }
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
