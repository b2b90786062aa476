# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The releases that were marked good on a host: one JSON object a line, the youngest last.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

#: What makes two entries two different releases; the rest is about them.
_IDENTITY = ("version", "images")


class RegistryError(RollbackError):
    """The registry could not be read or written; it is as it was."""


@dataclass(frozen=True)
class Registry:
    """What the file says; ``lines`` is all of it, what cannot be read included."""

    entries: tuple[dict[str, t.Any], ...]
    damaged: tuple[dict[str, t.Any], ...]
    lines: tuple[bytes, ...]

    @property
    def good(self) -> list[dict[str, t.Any]]:
        """Releases that are good until today, the one that was marked last at the end.

        What was marked bad after it was marked good is left out.
        """
        found: list[dict[str, t.Any]] = []
        for entry in self.entries:
            found = [each for each in found if not _same(each, entry)]
            if not entry.get("bad"):
                found.append(entry)
        return found

    def is_bad(self, version: str) -> str:
        """Why a version was marked bad, or nothing."""
        last = next((e for e in reversed(self.entries) if e["version"] == version), {})
        return str(last.get("reason") or "no reason given") if last.get("bad") else ""

    @property
    def bad(self) -> dict[str, str]:
        """The versions that are bad until today, and why."""
        reasons = {each["version"]: self.is_bad(each["version"]) for each in self.entries}
        return {version: why for version, why in reasons.items() if why}

    def find(self, version: str) -> dict[str, t.Any] | None:
        """The good release of this version, or with no version the last one."""
        good = [each for each in self.good if version in ("", each["version"])]
        return good[-1] if good else None


def read(path: str) -> Registry:
    """The registry; an absent file is an empty one. Raises FileError."""
    content = _atomic_file.read(path) or b""
    lines = tuple(line for line in content.split(b"\n") if line.strip())
    entries, damaged = [], []
    for number, line in enumerate(lines, 1):
        entry, problem = _parse(line)
        if entry is not None:
            entries.append(entry)
        else:
            damaged.append({"line": number, "problem": problem})
    return Registry(tuple(entries), tuple(damaged), lines)


def add(
    path: str, entry: t.Mapping[str, t.Any], *, over_bad: bool = True, dry: bool = False
) -> tuple[bool, Registry]:
    """Append the entry unless the last word on it says the same; whether it was, and what is there.

    Without ``over_bad`` a version that was marked bad stays so. Lines that cannot be read stay as
    they are: they are evidence. Raises FileError.
    """
    folder = Path(path).parent
    if dry and not folder.is_dir():
        return True, read(path)
    folder.mkdir(parents=True, exist_ok=True)
    with _atomic_file.alone(path):
        found = read(path)
        if _is_last_word(found, entry) or (not over_bad and found.is_bad(entry["version"])):
            return False, found
        if not dry:
            line = json.dumps(dict(entry), sort_keys=True, ensure_ascii=False).encode()
            _atomic_file.replace(path, b"".join(each + b"\n" for each in (*found.lines, line)))
            found = read(path)
    return True, found


def _is_last_word(found: Registry, entry: t.Mapping[str, t.Any]) -> bool:
    """A good release is the last word only as the last good one: marking moves it to the end."""
    if entry.get("bad"):
        return bool(found.is_bad(entry["version"]))
    last = found.good[-1:] or [{}]
    told = {name for name in entry if name not in ("marked_at", "by")}
    return all(last[0].get(name) == entry[name] for name in told)


def _same(one: t.Mapping[str, t.Any], other: t.Mapping[str, t.Any]) -> bool:
    if other.get("bad"):
        return bool(one["version"] == other["version"])
    return all(one.get(name) == other.get(name) for name in _IDENTITY)


def _parse(line: bytes) -> tuple[dict[str, t.Any] | None, str]:
    try:
        entry = json.loads(line.decode())
    except ValueError as exc:
        return None, f"not JSON: {exc}"
    if not isinstance(entry, dict) or not isinstance(entry.get("version"), str):
        return None, "no object with a version"
    if not isinstance(entry.get("images", {}), dict):
        return None, "its images are no object"
    return entry, ""
