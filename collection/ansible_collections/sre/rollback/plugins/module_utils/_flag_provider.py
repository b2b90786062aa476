# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every provider of feature flags offers to the module.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError


class FlagError(RollbackError):
    """The flags are not as asked for; the message says in which state they were left."""


class UnchangedError(FlagError):
    """They are as they were: nothing was changed, or all of it was put back."""


@dataclass(frozen=True)
class Change:
    """Flags before and after, each as the provider keeps it, by name."""

    before: dict[str, t.Any]
    after: dict[str, t.Any]

    @property
    def changed(self) -> bool:
        return self.before != self.after

    @property
    def touched(self) -> dict[str, t.Any]:
        """The flags that differ, as they were."""
        return {name: flag for name, flag in self.before.items() if flag != self.after[name]}


@dataclass(frozen=True)
class Evaluation:
    """What a client gets for each flag; None is the default in the client's own code."""

    values: dict[str, t.Any]
    by: str


class Provider(t.Protocol):
    """One place that clients read their flags from."""

    #: Options of the module that undo needs to find the same place again; never a secret.
    place: t.Mapping[str, t.Any]
    #: Seconds until every client has seen a change.
    visible_within: float

    def plan(self, flags: t.Mapping[str, t.Any]) -> Change:
        """What giving each flag this variant or state would change. Raises FlagError."""

    def plan_definitions(self, definitions: t.Mapping[str, t.Any]) -> Change:
        """What putting these flags back as they were would change. Raises FlagError."""

    def rehearse(self, change: Change) -> None:
        """Raises FlagError when clients could not read the flags as they would be."""

    def apply(self, change: Change) -> None:
        """Do it. Raises RollbackError, which says what was done of it: FileError or UnchangedError
        when nothing was.
        """

    def evaluated(self, names: t.Iterable[str]) -> Evaluation:
        """What a client gets for each flag now. Raises FlagError."""

    def expected(self, change: Change) -> dict[str, t.Any]:
        """What a client has to get, for the flags that are the same for every client."""


def as_boolean(wanted: t.Any) -> bool | None:
    """What ``true`` or ``off`` means; None for any other word."""
    if isinstance(wanted, bool):
        return wanted
    words = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
    return words.get(str(wanted).lower())
