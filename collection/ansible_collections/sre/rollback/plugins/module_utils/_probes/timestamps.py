# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a line of a log was written, in the formats that logs have.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

_BEGINNING = 80
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CLOCK = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?"
_ZONE = r"\s?(?P<zone>Z|[+-]\d\d:?\d\d)?"
_FORMATS = tuple(
    re.compile(text)
    for text in (
        # ISO 8601, Python's logging, PostgreSQL, nginx' error log
        rf"(?P<year>\d{{4}})[-/](?P<month>\d\d)[-/](?P<day>\d\d)[T ]{_CLOCK}{_ZONE}",
        # access logs of nginx and Apache
        rf"\[(?P<day>\d\d)/(?P<name>[A-Z][a-z][a-z])/(?P<year>\d{{4}}):{_CLOCK}{_ZONE}\]",
        # syslog, RFC 3164: local time without a year
        rf"^(?:<\d+>)?(?P<name>[A-Z][a-z][a-z]) +(?P<day>\d\d?) {_CLOCK}(?P<year>)(?P<zone>)",
    )
)


def stamp_of(line: str, *, now: float) -> float | None:
    """Seconds since the epoch, or None. Without a zone the local one is meant."""
    for pattern in _FORMATS:
        found = pattern.search(line, 0, _BEGINNING)
        if found:
            try:
                return _epoch(found.groupdict(), now)
            except ValueError:
                return None
    return None


def _epoch(parts: dict[str, str | None], now: float) -> float:
    name = parts.get("name")
    month = _MONTHS.index(name) + 1 if name else int(parts["month"] or 0)
    today = datetime.fromtimestamp(now, timezone.utc)
    moment = datetime(
        int(parts["year"] or today.year),
        month,
        int(parts["day"] or 0),
        int(parts["hour"] or 0),
        int(parts["minute"] or 0),
        min(int(parts["second"] or 0), 59),
        tzinfo=_zone(parts.get("zone")),
    )
    stamp = moment.timestamp() + float(f"0.{parts.get('fraction') or 0}")
    if not parts["year"] and stamp > now + 86400:
        # Written in December, read in January.
        return stamp - 365 * 86400
    return stamp


def _zone(text: str | None) -> timezone | None:
    if not text:
        return None
    if text == "Z":
        return timezone.utc
    hours, minutes = int(text[1:3]), int(text[-2:])
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)
