# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Flags in a file that LaunchDarkly's SDKs read instead of asking its service.

``flagValues`` holds a flag's value for everybody. ``flags`` holds whole flags: one that is off
gives everybody its ``offVariation``; one that is on gives its ``fallthrough`` to whomever none of
its targets, rules and prerequisites catches.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils import (
    _flag_file,
    _flag_launchdarkly_client,
)
from ansible_collections.sre.rollback.plugins.module_utils._flag_provider import (
    Change,
    Evaluation,
    FlagError,
    as_boolean,
)

_SECTIONS = ("flags", "flagValues")
_TARGETING = ("targets", "contextTargets", "rules", "prerequisites")


class LaunchDarklyFile:
    """One file. ``poll_interval`` is how often its slowest reader looks at it, in seconds."""

    def __init__(self, path: str, *, poll_interval: float) -> None:
        self._file = _flag_file.load(path)
        self._found = _definitions(self._file)
        self.place = {"path": path}
        self.visible_within = poll_interval

    def plan(self, flags: t.Mapping[str, t.Any]) -> Change:
        """Each flag with this value for everybody."""
        before = self._before(flags)
        after = {name: _switched(name, before[name], wanted) for name, wanted in flags.items()}
        return Change(before, after)

    def plan_definitions(self, definitions: t.Mapping[str, t.Any]) -> Change:
        """Each flag exactly as given."""
        return Change(self._before(definitions), dict(definitions))

    def rehearse(self, change: Change) -> None:
        """A client reads no part of the file when one part is broken."""
        text = self._after(change).text
        _flag_launchdarkly_client.evaluated(self._file.path, text, list(change.after))

    def apply(self, change: Change) -> None:
        """Everything else in the file stays as it is."""
        self._file.replace_by(self._after(change))

    def evaluated(self, names: t.Iterable[str]) -> Evaluation:
        """As a client evaluates the file as it is now, for nobody in particular."""
        file = _flag_file.load(self._file.path)
        found = _definitions(file)
        known = [name for name in names if name in found]
        values = _flag_launchdarkly_client.evaluated(file.path, file.text, known)
        if values is not None:
            return Evaluation(values, _flag_launchdarkly_client.NAME)
        return Evaluation({name: _value(found[name][1]) for name in known}, "this module")

    def expected(self, change: Change) -> dict[str, t.Any]:
        return {name: _value(flag) for name, flag in change.after.items() if not _targets(flag)}

    def _before(self, names: t.Iterable[str]) -> dict[str, t.Any]:
        unknown = sorted(set(names) - set(self._found))
        if unknown:
            known = ", ".join(sorted(self._found)) or "none"
            raise FlagError(
                f"{self._file.path} has no flag {unknown[0]!r} (it has: {known}). Nothing was "
                "changed."
            )
        return {name: self._found[name][1] for name in names}

    def _after(self, change: Change) -> _flag_file.FlagFile:
        touched = {(self._found[name][0], name): change.after[name] for name in change.touched}
        return self._file.with_values(touched)


def _definitions(file: _flag_file.FlagFile) -> dict[str, tuple[str, t.Any]]:
    """The section and definition of every flag; a whole flag wins over a mere value."""
    found: dict[str, tuple[str, t.Any]] = {}
    for section in reversed(_SECTIONS):
        flags = file.document.get(section) or {}
        if not isinstance(flags, dict) or (section == "flags" and not _are_whole(flags)):
            raise FlagError(
                f"{file.path} is not a file of LaunchDarkly's: {section} holds something else than "
                "flags with their variations. Nothing was changed."
            )
        found.update({name: (section, flag) for name, flag in flags.items()})
    if not any(section in file.document for section in _SECTIONS):
        raise FlagError(
            f"{file.path} is not a file of LaunchDarkly's: it has neither flags nor flagValues. "
            "Nothing was changed."
        )
    return found


def _are_whole(flags: t.Mapping[str, t.Any]) -> bool:
    return all(_is_whole(flag) for flag in flags.values())


def _is_whole(definition: t.Any) -> bool:
    """Whether it is a whole flag and not a mere value."""
    return isinstance(definition, dict) and isinstance(definition.get("variations"), list)


def _switched(name: str, definition: t.Any, wanted: t.Any) -> t.Any:
    if not _is_whole(definition):
        return _as(name, wanted, [definition])
    if wanted == "DISABLED" and wanted not in definition["variations"]:
        return {**definition, "on": False}
    value = _as(name, wanted, definition["variations"])
    variation = next(
        at for at, each in enumerate(definition["variations"]) if _flag_file.is_same(each, value)
    )
    if definition.get("offVariation") == variation:
        return {**definition, "on": False}
    emptied = {part: [] for part in _TARGETING if definition.get(part)}
    return {**definition, "on": True, "fallthrough": {"variation": variation}, **emptied}


def _as(name: str, wanted: t.Any, variations: t.Sequence[t.Any]) -> t.Any:
    """``wanted`` as one of the variations, or as the kind of the only one known."""
    for each in variations:
        if _flag_file.is_same(wanted, each):
            return each
    if all(isinstance(each, bool) for each in variations):
        value = as_boolean(wanted)
        if value is not None and (len(variations) == 1 or value in variations):
            return value
    elif len(variations) == 1 and isinstance(wanted, type(variations[0])):
        return wanted
    known = ", ".join(json.dumps(each) for each in variations)
    kind = "a value like" if len(variations) == 1 else "one of"
    raise FlagError(f"flag {name!r} takes {kind} {known}, not {wanted!r}. Nothing was changed.")


def _targets(flag: t.Any) -> bool:
    return _is_whole(flag) and bool(flag.get("on")) and any(flag.get(part) for part in _TARGETING)


def _value(flag: t.Any) -> t.Any:
    """What everybody gets who is not targeted; None is the default in the client's own code."""
    if not _is_whole(flag):
        return flag
    at = flag.get("offVariation")
    if flag.get("on"):
        at = (flag.get("fallthrough") or {}).get("variation")
    known = flag["variations"]
    return known[at] if isinstance(at, int) and at < len(known) else None
