# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Connections that end when the leash does, TLS contexts, and network errors in words.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import socket
import ssl
import typing as t
import urllib.parse
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Leash,
    Options,
    ProbeFailedError,
    ProbeRefusedError,
)


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens: a host and port, or a Unix socket."""

    host: str
    port: int
    unix_socket: str | None = None

    def __str__(self) -> str:
        if self.unix_socket:
            return self.unix_socket
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def endpoint(host: str, port: int) -> Endpoint:
    """Raises ProbeRefusedError for what cannot be an address."""
    if not host or any(c.isspace() or c in "/@?#" for c in host):
        raise ProbeRefusedError(f"{host!r} is not a host")
    if not 0 < port < 65536:
        raise ProbeRefusedError(f"{port} is not a port")
    return Endpoint(host, port)


@contextlib.contextmanager
def connected(
    where: Endpoint,
    leash: Leash,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
) -> t.Iterator[socket.socket]:
    """An open connection, with TLS when a context is given, shut down when the leash expires.

    Raises ProbeFailedError, also for what goes wrong inside the block.
    """
    try:
        connection = _dial(where, leash)
        if tls is not None:
            connection = _wrapped(connection, tls, server_name or where.host)
        with contextlib.closing(connection), leash.on_expiry(lambda: _shut(connection)):
            connection.settimeout(leash.remaining())
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
            yield connection
    except OSError as exc:
        raise ProbeFailedError(network_error(exc, where)) from exc


def _wrapped(plain: socket.socket, tls: ssl.SSLContext, server_name: str) -> ssl.SSLSocket:
    # The handshake comes later, when the leash can end it.
    try:
        return tls.wrap_socket(plain, server_hostname=server_name, do_handshake_on_connect=False)
    except BaseException:
        plain.close()
        raise


def _shut(connection: socket.socket) -> None:
    # Not the method of a TLS socket: that one would forget its session under the reader's hands.
    socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _dial(where: Endpoint, leash: Leash) -> socket.socket:
    addresses = _addresses(where)
    for position, (family, address) in enumerate(addresses):
        # A silent first address must leave time for the next one.
        patience = leash.remaining() / (len(addresses) - position)
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(patience)
            with leash.on_expiry(lambda sock=connection: _shut(sock)):
                connection.connect(address)
        except OSError:
            connection.close()
            if position == len(addresses) - 1:
                raise
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise ProbeFailedError(f"{where} has no address")


def _addresses(where: Endpoint) -> list[tuple[int, t.Any]]:
    if where.unix_socket:
        return [(socket.AF_UNIX, where.unix_socket)]
    try:
        found = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise ProbeFailedError(f"the host {where.host} cannot be found: {exc}") from exc
    return list(
        dict.fromkeys((family, address) for family, _type, _protocol, _name, address in found)
    )


_IN_WORDS = {
    errno.ECONNREFUSED: "refuses connections: nothing listens there",
    errno.ECONNRESET: "reset the connection",
    errno.EPIPE: "closed the connection",
    errno.ENETUNREACH: "cannot be reached: no route to its network",
    errno.EHOSTUNREACH: "cannot be reached: no route to the host",
    errno.ENOENT: "does not exist",
    errno.EACCES: "cannot be opened: permission denied",
}


def network_error(exc: BaseException, where: Endpoint) -> str:
    """An error of the network or of TLS in words that name the server."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"the certificate of {where} is not trusted: {exc.verify_message}"
    if isinstance(exc, ssl.SSLError):
        return f"TLS with {where} failed: {(exc.reason or str(exc)).replace('_', ' ').lower()}"
    if isinstance(exc, socket.timeout):
        return f"{where} did not answer in time"
    if isinstance(exc, OSError) and exc.errno in _IN_WORDS:
        return f"{where} {_IN_WORDS[exc.errno]}"
    return f"{where}: {exc or type(exc).__name__}"


def tls_options() -> dict[str, t.Any]:
    """The options of every kind that can speak TLS."""
    return {
        "validate_certs": {"type": "bool", "default": True},
        "ca_cert": {"type": "path"},
        "client_cert": {"type": "path"},
        "client_key": {"type": "path", "no_log": False},
    }


def tls_context(options: Options) -> ssl.SSLContext:
    """A client's context. Raises ProbeRefusedError when a file cannot be used."""
    if options.get("client_key") and not options.get("client_cert"):
        raise ProbeRefusedError("client_key is of no use without client_cert")
    return _tls_context(
        options.get("ca_cert"),
        options.get("client_cert"),
        options.get("client_key"),
        options.get("validate_certs", True),
    )


# Shared, because each context holds all the authorities of the system: a megabyte.
@functools.lru_cache(maxsize=None)
def _tls_context(
    ca_cert: str | None, client_cert: str | None, client_key: str | None, validate: bool
) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_cert)
        if client_cert:
            context.load_cert_chain(client_cert, client_key, password=no_passphrase)
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "reason", None) or getattr(exc, "strerror", None) or exc
        raise ProbeRefusedError(
            f"ca_cert, client_cert or client_key cannot be used: {reason}"
        ) from None
    if not validate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def no_passphrase() -> str:
    """For keys with a passphrase: without an answer OpenSSL would ask the terminal, and wait."""
    return ""


def split_url(url: str, schemes: t.Sequence[str]) -> urllib.parse.SplitResult:
    """Raises ProbeRefusedError for a URL that cannot be asked. The message hides credentials."""
    try:
        parts = urllib.parse.urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError as exc:
        raise ProbeRefusedError(f"url is not valid: {exc}") from None
    if parts.scheme not in schemes or not host:
        raise ProbeRefusedError(
            f"url must begin with {' or '.join(f'{each}://' for each in schemes)} and name a host"
        )
    if any(ord(c) <= 32 or ord(c) == 127 for c in url):
        raise ProbeRefusedError("url contains a space or a control character")
    endpoint(host, 1 if port is None else port)
    return parts
