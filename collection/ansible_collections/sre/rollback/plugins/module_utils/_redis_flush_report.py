# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a flush is asked for, and what it reports.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass, field

from ansible_collections.sre.rollback.plugins.module_utils._redis_glob import GlobSet
from ansible_collections.sre.rollback.plugins.module_utils._redis_sweep import Selection, Tally


@dataclass(frozen=True)
class Order:
    """What the task asks for. ``patterns`` is empty unless the mode is ``pattern``."""

    patterns: tuple[str, ...]
    exclude: tuple[str, ...]
    protect: tuple[str, ...]
    asynchronous: bool
    max_stall: float

    @property
    def verb(self) -> str:
        return "UNLINK" if self.asynchronous else "DEL"

    def selections(self) -> dict[str, Selection]:
        """One walk for each pattern. A key counts for the first pattern that it matches."""
        exclude, protect = globs(self.exclude), globs(self.protect)
        return {
            pattern: Selection(
                pattern=None if pattern == "*" else pattern.encode(),
                counted=globs(self.patterns[:number]),
                exclude=exclude,
                protect=protect,
            )
            for number, pattern in enumerate(self.patterns or ("*",))
        }


def globs(patterns: t.Iterable[str]) -> GlobSet:
    return GlobSet(pattern.encode() for pattern in patterns)


@dataclass
class Report:
    """What a flush met and did over all databases. ``walks`` and ``left`` are by pattern.

    ``left`` counts keys that should be gone, but are there afterwards: written meanwhile.
    """

    keys_before: int = 0
    keys_after: int = 0
    walks: dict[str, Tally] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, None] = field(default_factory=dict)
    longest_batch: float = 0.0
    unsettled: int = 0

    @property
    def removed(self) -> int:
        return sum(tally.removed for tally in self.walks.values())

    @property
    def spared(self) -> Counter[str]:
        return sum((tally.spared for tally in self.walks.values()), Counter())

    def tally(self, pattern: str) -> Tally:
        return self.walks.setdefault(pattern, Tally())
