# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe kind ``isolation``: users who ask at the same time never get each other's answers.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Context,
    Kind,
    Leash,
    Options,
    Probe,
    ProbeFailedError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.crowd import run_all
from ansible_collections.sre.rollback.plugins.module_utils._probes.http_client import (
    Request,
    fetch,
    prepare_request,
    read_statuses,
    request_options,
    require_status,
)

_MOST_ROUNDS = 10_000
_MOST_AT_ONCE = 100


def _options() -> dict[str, t.Any]:
    return {
        **request_options(),
        "users": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "options": {
                "name": {"type": "str", "required": True},
                "headers": {"type": "dict", "default": {}},
                "url_username": {"type": "str"},
                "url_password": {"type": "str", "no_log": True},
                "bearer_token": {"type": "str", "no_log": True},
                "marker": {"type": "str", "required": True},
            },
        },
        "status": {"type": "list", "elements": "int", "default": [200]},
        "rounds": {"type": "int", "default": 10},
        "at_once": {"type": "int", "default": 5},
        "request_timeout": {"type": "float", "default": 5.0},
    }


@dataclass(frozen=True)
class User:
    """One user: how to ask as that user, and what only that user's answers contain."""

    name: str
    request: Request
    marker: str


class LeakError(ProbeFailedError):
    """An answer contained what belongs to another user."""


def prepare(options: Options, _context: Context) -> Probe:
    """Read the options. Raises ProbeRefusedError."""
    if not 1 <= options["rounds"] <= _MOST_ROUNDS:
        raise ProbeRefusedError(f"rounds must be from 1 to {_MOST_ROUNDS}")
    if not 1 <= options["at_once"] <= _MOST_AT_ONCE:
        raise ProbeRefusedError(f"at_once must be from 1 to {_MOST_AT_ONCE}")
    if not options["request_timeout"] > 0:
        raise ProbeRefusedError("request_timeout must be above 0")
    users = read_users(options)
    allowed = read_statuses(options["status"])
    tasks = [_task(user, users, allowed) for _round in range(options["rounds"]) for user in users]

    def probe(leash: Leash) -> None:
        outcomes = run_all(
            tasks, at_once=options["at_once"], patience=options["request_timeout"], leash=leash
        )
        judge(outcomes)

    return probe


def read_users(options: Options) -> list[User]:
    """The users. Raises ProbeRefusedError when their answers could not be told apart."""
    given = options["users"]
    if len(given) < 2:
        raise ProbeRefusedError("users must name at least two users")
    if len({user["name"] for user in given}) < len(given):
        raise ProbeRefusedError("two users have the same name")
    markers = [user["marker"] for user in given]
    for place, marker in enumerate(markers):
        others = markers[:place] + markers[place + 1 :]
        if not marker or any(marker in other for other in others):
            raise ProbeRefusedError(
                f"the marker of {given[place]['name']!r} is empty or part of another user's"
            )
    return [_read_user(options, user) for user in given]


def _read_user(options: Options, user: Options) -> User:
    own = {name: value for name, value in user.items() if value and name != "headers"}
    headers = {**(options.get("headers") or {}), **(user.get("headers") or {})}
    request = prepare_request({**options, **own, "headers": headers})
    return User(user["name"], request, user["marker"])


def _task(
    user: User, users: t.Sequence[User], allowed: t.Collection[int]
) -> t.Callable[[Leash], None]:
    others = [other for other in users if other is not user]

    def ask(leash: Leash) -> None:
        answer = fetch(user.request, leash)
        text = answer.text()
        # First of all, whatever the status: an error page can leak, too.
        for other in others:
            if other.marker in text:
                raise LeakError(f"an answer to {user.name} contains the marker of {other.name}")
        require_status(answer, allowed)
        if user.marker not in text:
            raise ProbeFailedError(f"an answer to {user.name} lacks the user's own marker")

    return ask


def judge(outcomes: t.Sequence[Exception | None]) -> None:
    """Raise ProbeFailedError for the worst that happened: a leak before any other trouble."""
    errors = [outcome for outcome in outcomes if outcome is not None]
    leaks = [error for error in errors if isinstance(error, LeakError)]
    for kind in (leaks, errors):
        if kind:
            raise ProbeFailedError(f"{kind[0]} ({len(kind)} of {len(outcomes)} answers)")


KIND = Kind("isolation", _options, prepare)
