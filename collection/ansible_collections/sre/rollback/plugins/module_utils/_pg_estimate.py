# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a restore will take: as it did before, or by its size.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._pg_backups import (
    Backup,
    list_backups,
    read_proof,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import Manifest

# A modest server: bytes a second of the database as it lies on disk.
_RATES = {"read": 300e6, "restore": 25e6, "analyze": 400e6, "prove": 100e6, "amcheck": 300e6}
_SWAP_SECONDS = 0.5
_WORDS = {
    "read": "read the dump through",
    "restore": "restore it aside",
    "analyze": "analyze it",
    "prove": "prove rows, sequences and objects",
    "amcheck": "check the indexes",
    "check": "ask the checks",
}


@dataclass(frozen=True)
class Estimate:
    """Steps in words, seconds of each by name, and what the numbers rest on."""

    steps: list[str]
    basis: str
    parts: dict[str, float] = field(default_factory=dict)

    def numbers(self) -> dict[str, t.Any]:
        return {
            "seconds": round(sum(self.parts.values()), 1),
            "parts": {name: round(value, 2) for name, value in self.parts.items()},
            "basis": self.basis,
        }


def estimate(
    backup: Path, manifest: Manifest, *, exists: bool, proved: bool, swap_too: bool
) -> Estimate:
    """What lies ahead when a staged database ``exists``, and when nobody touched it since."""
    times, basis = _times(backup, manifest)
    if proved:
        wanted: tuple[str, ...] = ("check",)
    elif exists:
        wanted = ("prove", "amcheck", "check")
    else:
        wanted = tuple(_WORDS)
    parts = {name: times[name] for name in wanted if name in times}
    if swap_too:
        parts["swap"] = _SWAP_SECONDS
    return Estimate([_WORDS[name] for name in wanted], basis, parts)


def _times(backup: Path, manifest: Manifest) -> tuple[dict[str, float], str]:
    proof = read_proof(backup, manifest)
    if proof:
        return _numbers(proof), f"the restore of {proof.get('at')}"
    for other in list_backups(backup.parent, manifest.database):
        if other.proved and other.bytes:
            share = manifest.bytes / other.bytes
            times = {name: value * share for name, value in _numbers(other.proved).items()}
            return times, _as(other)
    sizes = dict.fromkeys(_RATES, manifest.database_bytes)
    sizes["read"] = manifest.bytes
    times = {name: sizes[name] / rate for name, rate in _RATES.items()}
    return times, "its size alone; no backup of this database was ever restored"


def _as(other: Backup) -> str:
    return f"the restore of {other.id}, by size"


def _numbers(proof: t.Mapping[str, t.Any]) -> dict[str, float]:
    times = proof.get("times")
    if not isinstance(times, dict):
        return {}
    return {
        name: float(value)
        for name, value in times.items()
        if name in _WORDS and isinstance(value, (int, float))
    }
