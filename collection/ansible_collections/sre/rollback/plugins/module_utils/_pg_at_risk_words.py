# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What restoring a backup would lose, in the words of whoever has to approve it.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._pg_at_risk import (
    BY_KEY,
    BY_ROWS,
    UNKNOWN,
    Risk,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_states import (
    comparison_result,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_words import (
    Compared,
    joined,
    loss_summary,
)

# More tables than this are counted together: the sentence has to be read at a glance.
_TABLES_NAMED = 3

_EXACT = "every row was compared with the staged database of this backup"
_ESTIMATED = (
    "an estimate, because {why}: new rows are counted by their numbers and missing ones by how "
    "many rows there are; changed rows are counted when the backup has been restored aside, before "
    "anything is switched"
)


def exact_result(compared: t.Sequence[Compared], since: str) -> dict[str, t.Any]:
    """Of a comparison of every row."""
    found = comparison_result(compared)
    keys = ("table", "key", "added", "changed", "removed")
    return {
        "summary": loss_summary(compared, since).replace("restoring", "restoring this backup", 1),
        "basis": _EXACT,
        "exact": True,
        "total": found["total"],
        "tables": [
            {**{key: each[key] for key in keys}, "known": "exact", "problem": ""}
            for each in found["tables"]
        ],
        "tables_compared": found["tables_compared"],
    }


def counted_result(risks: t.Sequence[Risk], since: str, why: str) -> dict[str, t.Any]:
    """Of counting without a restored copy; ``why`` not every row was compared with one."""
    return {
        "summary": risk_summary(risks, since),
        "basis": _ESTIMATED.format(why=why),
        "exact": False,
        "total": {change: _total(risks, change) for change in ("added", "changed", "removed")},
        "tables": [_entry(each) for each in risks if each.differs],
        "tables_compared": len(risks),
    }


def _entry(risk: Risk) -> dict[str, t.Any]:
    return {
        "table": risk.label if risk.name[0] else risk.name[1],
        "key": list(risk.key) or None,
        "known": risk.known,
        "added": risk.added,
        "changed": risk.changed,
        "removed": risk.removed,
        "problem": risk.problem,
    }


def risk_summary(risks: t.Sequence[Risk], since: str) -> str:
    """One sentence; figures that are not known are named and never left out."""
    parts = []
    added = _rows_words([(one, one.added) for one in risks if _told_apart(one)])
    removed = _rows_words([(one, one.removed) for one in risks if _told_apart(one)])
    if added:
        parts.append(f"loses {added} written {since}")
    if removed:
        parts.append(f"brings back {removed} deleted")
    others = [_by_rows(one) for one in risks if not _told_apart(one) and one.known == BY_ROWS]
    unknown = [one for one in risks if one.known == UNKNOWN]
    sentences = [f"restoring this backup {joined(parts)}"] if parts else []
    sentences += [each for each in others if each]
    if unknown:
        sentences.append(f"not known of {_named(unknown)}")
    uncounted = [one for one in risks if _told_apart(one) and one.problem]
    if uncounted:
        sentences.append(f"how many rows were deleted is not known of {_named(uncounted)}")
    if sentences:
        return "; ".join(sentences)
    return f"restoring this backup loses no new row: none was written {since}"


def _total(risks: t.Sequence[Risk], change: str) -> int | None:
    """The sum over all tables; None when it is not known of one."""
    figures = [getattr(one, change) for one in risks]
    return None if None in figures else sum(figures)


def _told_apart(risk: Risk) -> bool:
    """Whether the figures are of rows with a number each."""
    return risk.known == BY_KEY


def _by_rows(risk: Risk) -> str:
    """A table whose rows could not be told apart: only how many there are was compared."""
    why = "" if risk.key else ", and has no key to tell its rows apart"
    if not risk.name[0]:
        return f"table {risk.name[1]}, which is gone, comes back with {_rows(risk.removed)}"
    if risk.added:
        return f"{_table(risk)} has {_rows(risk.added)} more than the backup{why}"
    if risk.removed:
        return f"{_table(risk)} has {_rows(risk.removed)} less than the backup{why}"
    return ""


def _named(risks: t.Sequence[Risk]) -> str:
    """``orders (somebody holds it locked) and 2 more tables``."""
    named = joined([f"{_table(one)} ({one.problem})" for one in risks[:_TABLES_NAMED]])
    more = len(risks) - _TABLES_NAMED
    return named + (f" and {more} more tables" if more > 0 else "")


def _rows_words(rows: t.Sequence[tuple[Risk, int | None]]) -> str:
    """``1,284 orders, 40 customers and 7 rows of 2 more tables``; empty when there are none."""
    counted = sorted(
        ((one, count) for one, count in rows if count), key=lambda each: (-each[1], each[0].name)
    )
    named = [_noun(one, count) for one, count in counted[:_TABLES_NAMED]]
    rest = counted[_TABLES_NAMED:]
    if rest:
        total = sum(count for _one, count in rest)
        tables = "1 more table" if len(rest) == 1 else f"{len(rest)} more tables"
        named.append(f"{_rows(total)} of {tables}")
    return joined(named)


def _noun(risk: Risk, count: int) -> str:
    return f"1 row of {_table(risk)}" if count == 1 else f"{count:,} {_table(risk)}"


def _rows(count: int | None) -> str:
    return "1 row" if count == 1 else f"{count or 0:,} rows"


def _table(risk: Risk) -> str:
    return risk.name[1] if risk.name[0] == "public" else risk.label
