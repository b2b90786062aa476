"""The timeline in a terminal: bars for phases, outage and hosts, then what happened when."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import click

from rollback_playbook.record.folder import IncidentFolder
from rollback_playbook.report.clock import duration, t_plus
from rollback_playbook.report.drawing import Line, lines_of, span_of
from rollback_playbook.report.timeline import view_of
from rollback_playbook.report.view import Bar, IncidentView

_NAMES = 16
_TOOK = 13
_NARROWEST = 20
_WIDEST = 120
_TICK_EVERY = 12


def print_timeline(folder: IncidentFolder) -> None:
    """Raises RecordError when the record cannot be read."""
    view = view_of(folder)
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    for line in drawn(view, width):
        click.echo(line)
    for row in view.rows:
        took = f"  {duration(row.seconds)}" if row.seconds else ""
        text = f"{t_plus(row.offset):<8} {row.phase:<9} {row.what}{took}".rstrip()
        click.secho(text, fg=_TONES.get(row.tone))


_TONES = {"good": "green", "bad": "red", "warning": "yellow"}


def drawn(view: IncidentView, width: int) -> Iterator[str]:
    """The drawing in so many columns; nothing when nothing in it has a duration."""
    span = span_of(view)
    if span is None:
        return
    columns = max(width - _NAMES - _TOOK, _NARROWEST)
    scale = _Scale(*span, columns)
    yield " " * _NAMES + scale.ticks()
    for line in lines_of(view):
        yield _row(line, scale)
    if view.target is not None:
        yield from _target(view.target, scale)
    yield ""


@dataclass(frozen=True)
class _Scale:
    start: float
    end: float
    columns: int

    def column(self, seconds: float) -> int:
        share = (seconds - self.start) / (self.end - self.start)
        return min(max(int(share * self.columns), 0), self.columns - 1)

    def ticks(self) -> str:
        marks = range(0, self.columns - _TICK_EVERY // 2, _TICK_EVERY)
        seconds = (self.end - self.start) / self.columns
        texts = (t_plus(round(self.start + mark * seconds)) for mark in marks)
        return "".join(f"{text:<{_TICK_EVERY}}" for text in texts).rstrip()


def _row(line: Line, scale: _Scale) -> str:
    cells = [" "] * scale.columns
    for bar in line.bars:
        first, last = scale.column(bar.start), scale.column(bar.end)
        cells[first : last + 1] = [_mark(line, bar)] * (last + 1 - first)
    took = duration(sum(bar.end - bar.start for bar in line.bars))
    name = line.name if len(line.name) < _NAMES else line.name[: _NAMES - 2] + "…"
    return f"{name:<{_NAMES}}{''.join(cells)}{took:>{_TOOK}}".rstrip()


def _mark(line: Line, bar: Bar) -> str:
    if bar.status in ("failed", "unreachable"):
        return "✗"
    return {"phase": "█", "outage": "▓"}.get(line.kind, "▄")


def _target(seconds: float, scale: _Scale) -> Iterator[str]:
    text = f"target {duration(seconds)}"
    if not scale.start <= seconds <= scale.end:
        yield f"{text}: beyond the end of this drawing"
        return
    yield f"{text:<{_NAMES}}" + " " * scale.column(seconds) + "▲"
