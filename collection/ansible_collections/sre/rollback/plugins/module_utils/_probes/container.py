# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe kind ``container``: Docker containers run, and their own health checks say healthy.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._docker_health_check import (
    health_check_command,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Context,
    Kind,
    Leash,
    Options,
    Probe,
    ProbeFailedError,
    ProbeInconclusiveError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.docker_api import (
    DockerEngine,
    docker_options,
)

Known = t.Mapping[str, t.Any]


def _options() -> dict[str, t.Any]:
    return {
        **docker_options(),
        "names": {"type": "list", "elements": "str"},
        "labels": {"type": "dict"},
        "at_least": {"type": "int", "default": 1},
        "health_check": {
            "type": "str",
            "default": "required",
            "choices": ["required", "if_defined"],
        },
        "early_health_check": {"type": "bool", "default": True},
    }


_CONSTRAINTS = {
    "mutually_exclusive": [["names", "labels"]],
    "required_one_of": [["names", "labels"]],
}


def prepare(options: Options, _context: Context) -> Probe:
    """Read the options. Raises ProbeRefusedError."""
    engine = DockerEngine(options)
    names, labels = options.get("names"), options.get("labels")
    if not (names or labels) or (names and not all(names)):
        raise ProbeRefusedError("names or labels is empty")
    if options["at_least"] < 1:
        raise ProbeRefusedError("at_least must be 1 or more")
    started_at: dict[str, str] = {}

    def probe(leash: Leash) -> None:
        for container in names or _labelled(engine, options, leash):
            known = _inspect(engine, container, leash)
            title = known.get("Name", container).lstrip("/")
            require_running(known["State"], title)
            _require_same_start(known["State"], title, started_at)
            health = known["State"].get("Health")
            early = options["early_health_check"] and is_starting(health)
            if early and _passes_early(engine, known, title, leash):
                continue
            require_healthy(health, title, options["health_check"])

    return probe


def _labelled(engine: DockerEngine, options: Options, leash: Leash) -> list[str]:
    found = engine.containers(options["labels"], leash)
    if len(found) < options["at_least"]:
        raise ProbeFailedError(
            f"{len(found)} containers carry the labels, at least {options['at_least']} must"
        )
    return found


def _inspect(engine: DockerEngine, container: str, leash: Leash) -> Known:
    try:
        return engine.inspect(container, leash)
    except ProbeFailedError as exc:
        raise ProbeFailedError(f"{container}: {exc}") from exc


def require_running(state: Known, title: str) -> None:
    """Raise ProbeFailedError unless the container's main process runs."""
    if state.get("OOMKilled"):
        raise ProbeFailedError(f"{title} was killed because it ran out of memory")
    status = state.get("Status")
    if status == "exited":
        raise ProbeFailedError(f"{title} has ended with exit code {state.get('ExitCode')}")
    if status != "running":
        raise ProbeFailedError(f"{title} is {status}, expected running")


def _require_same_start(state: Known, title: str, started_at: dict[str, str]) -> None:
    # A container in a restart loop is running nearly every time one looks.
    now = str(state.get("StartedAt"))
    before = started_at.setdefault(title, now)
    if before != now:
        started_at[title] = now
        raise ProbeFailedError(f"{title} was restarted since the last look")


def is_starting(health: Known | None) -> bool:
    """Whether the Engine has no verdict of the container's own health check yet."""
    return (health or {}).get("Status") == "starting"


def _passes_early(engine: DockerEngine, known: Known, title: str, leash: Leash) -> bool:
    """Run the health check now; False where it has no command. Raises ProbeInconclusiveError.

    One that fails says nothing yet: the Engine would forgive it, too, while it is starting.
    """
    command = health_check_command(known["Config"])
    if not command:
        return False
    code, output = engine.execute(known["Id"], command, leash)
    if code != 0:
        last = (output.strip().splitlines() or ["nothing"])[-1][:200]
        raise ProbeInconclusiveError(
            f"{title} is still in the start period of its health check, which ended with exit code "
            f"{code} just now and said: {last}"
        )
    return True


def require_healthy(health: Known | None, title: str, demand: str) -> None:
    """Raise unless the container's own health check says that it is healthy."""
    status = (health or {}).get("Status", "none")
    if status == "healthy" or (status == "none" and demand == "if_defined"):
        return
    if status == "none":
        raise ProbeInconclusiveError(f"{title} runs, but has no health check that could tell more")
    if status == "starting":
        raise ProbeInconclusiveError(f"{title} is still in the start period of its health check")
    streak = (health or {}).get("FailingStreak", 0)
    raise ProbeFailedError(f"{title} is {status}: its health check failed {streak} times in a row")


KIND = Kind("container", _options, prepare, instrument=True, constraints=_CONSTRAINTS)
