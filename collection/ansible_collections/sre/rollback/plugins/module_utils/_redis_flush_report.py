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

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._redis_glob import GlobSet
from ansible_collections.sre.rollback.plugins.module_utils._redis_sweep import Selection, Tally

SPARED = {
    "breakers": ("*pybreaker:*", "*:rollback:hold", "rollback:hold"),
    "locks": ("rollback:lock:*", "lock:*", "*:lock:*", "*:lock"),
    "sessions": (
        "session:*",
        "sessions:*",
        "sess:*",
        "*:session:*",
        "*:sessions:*",
        "PHPREDIS_SESSION:*",
        "*django.contrib.sessions*",
    ),
}

# What a restore point's header repeats of the flush, so that restoring can be undone.
REPEATED = ("mode", "patterns", "exclude", "spare", "protect", "db")


class FlushError(RollbackError):
    """A flush that was not begun."""


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


def read_order(params: t.Mapping[str, t.Any]) -> Order:
    """What to flush. Raises FlushError when the options contradict each other."""
    patterns = tuple(dict.fromkeys(params["patterns"]))
    if (params["mode"] == "pattern") != bool(patterns):
        raise FlushError(
            "mode=pattern needs patterns, and the other modes take none. Nothing was changed."
        )
    if any(not each for each in (*patterns, *params["exclude"], *params["protect"])):
        raise FlushError("A pattern is empty. Nothing was changed. Write '*' for every key.")
    if params["max_stall_ms"] < 1 or params["restore_point_max_bytes"] < 1 or params["db"] < 0:
        raise FlushError(
            "max_stall_ms and restore_point_max_bytes must be above 0, and db not negative. "
            "Nothing was changed."
        )
    well_known = [pattern for rule in params["spare"] for pattern in SPARED[rule]]
    return Order(
        patterns=patterns,
        exclude=tuple(params["exclude"]),
        protect=tuple(dict.fromkeys([*well_known, *params["protect"]])),
        asynchronous=params["asynchronous"],
        max_stall=params["max_stall_ms"] / 1000,
    )


def undo_of(path: str) -> dict[str, t.Any]:
    return {
        "module": "sre.rollback.redis_flush",
        "args": {"state": "restored", "restore_point": path},
    }


def flush_result(
    report: Report, path: str | None, *, point: dict[str, t.Any] | None
) -> dict[str, t.Any]:
    changed = report.removed > 0
    return {
        "changed": changed,
        "before": {
            "keys": report.keys_before,
            "by_pattern": {name: tally.matched for name, tally in report.walks.items()},
        },
        "after": {
            "keys": report.keys_after,
            "by_pattern": {
                name: tally.staying + report.left[name] for name, tally in report.walks.items()
            },
        },
        "counts": [
            {
                "pattern": name,
                "matched": tally.matched,
                "removed": tally.removed,
                "spared": sum(tally.spared.values()),
                "excluded": tally.excluded,
                "written_meanwhile": report.left[name],
            }
            for name, tally in report.walks.items()
        ],
        "spared": dict(report.spared),
        "written_meanwhile": sum(report.left.values()),
        "why": list(report.reasons),
        "longest_batch_ms": round(report.longest_batch * 1000, 3),
        "restore_point": point,
        "undo": undo_of(path) if changed and path else None,
    }
