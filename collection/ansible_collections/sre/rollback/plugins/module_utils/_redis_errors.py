# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of Redis and Valkey in words: what happened, what was left, what to correct.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

with contextlib.suppress(ImportError):
    import redis


class RedisConnectionError(RollbackError):
    """The server cannot be used as it was asked for. Nothing was changed by the attempt."""


class RedisCommandError(RollbackError):
    """A connected server refused a command, or went away in the middle of the work."""


@contextlib.contextmanager
def command_errors(doing: str, *, left: str) -> t.Iterator[None]:
    """Turn what redis-py raises during a command into a RedisCommandError.

    ``doing`` completes "Redis failed while ...", ``left`` is the sentence that says which state
    was left behind.
    """
    try:
        yield
    except redis.WatchError:
        raise
    except redis.exceptions.NoPermissionError as exc:
        raise RedisCommandError(
            f"The ACL does not allow {doing}: {exc}. {left} Extend the ACL of login_user."
        ) from exc
    except redis.exceptions.ReadOnlyError as exc:
        raise RedisCommandError(
            f"The server is a replica, which cannot be written: {doing} failed. {left} "
            "Name the primary in login_host, or its Sentinels."
        ) from exc
    except (redis.RedisError, redis.exceptions.RedisClusterException, OSError) as exc:
        raise RedisCommandError(f"Redis failed while {doing}: {exc}. {left}") from exc


def connection_reason(exc: Exception, *, user: str | None, timeout: float, tls: bool) -> str:
    """Why a connection failed and what to correct, to follow the server's address."""
    text = str(exc).strip().rstrip(".")
    account = f"user {user!r}" if user else "the default user"
    for fragments, reason in _REASONS:
        if any(fragment in text.lower() for fragment in fragments):
            return reason.format(account=account, text=text)
    if isinstance(exc, redis.TimeoutError):
        hint = " It may not speak TLS." if tls else ""
        return f"did not answer within {timeout:g} s. Check login_host and firewalls.{hint}"
    if isinstance(exc, redis.exceptions.InvalidResponse):
        return f"does not speak the Redis protocol ({text}). Check login_port and tls."
    return f"cannot be used: {text}."


_REASONS = (
    (
        ("no such file or directory",),
        "was not asked: a certificate or key file does not exist. Check ca_certs, "
        "client_cert_file and client_key_file.",
    ),
    (
        ("certificate_verify_failed", "certificate verify failed"),
        "has a certificate that cannot be trusted: {text}. Check ca_certs and login_host.",
    ),
    (
        ("wrong_version_number", "wrong version number", "record layer failure"),
        "does not speak TLS on this port. Set tls to false, or correct login_port.",
    ),
    (
        ("certificate required", "alert", "ssl"),
        "refused the TLS handshake: {text}. Check client_cert_file, client_key_file and ca_certs.",
    ),
    (
        ("noauth", "authentication required"),
        "wants a password and none was given. Set login_password.",
    ),
    (
        ("wrongpass", "invalid username-password", "invalid password"),
        "refused the password of {account}. Correct login_user and login_password.",
    ),
    (
        ("without any password configured", "no password is set", "without any password"),
        "has no password for {account}, but one was given. Leave login_password out.",
    ),
    (
        ("noperm", "no permissions", "has no permissions"),
        "does not let {account} do this: {text}. Extend the ACL of that user.",
    ),
    (
        ("not allowed in cluster mode",),
        "is a node of a cluster, where only database 0 can be used. Correct db.",
    ),
    (
        ("db index", "invalid db"),
        "does not have that database: {text}. Correct db.",
    ),
    (
        ("loading",),
        "is still loading its data. Wait until it answers PING, then try again.",
    ),
    (
        ("connection closed", "connection reset", "reset by peer", "broken pipe"),
        "closed the connection at once: {text}. It may expect TLS (tls: true).",
    ),
    (
        ("connection refused",),
        "does not accept connections. Check login_host, login_port, and that it runs.",
    ),
    (
        ("name or service not known", "name resolution", "nodename nor servname"),
        "cannot be found: {text}. Correct login_host.",
    ),
)
