"""Drills as tables: the log with its trend, and the scorecard against the target times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from rollback_playbook.record.drill_log import Drill, trend
from rollback_playbook.report.clock import duration

#: A trend below this is noise.
_NOTICED = 0.1
#: Of ``2026-11-22T03:00:00Z``.
_MINUTE = len("2026-11-22T03:00")


def print_history(drills: Sequence[Drill]) -> None:
    """One line a drill; beside it, how it compares with those before."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not drills:
        click.echo("no drill so far; rollback-playbook drill full", err=True)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("when (UTC)", "scenario", "on"):
        table.add_column(heading, no_wrap=True)
    for heading in ("release", "took", "of", "outage", "slowest", "", "trend"):
        table.add_column(heading)
    for number, drill in enumerate(drills):
        cells = (
            drill.time[:_MINUTE].replace("T", " "),
            drill.scenario,
            drill.environment,
            _releases(drill),
            duration(drill.seconds),
            duration(drill.target_seconds),
            duration(drill.outage_seconds),
            _slowest(drill),
            _mark(drill.exit_code, drill),
            "broken off" if drill.broken_off else _trend(drills[: number + 1]),
        )
        # Names may have brackets, which are no markup.
        table.add_row(*map(Text, cells))
    Console().print(table)


def print_scorecard(rows: Iterable[tuple[str, int, str, Drill | None]]) -> None:
    """Every scenario of a round: whether it ended well, and its time against the target."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, title="scorecard", title_justify="left")
    for heading in ("", "scenario", "took", "target", "outage", "result"):
        table.add_column(heading, overflow="fold")
    for name, code, why, drill in rows:
        table.add_row(
            _mark(code, drill),
            name,
            duration(drill.seconds) if drill else "",
            duration(drill.target_seconds) if drill else "",
            duration(drill.outage_seconds) if drill else "",
            Text(why or _result(code, drill)),
        )
    Console().print(table)


def _result(code: int, drill: Drill | None) -> str:
    if code != 0:
        return f"exit code {code}"
    return "healthy, too slow" if drill and drill.in_time is False else "healthy, in time"


def _mark(code: int, drill: Drill | None) -> str:
    if code != 0:
        return "✗"
    return "~" if drill and drill.in_time is False else "✓"


def _releases(drill: Drill) -> str:
    if not drill.release_to:
        return ""
    same = drill.release_from == drill.release_to
    return drill.release_to if same else f"{drill.release_from} → {drill.release_to}"


def _slowest(drill: Drill) -> str:
    if not drill.phases:
        return ""
    name, seconds = max(drill.phases.items(), key=lambda each: each[1])
    return f"{name} {duration(seconds)}"


def _trend(drills: Sequence[Drill]) -> str:
    change = trend(drills)
    if change is None:
        return ""
    if abs(change) < _NOTICED:
        return "as before"
    return f"{abs(change):.0%} {'slower' if change > 0 else 'faster'}"
