"""``30d`` and ``2026-11-01`` as options of the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_AGE = re.compile(r"(?P<count>\d{1,5})(?P<unit>[mhdw])", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def age(text: str) -> timedelta:
    """A number of minutes, hours, days or weeks: ``90m``, ``12h``, ``30d``, ``8w``."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is no age; write 90m, 12h, 30d or 8w")
    return timedelta(**{_UNITS[match["unit"]]: int(match["count"])})


def since(text: str) -> datetime:
    """An age before now, or a date with or without a time; without a zone it is UTC."""
    if _AGE.fullmatch(text):
        return datetime.now(UTC) - age(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither an age (12h, 30d) nor a date (2026-11-01)"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
