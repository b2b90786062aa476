"""The live screen: phases and their times, T+ against target and prediction, hosts, gates, notes.

It is drawn anew eight times a second from a ``RunView``, in whatever size the terminal has then.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TextIO

from rollback_playbook.cli.run_view import GateView, HostView, Note, PhaseView, RunView
from rollback_playbook.events.model import RecordEvent
from rollback_playbook.report.clock import duration, t_plus

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

_REFRESH_SECONDS = 0.125
_HOSTS_SHOWN = 10
_GATES_SHOWN = 2
_NOTE_LINES = 3
#: Below this many lines for hosts, gates and notes, finished phases share one line.
_ROOM_BELOW = 9
_PROGRESS_WIDTH = 10


class LiveScreen:
    """Draws from a thread of its own; nothing that goes wrong with the terminal reaches the run."""

    def __init__(self, view: RunView, title: str, stream: TextIO) -> None:
        from rich.console import Console

        self._view = view
        self._title = title
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._console = Console(file=stream, highlight=False)
        self._live: Live | None = None
        self._width = 0

    def show(self, event: RecordEvent) -> None:
        with self._lock:
            self._view.observe(event)

    def say(self, text: str) -> None:
        with self._lock, suppress(OSError):
            self._console.print(text, markup=False)

    def __enter__(self) -> LiveScreen:
        self._stopped.clear()
        with suppress(OSError):
            self._begin()
        self._thread = threading.Thread(target=self._draw, name="screen", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        with suppress(OSError):
            self._end()

    def _begin(self) -> None:
        """A new drawing below what stands there: the same one would go on where it ended."""
        from rich.live import Live

        self._width = self._console.width
        self._live = Live(get_renderable=self._render, console=self._console, auto_refresh=False)
        self._live.start(refresh=True)

    def _end(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _draw(self) -> None:
        while not self._stopped.wait(_REFRESH_SECONDS):
            with self._lock, suppress(OSError):
                self._refresh()

    def _refresh(self) -> None:
        """A narrower terminal has broken the lines that stand there: then it begins anew."""
        if self._console.width == self._width and self._live is not None:
            self._live.refresh()
            return
        self._end()
        self._console.clear()
        self._begin()

    def _render(self) -> Any:
        from rich.console import Group

        with self._lock:
            size = self._console.size
            now = self._view.elapsed(datetime.now(UTC))
            return Group(*screen_lines(self._view, self._title, now, size.width, size.height))


def screen_lines(view: RunView, title: str, now: float, width: int, height: int) -> Sequence[Text]:
    """The screen in at most ``height - 1`` lines, so that the cursor has one of its own."""
    from rich.text import Text

    room = height - 1
    head = [Text(title, style="bold"), _clock(view, now)]
    phases = list(_phases(view, now, folded=room - len(head) - len(view.phases) < _ROOM_BELOW))
    room -= len(head) + len(phases)
    known = [*view.gates, *([view.sampled] if view.sampled else [])]
    gates = [_gate(gate) for gate in known[-_GATES_SHOWN:]]
    notes = list(_notes(view.notes, width, min(max(room // 2, 2), room - len(gates))))
    hosts = list(_hosts(view, now, room - len(gates) - len(notes)))
    parts = [part for part in ([*head, *phases], hosts, [*gates, *notes]) if part]
    apart = sum(map(len, parts)) + len(parts) < height
    lines = [line for part in parts for line in (*part, *([Text()] if apart else []))]
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return lines[: max(height - 1, 1)]


def _clock(view: RunView, now: float) -> Text:
    from rich.text import Text

    late = now > view.target_seconds
    line = Text(t_plus(now), style="bold red" if late else "bold green")
    line.append(f" of {duration(view.target_seconds)}", style="dim")
    if late:
        line.append(f", {duration(now - view.target_seconds)} late", style="red")
    end = view.expected_end(now)
    if end is not None:
        line.append(f"   expected to end at {t_plus(end)}", style="dim")
    return line


_STYLES = {"waiting": "dim", "running": "bold cyan", "done": "green", "failed": "bold red"}


def _phases(view: RunView, now: float, *, folded: bool) -> Iterator[Text]:
    from rich.text import Text

    done = [phase for phase in view.phases if phase.state == "done"] if folded else []
    waiting = [phase for phase in view.phases if phase.state == "waiting"] if folded else []
    if done:
        yield Text(f"✓ {', '.join(phase.name for phase in done)}", style=_STYLES["done"])
    yield from (_phase(each, now) for each in view.phases if each not in [*done, *waiting])
    if waiting:
        yield Text(f"· {', '.join(phase.name for phase in waiting)}", style=_STYLES["waiting"])


def _phase(phase: PhaseView, now: float) -> Text:
    from rich.text import Text

    line = Text(f"{phase.mark} {phase.name:<9}", style=_STYLES.get(phase.state, ""))
    if phase.started is not None:
        seconds = phase.seconds if phase.seconds is not None else now - phase.started
        line.append(f" {t_plus(phase.started):<8} {duration(seconds):>10}", style="dim")
    if phase.predicted is not None:
        column = "" if phase.started is not None else " " * 20
        line.append(f"{column}  (about {duration(phase.predicted)})", style="dim")
    if phase.changed:
        line.append(f"  {phase.changed} changed", style="yellow")
    return line


def _hosts(view: RunView, now: float, room: int) -> Iterator[Text]:
    """Those that work or failed come first when not all have room; the others are counted."""
    from rich.text import Text

    if view.running is None or room <= 0:
        return
    shown = list(view.hosts.items())
    room = min(room, _HOSTS_SHOWN + 1)
    if len(shown) > min(room, _HOSTS_SHOWN):
        shown = sorted(shown, key=lambda pair: _URGENT.index(pair[1].state))[: room - 1]
    widest = max((len(name) for name, _ in shown), default=0)
    for name, host in shown:
        yield _host(name, host, now, min(widest, 24))
    rest = len(view.hosts) - len(shown)
    if rest:
        yield Text(f"  and {rest} more hosts: {_counted(view.hosts, dict(shown))}", style="dim")


_URGENT = ("failed", "running", "done")
_HOST_MARKS = {"running": "▸", "done": "✓", "failed": "✗"}


def _counted(hosts: dict[str, HostView], shown: dict[str, HostView]) -> str:
    states = [host.state for name, host in hosts.items() if name not in shown]
    words = {"failed": "failed", "running": "at work", "done": "done"}
    return ", ".join(f"{states.count(each)} {words[each]}" for each in _URGENT if each in states)


def _host(name: str, host: HostView, now: float, widest: int) -> Text:
    from rich.text import Text

    style = {"failed": "red", "done": "dim"}.get(host.state, "")
    line = Text(f"  {_HOST_MARKS[host.state]} {name:<{widest}}  ", style=style)
    if host.state == "running" and host.percent is not None:
        line.append(f"{_bar(host.percent)}", style="cyan")
        line.append(f"{_amount(host)}  ", style="dim")
    line.append(host.task)
    if host.state == "running" and now - host.since >= 1:
        line.append(f"  {duration(now - host.since)}", style="dim")
    return line


def _bar(percent: float) -> str:
    """Before the task's name: of a line that is cut it is what the operator waits for."""
    share = min(max(percent, 0.0), 100.0) / 100
    full = int(share * _PROGRESS_WIDTH)
    return f"{'█' * full}{'░' * (_PROGRESS_WIDTH - full)} {share:4.0%}"


