"""The timeline as shapes: a row for each phase, the users' outage, then a row for each host."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rollback_playbook.report.clock import duration, t_plus
from rollback_playbook.report.view import Bar, IncidentView

WIDTH = 960
_LEFT = 150
_RIGHT = 20
_ROW = 24
_TOP = 34
_THINNEST = 2.0
#: What a label takes beside its bar.
_LABEL = 70.0
#: More hosts than this are drawn as one row.
_MOST_HOSTS = 24
_TICKS = 8
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


@dataclass(frozen=True, slots=True)
class Shape:
    """A rectangle with its explanation. ``kind`` is its class in the style sheet."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    label: str
    title: str


@dataclass(frozen=True, slots=True)
class Label:
    """A row's name, at its left."""

    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A line across the drawing at a time."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """What the template turns into SVG."""

    width: int
    height: float
    shapes: tuple[Shape, ...]
    labels: tuple[Label, ...]
    ticks: tuple[Tick, ...]
    #: The outage again, across all rows: what was done while users saw nothing.
    bands: tuple[Shape, ...]
    target_x: float | None


def drawing_of(view: IncidentView) -> Drawing | None:
    """The drawing of a view, or None when nothing in it has a duration."""
    scale = _Scale.of(view)
    if scale is None:
        return None
    rows = lines_of(view)
    shapes = [shape for index, row in enumerate(rows) for shape in _shapes(row, index, scale)]
    height = _TOP + len(rows) * _ROW + 14
    return Drawing(
        width=WIDTH,
        height=height,
        bands=tuple(_band(shape, height) for shape in shapes if shape.kind.startswith("outage")),
        shapes=tuple(shapes),
        labels=tuple(Label(_y(i) + _ROW * 0.62, row.name) for i, row in enumerate(rows)),
        ticks=tuple(scale.ticks()),
        target_x=scale.target_x(view),
    )


@dataclass(frozen=True, slots=True)
class Line:
    """A row before it has a place: a phase, the users' outage, or a host."""

    name: str
    kind: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class _Scale:
    start: float
    end: float

    @classmethod
    def of(cls, view: IncidentView) -> _Scale | None:
        span = span_of(view)
        return None if span is None else cls(*span)

    def x(self, seconds: float) -> float:
        share = (seconds - self.start) / (self.end - self.start)
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def ticks(self) -> list[Tick]:
        length = self.end - self.start
        step = next((each for each in _STEPS if length / each <= _TICKS), length / _TICKS)
        first = int(self.start // step)
        times = (n * step for n in range(first, first + _TICKS + 3))
        return [Tick(self.x(at), t_plus(at)) for at in times if self.start <= at <= self.end]

    def target_x(self, view: IncidentView) -> float | None:
        if view.target is None or not self.start <= view.target <= self.end:
            return None
        return self.x(view.target)


def span_of(view: IncidentView) -> tuple[float, float] | None:
    """From the first to the last moment that is drawn; None when nothing has a duration."""
    bars = [*view.bars, *(bar for bars in view.hosts.values() for bar in bars)]
    windows = view.windows
    starts = [bar.start for bar in bars] + [w.start for w in windows if w.start is not None]
    ends = [bar.end for bar in bars] + [w.end for w in windows if w.end is not None]
    if not ends:
        return None
    if view.summary.get("closed") and view.seconds is not None:
        ends.append(view.seconds)
    start, end = min(0.0, *starts), max(ends)
    return start, end if end > start else start + 1.0


def lines_of(view: IncidentView) -> list[Line]:
    """Phases in their order, the users' outage, hosts; many hosts become one row."""
    names = dict.fromkeys(bar.name for bar in view.bars)
    rows = [
        Line(name, "phase", tuple(bar for bar in view.bars if bar.name == name)) for name in names
    ]
    if view.windows:
        bars = [
            Bar("no service", window.start or 0.0, window.end or (window.start or 0.0), "outage")
            for window in view.windows
        ]
        rows.append(Line("Users' outage", "outage", tuple(bars)))
    if len(view.hosts) <= _MOST_HOSTS:
        return [*rows, *(Line(host, "host", tuple(bars)) for host, bars in view.hosts.items())]
    together = tuple(bar for bars in view.hosts.values() for bar in bars if bar.status != "ok")
    return [*rows, Line(f"{len(view.hosts)} hosts", "host", together)]


def _shapes(row: Line, index: int, scale: _Scale) -> list[Shape]:
    """A bar is labelled where the label has room before the next one."""
    following = [*(scale.x(bar.start) for bar in row.bars[1:]), WIDTH]
    return [
        _shape(bar, row, index, scale, room=until - scale.x(bar.end))
        for bar, until in zip(row.bars, following, strict=False)
    ]


def _shape(bar: Bar, row: Line, index: int, scale: _Scale, *, room: float) -> Shape:
    x = scale.x(bar.start)
    width = max(round(scale.x(bar.end) - x, 1), _THINNEST)
    lasted = duration(bar.end - bar.start)
    where = f" on {row.name}" if row.kind == "host" else ""
    return Shape(
        x=x,
        y=_y(index) + 4,
        width=width,
        height=_ROW - 8,
        kind=f"{row.kind} {bar.status.replace(' ', '-')}",
        label=lasted if row.kind != "host" and room > _LABEL else "",
        title=f"{bar.name}{where}: {bar.status}, {t_plus(bar.start)}, {lasted}",
    )


def _band(outage: Shape, height: float) -> Shape:
    return replace(outage, y=_TOP - 8, height=height - _TOP + 8, kind="band", label="")


def _y(index: int) -> float:
    return _TOP + index * _ROW
