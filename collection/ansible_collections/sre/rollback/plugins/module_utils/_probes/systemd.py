# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe kind ``systemd``: units are in the wanted state, and stay there without restarts.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import re
import typing as t

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
from ansible_collections.sre.rollback.plugins.module_utils._probes.program import run_program

_PROPERTIES = ("Id", "LoadState", "ActiveState", "SubState", "Result", "NRestarts")
# systemd.unit(5): the characters of a unit's name.
_UNIT = re.compile(r"^[A-Za-z0-9:_.\\@-]+$")


def _options() -> dict[str, t.Any]:
    return {
        "units": {"type": "list", "elements": "str", "required": True},
        "state": {"type": "str", "default": "active", "choices": ["active", "inactive"]},
        "scope": {"type": "str", "default": "system", "choices": ["system", "user"]},
    }


def prepare(options: Options, _context: Context) -> Probe:
    """Read the options. Raises ProbeRefusedError."""
    units = options["units"]
    if not units:
        raise ProbeRefusedError("units is empty")
    for unit in units:
        if not _UNIT.match(unit) or unit.startswith("-"):
            raise ProbeRefusedError(f"{unit!r} is not the name of a unit")
    argv = [
        "systemctl",
        f"--{options['scope']}",
        "show",
        f"--property={','.join(_PROPERTIES)}",
        "--",
        *units,
    ]
    restarts: dict[str, str] = {}

    def probe(leash: Leash) -> None:
        described = _show(argv, leash)
        if len(described) != len(units):
            raise ProbeInconclusiveError("systemctl did not describe every unit")
        for unit, known in zip(units, described):
            require_state(unit, known, options["state"])
            _require_no_restart(unit, known, restarts)

    return probe


def _show(argv: t.Sequence[str], leash: Leash) -> list[dict[str, str]]:
    try:
        done = run_program(argv, leash, environment={"LC_ALL": "C", "SYSTEMD_PAGER": ""})
    except ProbeFailedError as exc:
        raise ProbeInconclusiveError(f"systemd cannot be asked: {exc}") from exc
    if done.rc != 0:
        reason = " ".join(done.stderr.split())[:200] or f"exit code {done.rc}"
        raise ProbeInconclusiveError(f"systemd cannot be asked: {reason}")
    return parse_show(done.stdout)


def parse_show(text: str) -> list[dict[str, str]]:
    """The blocks of ``systemctl show``, one for each unit."""
    blocks = re.split(r"\n\s*\n", text.strip())
    return [dict(line.split("=", 1) for line in b.splitlines() if "=" in line) for b in blocks]


def require_state(unit: str, known: t.Mapping[str, str], wanted: str) -> None:
    """Raise ProbeFailedError unless the unit is loaded and in the wanted state."""
    if known.get("LoadState") != "loaded" and wanted == "active":
        raise ProbeFailedError(f"{unit} is {known.get('LoadState') or 'unknown'}")
    state = known.get("ActiveState") or "unknown"
    if state == wanted:
        return
    result = known.get("Result") or "success"
    because = "" if result == "success" else f", result {result}"
    raise ProbeFailedError(
        f"{unit} is {state} ({known.get('SubState') or 'unknown'}{because}), expected {wanted}"
    )


def _require_no_restart(unit: str, known: t.Mapping[str, str], restarts: dict[str, str]) -> None:
    # A unit in a restart loop is active nearly every time one looks.
    now = known.get("NRestarts", "")
    before = restarts.setdefault(unit, now)
    if before != now:
        restarts[unit] = now
        raise ProbeFailedError(f"{unit} was restarted by systemd since the last look")


KIND = Kind("systemd", _options, prepare, instrument=True)
