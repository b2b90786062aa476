"""Ending the command line in the middle of a run, as machines, operators and networks do."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rollback_playbook.execution import reaper
from tests.e2e.conftest import Operator

_DEADLINE_SECONDS = 900.0
_CTRL_C = b"\x03"
#: What ends a run, and what a run goes on after.
ENDING = ("SIGKILL", "SIGTERM", "Ctrl-C")
PASSED_OVER = ("SIGHUP", "closed terminal")
#: What a run is sure to write, and so can be ended at.
MOMENTS = (
    "Declare", "Protect", "Assess", "Preserve", "Prepare", "Pause", "Switch", "Verify", "Resume",
    "Confirm", "Close",
)  # fmt: skip


@dataclass(frozen=True)
class Blow:
    """What happens to a run, in which phase, after how many of its tasks have begun."""

    way: str
    moment: str
    tasks: int

    def __str__(self) -> str:
        return f"{self.way} in {self.moment}+{self.tasks}"


def random_blows(chooser: random.Random) -> list[Blow]:
    """In the order of the phases: after each the incident is continued, and hit again."""
    moments = sorted(chooser.sample(range(len(MOMENTS)), chooser.randint(3, 6)))
    ways = [chooser.choice(ENDING) for _ in moments]
    ways[-1] = chooser.choice((*ENDING, *PASSED_OVER))
    return [
        Blow(way, MOMENTS[moment], chooser.randrange(6))
        for way, moment in zip(ways, moments, strict=True)
    ]


def types_and_is_hit(operator: Operator, argv: Sequence[str], blow: Blow) -> int:
    """The exit code of the command; -9 when it was killed. It has a terminal of its own."""
    record = _Record(operator.state_dir / "incidents")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rollback_playbook", *argv],
        env={**operator.environment, "TERM": "xterm"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(follower)
    terminal = _Terminal(leader)
    try:
        _wait_until(lambda: process.poll() is not None or record.has_reached(blow))
        _strike(process, terminal, blow.way)
        return process.wait(timeout=_DEADLINE_SECONDS)
    finally:
        process.kill()
        process.wait()
        terminal.close()


def _strike(process: subprocess.Popen[bytes], terminal: _Terminal, way: str) -> None:
    with suppress(ProcessLookupError, OSError):
        if way == "closed terminal":
            terminal.close()
        elif way == "Ctrl-C":
            terminal.type(_CTRL_C)
        else:
            process.send_signal(getattr(signal, way))


def _take_terminal() -> None:
    """The terminal controls the process: closing it is what a lost connection is, and Ctrl-C
    reaches whoever it would reach."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class _Terminal:
    """Reads what the screen draws, as a person's terminal does, until it is closed."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def type(self, keys: bytes) -> None:
        os.write(self._leader, keys)

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _read(self) -> None:
        os.set_blocking(self._leader, False)
        while not self._closed.wait(0.02):
            with suppress(BlockingIOError, OSError):
                os.read(self._leader, 65536)
        os.close(self._leader)


class _Record:
    """The record that a command writes: a new one, or the end of the newest."""

    def __init__(self, incidents: Path) -> None:
        self._incidents = incidents
        self._sizes = {path: path.stat().st_size for path in self._paths()}

    def _paths(self) -> list[Path]:
        return list(self._incidents.glob("*/events.jsonl"))

    def has_reached(self, blow: Blow) -> bool:
        """Whether the scenario itself, not the look ahead, has come so far in its phase."""
        for path in self._paths():
            begun = self._sizes.get(path, 0)
            if path.stat().st_size > begun:
                return self._is_at(path.read_bytes()[begun:].decode(errors="replace"), blow)
        return False

    @staticmethod
    def _is_at(text: str, blow: Blow) -> bool:
        _, _, run = text.partition('"type":"approval.granted"')
        _, begun, phase = run.partition(f'"name":"{blow.moment}","pattern"')
        return bool(begun) and phase.count('"type":"task.started"') >= blow.tasks


def processes_left(operator: Operator) -> list[str]:
    """Processes of any run on this lab, given a moment to be ended by the watch."""
    deadline = time.monotonic() + 60
    while left := list(_marked(str(operator.lab.directory))):
        if time.monotonic() > deadline:
            return left
        time.sleep(0.2)
    return []


def _marked(lab: str) -> Iterator[str]:
    wanted = os.fsencode(lab)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
            if reaper.MARK.encode() in environment and wanted in environment + command:
                yield command.replace(b"\0", b" ").decode()


def kind_of_events(folder: Path, kind: str) -> list[dict[str, object]]:
    """The data of every event of this type in an incident's record."""
    events = map(json.loads, (folder / "events.jsonl").read_text(encoding="utf-8").splitlines())
    return [event["data"] for event in events if event["type"] == kind]


def _wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)