def _amount(host: HostView) -> str:
    from rich.filesize import decimal

    parts = []
    if host.bytes_done is not None and host.bytes_total is not None:
        parts.append(f"{decimal(host.bytes_done)} of {decimal(host.bytes_total)}")
    if host.remaining is not None:
        parts.append(f"{duration(host.remaining)} left")
    return f"  {', '.join(parts)}" if parts else ""


def _gate(gate: GateView) -> Text:
    from rich.text import Text

    if not gate.decided:
        return Text(f"▸ {gate}", style="cyan")
    return Text(f"{'✓' if gate.passed else '✗'} {gate}", style="green" if gate.passed else "red")


_NOTE_STYLES = {"bad": "bold red", "warning": "yellow"}


def _notes(notes: Sequence[Note], width: int, room: int) -> Iterator[Text]:
    """The last ones that have room, oldest first; each says its beginning rather than nothing."""
    from rich.text import Text

    lines: list[Text] = []
    for text, tone in reversed(_together(notes)):
        wrapped = wrap(text, max(width - 2, 10), max_lines=_NOTE_LINES, placeholder=" …")
        if len(lines) + len(wrapped) > room:
            break
        mark = "! " if tone != "fact" else "  "
        marks = [mark, *["  "] * (len(wrapped) - 1)]
        style = _NOTE_STYLES.get(tone, "")
        lines[:0] = [
            Text(f"{mark}{part}", style=style) for mark, part in zip(marks, wrapped, strict=True)
        ]
    yield from lines


def _together(notes: Sequence[Note]) -> list[tuple[str, str]]:
    """What several hosts say is one sentence."""
    subjects: dict[tuple[str, str], list[str]] = {}
    for note in notes:
        subjects.setdefault((note.text, note.tone), []).append(note.subject)
    return [(f"{_named(names)}{text}", tone) for (text, tone), names in subjects.items()]


def _named(subjects: Sequence[str]) -> str:
    names = [each for each in subjects if each]
    if not names:
        return ""
    if len(names) <= 3:
        return f"{', '.join(names)}: "
    return f"{', '.join(names[:2])} and {len(names) - 2} more hosts: "
