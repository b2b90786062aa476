# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A gate that can be watched while it has not decided yet.

Ansible hears of a module only when it has ended. Whoever has started Ansible on this machine may
name a file in ``ROLLBACK_PLAYBOOK_GATE_FILE``: each time a check turns, the gate adds a line to it.
It has names and counts and no reasons, which may quote what a probe was told in confidence.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import json
import os
import time
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._gate import Gate

VARIABLE = "ROLLBACK_PLAYBOOK_GATE_FILE"
#: A check that flickers is no reason to fill a disk.
_APART_SECONDS = 0.2

Look = t.Callable[[Gate, float], None]


def watch_from(environment: t.Mapping[str, str]) -> Look:
    """What to call with the gate and the seconds since it began, each time something may be new."""
    path = environment.get(VARIABLE)
    return GateWatch(path).look if path else _look_away


def _look_away(_gate: Gate, _now: float) -> None:
    """Nobody watches."""


class GateWatch:
    """Adds a line to a file when the state of a check has changed. Never fails the gate."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._said: list[str] | None = None
        self._said_at = 0.0

    def look(self, gate: Gate, now: float) -> None:
        """Say how the gate stands, unless that was said already, or something was only just now."""
        states = [check.state if check.attempts else "waiting" for check in gate.checks]
        soon = self._said is not None and now - self._said_at < _APART_SECONDS
        if states == self._said or (soon and gate.outcome is None):
            return
        self._said, self._said_at = states, now
        self._write(_line(gate, states, now))

    def _write(self, line: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags, 0o600)
        except OSError:
            return
        try:
            os.write(descriptor, line.encode())
        except OSError:
            pass
        finally:
            os.close(descriptor)


def _line(gate: Gate, states: list[str], now: float) -> str:
    checks = [
        {"name": check.rules.name, "state": state, "attempts": check.attempts}
        for check, state in zip(gate.checks, states)
    ]
    held = None if gate.green_since is None else round(now - gate.green_since, 3)
    sample = {
        "at": time.time(),
        "elapsed": round(now, 3),
        "required": gate.rules.required,
        "green": sum(check.green for check in gate.checks),
        "held": held,
        "hold": gate.rules.hold,
        "checks": checks,
    }
    return json.dumps(sample) + "\n"
