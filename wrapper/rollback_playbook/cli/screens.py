"""The faces of a run: live on a terminal, a line an event elsewhere, JSON for programs.

A screen that is gone (a closed terminal, a pipe nobody reads) never stops a rollback.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol, TextIO

from rollback_playbook.cli.run_view import Note, RunView
from rollback_playbook.events.model import RecordEvent
from rollback_playbook.report.clock import duration, t_plus


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
    if sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        from rollback_playbook.cli.live_screen import LiveScreen

        return LiveScreen(view, title, sys.stderr)
    return PlainScreen(view, title, sys.stderr)


class Lines:
    """A stream for lines; what nobody reads any more is let go of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def put(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._let_go()

    def _let_go(self) -> None:
        """Else Python flushes it once more at the end, fails, and spoils the exit code."""
        with suppress(OSError, ValueError):
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, self._stream.fileno())
            os.close(devnull)


class JsonScreen:
    """The record's events on standard output, one JSON object a line."""

    def __init__(self, stream: TextIO) -> None:
        self._events = Lines(stream)
        self._words = Lines(sys.stderr)

    def show(self, event: RecordEvent) -> None:
        self._events.put(json.dumps(event.to_dict(), ensure_ascii=False))

    def say(self, text: str) -> None:
        self._words.put(text)

    def __enter__(self) -> JsonScreen:
        return self

    def __exit__(self, *exc: object) -> None:
        return None


def _ended(data: Mapping[str, Any]) -> str:
    """How a task ended. Assess changes nothing: what an undo tries there, it only would change."""
    if data.get("ignored"):
        return "ignored"
    changed = data["status"] == "changed"
    return "would change" if changed and data.get("phase") == "Assess" else str(data["status"])


class PlainScreen:
    """One line for what a reader of a log wants to find: phases, changes, gates, failures."""

    def __init__(self, view: RunView, title: str, stream: TextIO) -> None:
        self._view = view
        self._title = title
        self._lines = Lines(stream)
        self._percent: dict[str, int] = {}

    def show(self, event: RecordEvent) -> None:
        notes = self._view.observe(event)
        at = t_plus(self._view.elapsed(datetime.fromisoformat(event.time)))
        for text in [self._line(event), *map(_sentence, notes)]:
            if text:
                self.say(f"{at:<7} {text}")

    def say(self, text: str) -> None:
        self._lines.put(text)

    def __enter__(self) -> PlainScreen:
        if self._title:
            self.say(self._title)
            self._title = ""
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def _line(self, event: RecordEvent) -> str:
        data = event.data
        if event.type == "phase.started":
            return str(data["name"])
        if event.type == "task.finished" and data.get("status") in _SHOWN:
            took = f" ({duration(float(data['seconds']))})" if data.get("seconds") else ""
            return f"  {_ended(data)}  {event.subject}: {data.get('task', '')}{took}"
        if event.type == "gate.sampled":
            return f"  {self._view.sampled}"
        if event.type in ("gate.passed", "gate.failed"):
            return f"  {self._view.gates[-1]}"
        if event.type == "progress.reported":
            return self._progress(event)
        return ""

    def _progress(self, event: RecordEvent) -> str:
        """A log has no use for every percent: one line for each tenth."""
        host = str(event.data.get("host") or event.subject)
        percent = self._view.hosts[host].percent
        tenth = int((percent or 0) // 10)
        if percent is None or tenth == self._percent.get(host):
            return ""
        self._percent[host] = tenth
        return f"  {percent:.0f} %  {host}: {self._view.hosts[host].task}"


_SHOWN = frozenset({"changed", "failed", "unreachable"})


def _sentence(note: Note) -> str:
    subject = f"{note.subject}: " if note.subject else ""
    mark = {"bad": "!", "warning": "warning:"}.get(note.tone, "")
    return f"  {mark} {subject}{note.text}" if mark else f"  {subject}{note.text}"
