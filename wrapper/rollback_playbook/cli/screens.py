"""The three faces of a run: live on a terminal, a line an event elsewhere, JSON for programs."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO

from rollback_playbook.cli.run_view import PhaseView, RunView
from rollback_playbook.events.model import RecordEvent
from rollback_playbook.report.clock import duration, t_plus

_HOSTS_SHOWN = 10
_NOTES_SHOWN = 4


class Screen(Protocol):
    """Shows the events of a record as they are written."""

    def show(self, event: RecordEvent) -> None:
        """One event of the record, just written."""

    def say(self, text: str) -> None:
        """One line that is no event."""

    def __enter__(self) -> Screen: ...

    def __exit__(self, *exc: object) -> None: ...


def choose_screen(view: RunView, *, title: str, as_json: bool) -> Screen:
    """JSON when asked for, live when a person looks at a terminal, plain lines otherwise."""
    if as_json:
        return JsonScreen(sys.stdout)
    if sys.stderr.isatty():
        return LiveScreen(view, title)
    return PlainScreen(view, title, sys.stderr)


class JsonScreen:
    """The record's events on standard output, one JSON object a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, event: RecordEvent) -> None:
        import json

        self._stream.write(json.dumps(event.to_dict(), ensure_ascii=False) + "\n")
        self._stream.flush()

    def say(self, text: str) -> None:
        sys.stderr.write(text + "\n")

    def __enter__(self) -> JsonScreen:
        return self

    def __exit__(self, *exc: object) -> None:
        return None


class PlainScreen:
    """One line for what a reader of a log wants to find: phases, changes, gates, failures."""

    def __init__(self, view: RunView, title: str, stream: TextIO) -> None:
        self._view = view
        self._title = title
        self._stream = stream

    def show(self, event: RecordEvent) -> None:
        seen = len(self._view.notes)
        self._view.observe(event)
        at = t_plus(self._view.elapsed(datetime.fromisoformat(event.time)))
        for text in [_plain_line(event, self._view), *self._view.notes[seen:]]:
            if text:
                self.say(f"{at}  {text}")

    def say(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()

    def __enter__(self) -> PlainScreen:
        if self._title:
            self.say(self._title)
            self._title = ""
        return self

    def __exit__(self, *exc: object) -> None:
        return None


def _plain_line(event: RecordEvent, view: RunView) -> str:
    data = event.data
    if event.type == "phase.started":
        return str(data["name"])
    if event.type == "task.finished" and data.get("status") in _SHOWN:
        took = f" ({duration(float(data['seconds']))})" if data.get("seconds") else ""
        return f"  {data['status']}  {event.subject}: {data.get('task', '')}{took}"
    if event.type in ("gate.passed", "gate.failed"):
        return f"  gate {view.gates[-1]}"
    return ""


_SHOWN = frozenset({"changed", "failed", "unreachable"})


class LiveScreen:
    """Phases with their times, T+ against the target, what each host does, the last notes."""

    def __init__(self, view: RunView, title: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._view = view
        self._title = title
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=8,
            transient=False,
        )

    def show(self, event: RecordEvent) -> None:
        self._view.observe(event)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    def __enter__(self) -> LiveScreen:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def _render(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        return Group(
            self._heading(),
            *(_phase_line(phase, self._now()) for phase in self._view.phases),
            *(Text(f"  {line}", style="dim", overflow="ellipsis", no_wrap=True)
              for line in self._activity()),
            *(Text(f"! {note}", style="yellow") for note in self._view.notes[-_NOTES_SHOWN:]),
        )  # fmt: skip

    def _now(self) -> float:
        return self._view.elapsed(datetime.now(UTC))

    def _heading(self) -> Any:
        from rich.text import Text

        late = self._now() > self._view.target_seconds
        line = Text(self._title, style="bold")
        line.append(f"   {t_plus(self._now())}", style="bold red" if late else "bold green")
        line.append(f" of {duration(self._view.target_seconds)}", style="dim")
        return line

    def _activity(self) -> list[str]:
        if self._view.running is None:
            return []
        tasks = list(self._view.tasks.items())
        shown = [f"{host}: {task}" if host else task for host, task in tasks[:_HOSTS_SHOWN]]
        folded = len(tasks) - _HOSTS_SHOWN
        return [*shown, *([f"and {folded} more hosts"] if folded > 0 else [])]


_STYLES = {"waiting": "dim", "running": "bold cyan", "done": "green", "failed": "bold red"}


def _phase_line(phase: PhaseView, now: float) -> Any:
    from rich.text import Text

    line = Text(f"{phase.mark} {phase.name:<9}", style=_STYLES.get(phase.state, ""))
    if phase.started is not None:
        seconds = phase.seconds if phase.seconds is not None else now - phase.started
        line.append(f" {t_plus(phase.started)}  {duration(seconds):>9}", style="dim")
    if phase.changed:
        line.append(f"  {phase.changed} changed", style="yellow")
    return line
