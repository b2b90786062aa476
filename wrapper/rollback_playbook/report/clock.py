"""Times as a person reads them."""

from __future__ import annotations

from datetime import datetime


def t_plus(seconds: float | None) -> str:
    """``T+1:05``: minutes and seconds since the declaration; hours from the first one on."""
    if seconds is None:
        return ""
    sign = "-" if seconds < 0 else "+"
    whole = int(abs(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"T{sign}{clock}"


def duration(seconds: float | None) -> str:
    """``0.42 s``, ``12.3 s``, ``3 min 05 s``, ``2 h 07 min``; empty for what is not known."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def moment(time: str) -> str:
    """``2026-11-22 03:12:45 UTC``; what is no time is shown as it is."""
    try:
        return datetime.fromisoformat(time).strftime("%Y-%m-%d %H:%M:%S UTC")
    except ValueError:
        return time


def clock_time(time: str) -> str:
    """``03:12:45`` (UTC)."""
    try:
        return datetime.fromisoformat(time).strftime("%H:%M:%S")
    except ValueError:
        return time
