# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Flags in a file of flagd's JSON format, read by flagd and by OpenFeature's file providers.

A flag is switched by its ``defaultVariant``, and its targeting is set aside: ``state: DISABLED``
would make every client use the default in its own code (flagd.dev, "Flag definitions", state).

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._flag_provider import Change, FlagError

_INDENT = re.compile(r"\n([ \t]+)\S")


class FlagdFile:
    """One file. ``poll_interval`` is how often its slowest reader looks at it, in seconds."""

    def __init__(self, path: str, *, poll_interval: float) -> None:
        self._path = path
        self._text = _read(path)
        self._document = _parse(path, self._text)
        self._poll_interval = poll_interval

    def plan(self, flags: t.Mapping[str, t.Any]) -> Change:
        """Each flag enabled, with this variant for everybody."""
        before = {name: self._flag(name) for name in flags}
        after = {name: self._switched(name, wanted) for name, wanted in flags.items()}
        return Change(before, after)

    def plan_definitions(self, definitions: t.Mapping[str, t.Any]) -> Change:
        """Each flag exactly as given."""
        return Change({name: self._flag(name) for name in definitions}, dict(definitions))

    def apply(self, change: Change) -> None:
        """Order and indentation of the file are kept; everything else in it is as it was."""
        if _read(self._path) != self._text:
            raise FlagError(
                f"{self._path} was changed by somebody else meanwhile; it was left as they wrote "
                "it. Run it again."
            )
        document = {**self._document, "flags": {**self._document["flags"], **change.after}}
        text = json.dumps(document, indent=_indent_of(self._text), ensure_ascii=False)
        ending = "\n" if self._text.endswith("\n") else ""
        _atomic_file.replace(self._path, (text + ending).encode())
        self._text = text + ending
        self._document = document

    def evaluated(self, names: t.Iterable[str]) -> dict[str, t.Any]:
        """As flagd evaluates without a context, read from the file as it is now."""
        document = _parse(self._path, _read(self._path))
        return {name: _value(document["flags"].get(name, {})) for name in names}

    def expected(self, change: Change) -> dict[str, t.Any]:
        return {name: _value(flag) for name, flag in change.after.items()}

    @property
    def visible_within(self) -> float:
        return self._poll_interval

    def _flag(self, name: str) -> dict[str, t.Any]:
        flags = self._document["flags"]
        if name not in flags:
            known = ", ".join(sorted(flags)) or "none"
            raise FlagError(
                f"{self._path} has no flag {name!r} (it has: {known}). Nothing was changed."
            )
        flag: dict[str, t.Any] = flags[name]
        return flag

    def _switched(self, name: str, wanted: t.Any) -> dict[str, t.Any]:
        flag = self._flag(name)
        if wanted == "DISABLED":
            return {**flag, "state": "DISABLED"}
        changed = {**flag, "state": "ENABLED", "defaultVariant": _variant(name, flag, wanted)}
        changed.pop("targeting", None)
        return changed


def _variant(name: str, flag: t.Mapping[str, t.Any], wanted: t.Any) -> str:
    """The variant of this name; for a boolean, the only one with this value."""
    variants = flag.get("variants") or {}
    as_bool = {"true": True, "false": False}.get(str(wanted).lower())
    if not isinstance(wanted, bool) and str(wanted) in variants:
        return str(wanted)
    named = [each for each, value in variants.items() if as_bool is not None and value is as_bool]
    if len(named) == 1:
        return str(named[0])
    known = ", ".join(f"{each} ({json.dumps(value)})" for each, value in variants.items())
    problem = "more than one variant" if named else "no variant"
    raise FlagError(
        f"flag {name!r} has {problem} for {wanted!r} (it has: {known}). Nothing was changed."
    )


def _value(flag: t.Mapping[str, t.Any]) -> t.Any:
    """None stands for the default in the client's own code."""
    if flag.get("state") != "ENABLED":
        return None
    return (flag.get("variants") or {}).get(flag.get("defaultVariant"))


def _read(path: str) -> str:
    content = _atomic_file.read(path)
    if content is None:
        raise FlagError(f"there is no file {path}. Nothing was changed. Check the path.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise FlagError(f"{path} is not UTF-8: {exc}. Nothing was changed.") from exc


def _parse(path: str, text: str) -> dict[str, t.Any]:
    try:
        document = json.loads(text)
    except ValueError as exc:
        raise FlagError(f"{path} is not valid JSON: {exc}. Nothing was changed.") from exc
    flags = document.get("flags") if isinstance(document, dict) else None
    if not isinstance(flags, dict) or not all(isinstance(flag, dict) for flag in flags.values()):
        raise FlagError(f"{path} is not a flagd definition: it has no flags. Nothing was changed.")
    return document


def _indent_of(text: str) -> int | str | None:
    """The indentation of the first indented line; a file in one line stays in one line."""
    found = _INDENT.search(text)
    return found.group(1) if found else None
