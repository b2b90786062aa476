# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Flags in a file of flagd's format, read by flagd and by OpenFeature's file providers.

A flag is switched by its ``defaultVariant``, and its targeting is taken out: ``state: DISABLED``
would make every client use the default in its own code (flagd.dev, "Flag definitions", state).

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils import _flag_file, _flag_openfeature
from ansible_collections.sre.rollback.plugins.module_utils._flag_provider import (
    Change,
    Evaluation,
    FlagError,
    as_boolean,
)

_STATES = ("ENABLED", "DISABLED")


class FlagdFile:
    """One file. ``poll_interval`` is how often its slowest reader looks at it, in seconds."""

    def __init__(self, path: str, *, poll_interval: float) -> None:
        self._file = _flag_file.load(path)
        self._flags = _flags_of(self._file)
        self.place = {"path": path}
        self.visible_within = poll_interval

    def plan(self, flags: t.Mapping[str, t.Any]) -> Change:
        """Each flag enabled, with this variant for everybody."""
        after = {name: self._switched(name, wanted) for name, wanted in flags.items()}
        return Change({name: self._flag(name) for name in flags}, after)

    def plan_definitions(self, definitions: t.Mapping[str, t.Any]) -> Change:
        """Each flag exactly as given."""
        return Change({name: self._flag(name) for name in definitions}, dict(definitions))

    def rehearse(self, change: Change) -> None:
        """A client reads no part of the file when one part is broken."""
        after = self._after(change)
        _flag_openfeature.evaluated(after.document, change.after)

    def apply(self, change: Change) -> None:
        """Everything else in the file stays as it is."""
        self._file.replace_by(self._after(change))

    def evaluated(self, names: t.Iterable[str]) -> Evaluation:
        """As a client evaluates the file as it is now, for nobody in particular."""
        file = _flag_file.load(self._file.path)
        flags = _flags_of(file)
        shown = {name: flags[name] for name in names if name in flags}
        values = _flag_openfeature.evaluated(file.document, shown)
        if values is not None:
            return Evaluation(values, _flag_openfeature.NAME)
        return Evaluation({name: _value(flag) for name, flag in shown.items()}, "this module")

    def expected(self, change: Change) -> dict[str, t.Any]:
        return {
            name: _value(flag) for name, flag in change.after.items() if not flag.get("targeting")
        }

    def _after(self, change: Change) -> _flag_file.FlagFile:
        touched = {("flags", name): change.after[name] for name in change.touched}
        return self._file.with_values(touched)

    def _flag(self, name: str) -> dict[str, t.Any]:
        if name not in self._flags:
            known = ", ".join(sorted(self._flags)) or "none"
            raise FlagError(
                f"{self._file.path} has no flag {name!r} (it has: {known}). Nothing was changed."
            )
        return self._flags[name]

    def _switched(self, name: str, wanted: t.Any) -> dict[str, t.Any]:
        flag = self._flag(name)
        variants = flag.get("variants")
        if not isinstance(variants, dict) or not variants:
            raise FlagError(
                f"flag {name!r} in {self._file.path} has no variants. Nothing was changed."
            )
        if wanted in _STATES and wanted not in variants:
            return {**flag, "state": wanted}
        changed = {**flag, "state": "ENABLED", "defaultVariant": _variant(name, variants, wanted)}
        changed.pop("targeting", None)
        return changed


def _flags_of(file: _flag_file.FlagFile) -> dict[str, dict[str, t.Any]]:
    flags = file.document.get("flags")
    if not isinstance(flags, dict) or not all(isinstance(flag, dict) for flag in flags.values()):
        raise FlagError(
            f"{file.path} is not a flagd definition: it has no flags. Nothing was changed."
        )
    return flags


def _variant(name: str, variants: t.Mapping[str, t.Any], wanted: t.Any) -> str:
    """The variant of this name; for a boolean, the only one with this value."""
    if isinstance(wanted, str) and wanted in variants:
        return wanted
    value = as_boolean(wanted)
    named = [each for each, found in variants.items() if value is not None and found is value]
    if len(named) == 1:
        return str(named[0])
    known = ", ".join(f"{each} ({json.dumps(found)})" for each, found in variants.items())
    problem = "more than one variant" if named else "no variant"
    raise FlagError(
        f"flag {name!r} has {problem} for {wanted!r} (it has: {known}). Nothing was changed."
    )


def _value(flag: t.Mapping[str, t.Any]) -> t.Any:
    """What everybody gets who is not targeted."""
    variants = flag.get("variants")
    if flag.get("state") != "ENABLED" or not isinstance(variants, dict):
        return None
    return variants.get(flag.get("defaultVariant"))
