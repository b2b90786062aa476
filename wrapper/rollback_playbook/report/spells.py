"""Outages as a person tells them: a service that flickers is one bad spell, not a hundred."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rollback_playbook.report.view import Window

_MOST = 10


@dataclass(frozen=True, slots=True)
class Spell:
    """Windows without service that lie close together; times are seconds since the declaration."""

    start: float
    end: float
    #: Seconds without service in it, and in how many windows.
    seconds: float
    times: int
    #: The moment it began, as it stands in the record.
    started: str

    @property
    def text(self) -> str:
        """What users saw."""
        if self.times == 1:
            return "users see no service"
        return f"users see no service {self.times} times within {self.end - self.start:.0f} s"


def spells_of(windows: Sequence[Window], most: int = _MOST) -> list[Spell]:
    """The windows whose times are known, in their order, the closest ones together.

    No more than ``most``: then the widest gaps between windows part one spell from the next.
    """
    timed = sorted(
        (each for each in windows if each.start is not None and each.end is not None),
        key=lambda each: each.start or 0.0,
    )
    gaps = [(later.start or 0.0) - (earlier.end or 0.0) for earlier, later in pairwise(timed)]
    parting = sorted(gaps, reverse=True)[: most - 1][-1] if len(gaps) >= most else 0.0
    groups: list[list[Window]] = []
    for gap, window in zip([None, *gaps][: len(timed)], timed, strict=True):
        if gap is None or (gap >= parting and len(groups) < most):
            groups.append([])
        groups[-1].append(window)
    return [_spell(group) for group in groups]


def _spell(group: Sequence[Window]) -> Spell:
    return Spell(
        start=group[0].start or 0.0,
        end=group[-1].end or 0.0,
        seconds=sum(each.seconds for each in group),
        times=len(group),
        started=group[0].started,
    )
