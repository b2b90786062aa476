# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a comparison means, in one sentence for whoever has to decide.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import datetime as dt
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_compare import Counts
    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_pairs import Pair

# More tables than this are counted together: the sentence has to be read at a glance.
_TABLES_NAMED = 3


class BadMomentError(RollbackError):
    """A time that cannot be read."""


@dataclass(frozen=True)
class Compared:
    """A pair of tables and what the comparison counted."""

    pair: Pair
    counts: Counts

    def result(self) -> dict[str, t.Any]:
        """The table's entry in the module's result."""
        pair = self.pair
        return {
            "table": pair.label,
            "key": list(pair.key.columns) if pair.key else None,
            "added": self.counts.added,
            "changed": self.counts.changed,
            "removed": self.counts.removed,
            "in_database": pair.database is not None,
            "in_reference": pair.reference is not None,
            "columns": pair.column_differences(),
        }


def parse_moment(text: str, *, option: str = "since") -> dt.datetime:
    """An ISO 8601 time; without an offset it is UTC. Raises BadMomentError."""
    try:
        moment = dt.datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise BadMomentError(
            f"{option}={text!r} is no ISO 8601 time, for example 2026-03-04T02:00:00Z. "
            "Nothing was changed."
        ) from None
    if moment.tzinfo is None:
        return moment.replace(tzinfo=dt.timezone.utc)
    return moment.astimezone(dt.timezone.utc)


def since_words(moment: dt.datetime | None, *, now: dt.datetime) -> str:
    """``since 02:00 UTC`` on the same day, with the date on another."""
    if moment is None:
        return "since the backup"
    clock = moment.strftime("%H:%M UTC")
    return f"since {clock if moment.date() == now.date() else f'{moment.date()} {clock}'}"


def loss_summary(compared: t.Sequence[Compared], since: str) -> str:
    """What restoring the reference in place of the database would do to rows users wrote."""
    keyed = [each for each in compared if _row_by_row(each)]
    added = rows_words([(each.pair, each.counts.added) for each in keyed])
    changed = rows_words([(each.pair, each.counts.changed) for each in keyed])
    removed = rows_words([(each.pair, each.counts.removed) for each in keyed])
    parts = []
    if added:
        parts.append(f"loses {added} written {since}")
    if changed:
        parts.append(f"takes back changes to {changed}" + ("" if added else f" {since}"))
    if removed:
        parts.append(f"brings back {removed} deleted" + ("" if parts else f" {since}"))
    keyless = [each for each in compared if not _row_by_row(each) and each.counts.total]
    if not parts and not keyless:
        return f"restoring loses nothing: no row was written {since}"
    sentences = [f"restoring {joined(parts)}"] if parts else []
    return "; ".join(sentences + [_keyless_words(each) for each in keyless])


def rows_words(rows: t.Sequence[tuple[Pair, int]]) -> str:
    """``1,284 orders, 40 customers and 7 rows of 2 more tables``; empty when there are none."""
    counted = sorted((each for each in rows if each[1]), key=lambda each: (-each[1], each[0].name))
    named = [_noun(pair, count) for pair, count in counted[:_TABLES_NAMED]]
    rest = counted[_TABLES_NAMED:]
    if rest:
        total = sum(count for _pair, count in rest)
        tables = "1 more table" if len(rest) == 1 else f"{len(rest)} more tables"
        named.append(f"{_rows(total)} of {tables}")
    return joined(named)


def joined(parts: t.Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(([", ".join(parts[:-1])] if parts[:-1] else []) + list(parts[-1:]))


def _row_by_row(each: Compared) -> bool:
    """Whether nothing had to be guessed: a key, or one side only."""
    pair = each.pair
    return pair.key is not None or pair.database is None or pair.reference is None


def _keyless_words(each: Compared) -> str:
    return (
        f"{_table(each.pair)} has no key: {_rows(each.counts.added)} that would be lost and "
        f"{_rows(each.counts.removed)} that would come back cannot be matched to each other"
    )


def _noun(pair: Pair, count: int) -> str:
    return f"1 row of {_table(pair)}" if count == 1 else f"{count:,} {_table(pair)}"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _table(pair: Pair) -> str:
    return pair.name[1] if pair.name[0] == "public" else pair.label
