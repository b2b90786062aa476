# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections to Redis and Valkey: options, TLS, ACL users, clusters, Sentinels, errors in words.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import math
import traceback
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._redis_errors import (
    RedisConnectionError,
    connection_reason,
)

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError:
    REDIS_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    REDIS_IMPORT_ERROR = None

if t.TYPE_CHECKING:
    from redis import Redis
    from redis.cluster import RedisCluster

    # Both answer the same commands; a cluster takes several keys at once only from one slot.
    Client = t.Union["Redis[bytes]", "RedisCluster"]


@dataclass(frozen=True)
class Address:
    """Where one server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """``host:port`` or ``[v6]:port``. Raises RedisConnectionError for anything else."""
    host, colon, port = text.strip().rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise RedisConnectionError(f"{text!r} is not host:port. Nothing was changed.")
    return Address(host, int(port))


@dataclass(frozen=True)
class ConnectionOptions:
    """How to reach one Redis, validated."""

    address: Address
    user: str | None
    password: str | None
    timeout: float
    tls: bool
    validate_certs: bool
    ca_certs: str | None
    client_cert_file: str | None
    client_key_file: str | None
    cluster: str
    sentinels: tuple[Address, ...]
    sentinel_service: str
    sentinel_user: str | None
    sentinel_password: str | None

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> ConnectionOptions:
        """Read a module's parameters. Raises RedisConnectionError when they contradict."""
        port, timeout = params.get("login_port"), params.get("login_timeout")
        port = 6379 if port is None else port
        timeout = 5.0 if timeout is None else timeout
        if not 0 < port < 65536:
            raise RedisConnectionError(f"login_port {port} is not a port. Nothing was changed.")
        if not 0 < timeout < math.inf:
            raise RedisConnectionError("login_timeout must be above 0. Nothing was changed.")
        if not params.get("tls"):
            _refuse_tls_options_without_tls(params)
        return cls(
            address=Address(params.get("login_host") or "localhost", port),
            user=params.get("login_user"),
            password=params.get("login_password"),
            timeout=timeout,
            tls=bool(params.get("tls")),
            validate_certs=params.get("validate_certs") is not False,
            ca_certs=params.get("ca_certs"),
            client_cert_file=params.get("client_cert_file"),
            client_key_file=params.get("client_key_file"),
            cluster=params.get("cluster") or "auto",
            sentinels=tuple(parse_address(each) for each in params.get("sentinels") or ()),
            sentinel_service=params.get("sentinel_service") or "",
            sentinel_user=params.get("sentinel_user"),
            sentinel_password=params.get("sentinel_password"),
        )

    def _transport(self) -> dict[str, t.Any]:
        # redis-py repeats commands by itself from version 6 on. Here the caller decides that.
        common: dict[str, t.Any] = {
            "socket_connect_timeout": self.timeout,
            "socket_timeout": self.timeout,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        if not self.tls:
            return common
        return {
            **common,
            "ssl": True,
            "ssl_cert_reqs": "required" if self.validate_certs else "none",
            "ssl_check_hostname": self.validate_certs,
            "ssl_ca_certs": self.ca_certs,
            "ssl_certfile": self.client_cert_file,
            "ssl_keyfile": self.client_key_file,
        }

    def client_arguments(self) -> dict[str, t.Any]:
        """Keyword arguments for a client of redis-py, without the address."""
        return {**self._transport(), "username": self.user, "password": self.password}

    def sentinel_arguments(self) -> dict[str, t.Any]:
        """The same for a connection to a Sentinel."""
        login = {"username": self.sentinel_user, "password": self.sentinel_password}
        return {**self._transport(), **login}


def _refuse_tls_options_without_tls(params: t.Mapping[str, t.Any]) -> None:
    for option in ("ca_certs", "client_cert_file", "client_key_file"):
        if params.get(option):
            raise RedisConnectionError(
                f"{option} is given, but tls is false: the password would travel in the clear. "
                "Nothing was changed. Set tls to true, or leave the option out."
            )


def connect(params: t.Mapping[str, t.Any], *, db: int = 0) -> Client:
    """A client of the server, the cluster or the Sentinels' primary that the options name.

    It has answered a PING. Raises RedisConnectionError in words that say what to correct.
    """
    options = ConnectionOptions.from_params(params)
    address = primary_of_sentinels(options) if options.sentinels else options.address
    client = connect_server(address, options, db=db)
    if options.cluster == "never" or not is_cluster_node(client):
        return client
    client.close()
    if db:
        raise RedisConnectionError(
            f"{address} is a node of a cluster, where only database 0 can be used, not {db}. "
            "Nothing was changed. Correct db."
        )
    with connection_errors(address, options):
        return redis.cluster.RedisCluster(
            host=address.host, port=address.port, **options.client_arguments()
        )


def connect_server(address: Address, options: ConnectionOptions, *, db: int = 0) -> Redis[bytes]:
    """A client of this one server, after a PING. Raises RedisConnectionError."""
    client = redis.Redis(host=address.host, port=address.port, db=db, **options.client_arguments())
    with connection_errors(address, options):
        client.ping()
    return client


def primary_of_sentinels(options: ConnectionOptions) -> Address:
    """Where the first Sentinel that knows says the primary is. Raises RedisConnectionError."""
    reasons = []
    for sentinel in options.sentinels:
        try:
            with connection_errors(sentinel, options):
                return _ask_sentinel(sentinel, options)
        except RedisConnectionError as exc:
            reasons.append(str(exc).replace(" Nothing was changed.", ""))
    raise RedisConnectionError(
        f"No Sentinel knows a healthy primary of {options.sentinel_service!r}. Nothing was "
        f"changed. Check sentinels and sentinel_service. {' '.join(reasons)}"
    )


def _ask_sentinel(sentinel: Address, options: ConnectionOptions) -> Address:
    client = redis.Redis(host=sentinel.host, port=sentinel.port, **options.sentinel_arguments())
    with contextlib.closing(client):
        known = client.sentinel_masters()
    primary = known.get(options.sentinel_service)
    if primary is None:
        raise RedisConnectionError(
            f"The Sentinel at {sentinel} watches {', '.join(sorted(known)) or 'nothing'}."
        )
    if primary["is_sdown"] or primary["is_odown"] or not primary["is_master"]:
        raise RedisConnectionError(f"The Sentinel at {sentinel} says that it is down.")
    return Address(primary["ip"], primary["port"])


def is_cluster_node(client: Redis[bytes]) -> bool:
    """Whether the server runs in cluster mode. A server that will not say counts as standalone."""
    try:
        return bool(int(client.info("cluster").get("cluster_enabled", 0)))
    except redis.RedisError:
        return False


def is_cluster(client: t.Any) -> bool:
    """Whether ``connect`` gave the client of a whole cluster."""
    return isinstance(client, redis.cluster.RedisCluster)


@contextlib.contextmanager
def connection_errors(address: Address, options: ConnectionOptions) -> t.Iterator[None]:
    """Turn what redis-py raises while connecting into a RedisConnectionError."""
    try:
        yield
    except redis.exceptions.RedisClusterException as exc:
        raise RedisConnectionError(
            f"{address} is a node of a cluster, but the cluster cannot be used: {exc}. "
            "Nothing was changed. Check with CLUSTER INFO that its state is ok."
        ) from exc
    except (redis.RedisError, OSError, ValueError) as exc:
        reason = connection_reason(exc, user=options.user, timeout=options.timeout, tls=options.tls)
        raise RedisConnectionError(f"Redis at {address} {reason} Nothing was changed.") from exc
