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


class Provider(t.Protocol):
    """One place that clients read their flags from."""

    def plan(self, flags: t.Mapping[str, t.Any]) -> Change:
        """What giving each flag this variant or state would change. Raises FlagError."""

    def plan_definitions(self, definitions: t.Mapping[str, t.Any]) -> Change:
        """What putting these flags back as they were would change. Raises FlagError."""

    def apply(self, change: Change) -> None:
        """Do it in one step. Raises FlagError; the flags are as they were then."""

    def evaluated(self, names: t.Iterable[str]) -> dict[str, t.Any]:
        """The value that a client gets for each flag now. Raises FlagError."""

    def expected(self, change: Change) -> dict[str, t.Any]:
        """The value that a client has to get for each flag after the change."""

    @property
    def visible_within(self) -> float:
        """Seconds until every client has seen a change."""
