# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe kind ``redis``: a Redis or Valkey answers PING, and fields of INFO are as demanded.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Context,
    Kind,
    Leash,
    Options,
    Probe,
    ProbeFailedError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.expectation import Expectation
from ansible_collections.sre.rollback.plugins.module_utils._redis_options import (
    redis_argument_spec,
)

if t.TYPE_CHECKING:
    from redis import Redis


#: What one server needs; a cluster and Sentinel are no options of a probe.
_LOGIN = (
    "login_host", "login_port", "login_user", "login_password", "tls", "validate_certs",
    "ca_certs", "client_cert_file", "client_key_file",
)  # fmt: skip


def _options() -> dict[str, t.Any]:
    known = redis_argument_spec()
    return {
        **{name: known[name] for name in _LOGIN},
        "db": {"type": "int", "default": 0},
        "info": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "field": {"type": "str", "required": True},
                "expected": {"type": "raw"},
                "matches": {"type": "str"},
                "min": {"type": "float"},
                "max": {"type": "float"},
            },
        },
    }


def prepare(options: Options, _context: Context) -> Probe:
    """Read the options. Raises ProbeRefusedError, also when the client library is missing."""
    # Only here: the library is large, and needed only where such a check is used.
    from ansible_collections.sre.rollback.plugins.module_utils import _redis

    if _redis.REDIS_IMPORT_ERROR:
        raise ProbeRefusedError("needs the Python library redis", missing_library="redis")
    try:
        login = _redis.ConnectionOptions.from_params(options)
    except _redis.RedisConnectionError as exc:
        raise ProbeRefusedError(str(exc)) from None
    demands = [(each["field"], Expectation.of(each)) for each in options.get("info") or ()]

    def probe(leash: Leash) -> None:
        try:
            with _redis.connection_errors(login.address, login), contextlib.closing(
                _client(login, options["db"], leash)
            ) as client:
                _check(client, demands, leash)
        except _redis.RedisConnectionError as exc:
            raise ProbeFailedError(str(exc).replace(" Nothing was changed.", "")) from exc

    return probe


def _client(login: t.Any, db: int, leash: Leash) -> Redis[bytes]:
    from redis import Redis

    patience = leash.remaining()
    arguments = {
        **login.client_arguments(),
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "single_connection_client": True,
    }
    return Redis(host=login.address.host, port=login.address.port, db=db, **arguments)


def _check(
    client: Redis[bytes], demands: t.Sequence[tuple[str, Expectation]], leash: Leash
) -> None:
    with leash.on_expiry(client.connection_pool.disconnect):
        client.ping()
        known = client.info("everything") if demands else {}
    for field, expectation in demands:
        if field not in known:
            raise ProbeFailedError(f"INFO has no field {field}")
        expectation.check(known[field], field, leash)


KIND = Kind("redis", _options, prepare)
