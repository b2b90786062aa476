# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The databases that a flush is about, and whether their servers will let it happen.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import secrets
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._redis import (
    Address,
    ConnectionOptions,
    connect,
    connect_server,
    is_cluster,
    is_cluster_node,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_errors import (
    RedisCommandError,
    command_errors,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_glob import example_key
from ansible_collections.sre.rollback.plugins.module_utils._redis_wire import Wire

_UNCHANGED = "Nothing was changed."


@dataclass(frozen=True)
class Database:
    """One numbered database of one server. ``clustered`` servers know no commands over slots."""

    server: Address
    number: int
    clustered: bool

    def __str__(self) -> str:
        return f"database {self.number} of {self.server}"

    @contextlib.contextmanager
    def wire(self, options: ConnectionOptions) -> t.Iterator[Wire]:
        """A connection to this database. Raises RedisConnectionError."""
        client = connect_server(self.server, options, db=self.number)
        with contextlib.closing(client), contextlib.closing(Wire(client)) as wire:
            yield wire


def find_databases(
    params: t.Mapping[str, t.Any], options: ConnectionOptions, *, every: bool
) -> list[Database]:
    """Database ``db``, or every one that has keys, of all primaries.

    Raises RedisConnectionError or RedisCommandError.
    """
    client = connect(params, db=params["db"])
    with contextlib.closing(client):
        whole_cluster = is_cluster(client)
        clustered = whole_cluster or is_cluster_node(client)
        servers = _primaries(client) if whole_cluster else [_server(client)]
    numbers = {server: [params["db"]] for server in servers}
    if every:
        numbers = {server: _numbers_with_keys(server, options) for server in servers}
    return [Database(server, number, clustered) for server in servers for number in numbers[server]]


def _primaries(client: t.Any) -> list[Address]:
    nodes = client.get_primaries()
    return sorted(
        (Address(node.host, node.port) for node in nodes), key=lambda each: (each.host, each.port)
    )


def _server(client: t.Any) -> Address:
    arguments = client.connection_pool.connection_kwargs
    return Address(arguments["host"], arguments["port"])


def _numbers_with_keys(server: Address, options: ConnectionOptions) -> list[int]:
    client = connect_server(server, options)
    with contextlib.closing(client), command_errors("listing databases", left=_UNCHANGED):
        keyspace = client.info("keyspace")
    return sorted(int(name[2:]) for name in keyspace if name.startswith("db"))


@dataclass(frozen=True)
class Permissions:
    """What the server lets this user do beyond what is needed at least."""

    flush_whole: bool


def preflight(
    database: Database,
    options: ConnectionOptions,
    *,
    verb: str,
    patterns: t.Sequence[str],
    keep: bool,
) -> Permissions:
    """Try every command that will be needed, on keys that do not exist.

    Raises RedisCommandError with all that is missing: an ACL that forbids a command or keys, a
    replica, a server that cannot save and so refuses writes. Nothing is changed by it.
    """
    examples = [example_key(pattern.encode(), secrets.token_hex(8)) for pattern in patterns]
    commands = [("SCAN", "0", "COUNT", "1"), ("DBSIZE",)]
    for key in examples:
        commands += [(verb, key)]
        commands += [("DUMP", key), ("PTTL", key)] if keep else []
    if keep:
        commands += [("WATCH", examples[0]), ("UNWATCH",), ("MULTI",), ("EXEC",), ("TIME",)]
    # An argument that no version knows: allowed users get a syntax error, others a refusal.
    commands += [("FLUSHDB", "NOTHING")]
    with command_errors("the preflight", left=_UNCHANGED), database.wire(options) as wire:
        answers = wire.exchange(*commands)
    _refuse_missing(database, options, commands[:-1], answers[:-1])
    return Permissions(flush_whole="syntax" in str(answers[-1]).lower())


def _refuse_missing(
    database: Database,
    options: ConnectionOptions,
    commands: t.Sequence[tuple[t.Any, ...]],
    answers: t.Sequence[t.Any],
) -> None:
    refused = {}
    for command, answer in zip(commands, answers):
        if isinstance(answer, Exception) and not _is_elsewhere(answer):
            refused[command[0]] = answer
    if not refused:
        return
    reasons = "; ".join(dict.fromkeys(str(answer) for answer in refused.values()))
    text = reasons.lower()
    if "read only replica" in text or "read-only" in text:
        raise RedisCommandError(
            f"{database.server} is a replica and cannot be written. {_UNCHANGED} Name the "
            "primary in login_host, or its Sentinels."
        )
    words = ", ".join(refused)
    user = options.user or "default"
    raise RedisCommandError(
        f"{database.server} refuses {words} for user {user!r}: {reasons}. {_UNCHANGED} "
        "Allow these commands, on the keys concerned, in the ACL of that user."
    )


def _is_elsewhere(answer: Exception) -> bool:
    """A cluster node that does not hold the slot of a key says where it is: no refusal."""
    name = type(answer).__name__
    return name in ("MovedError", "AskError") or str(answer).startswith(("MOVED ", "ASK "))
