"""Run one playbook under ansible-runner and hand over its events as they happen.

The only module that imports ansible_runner. What it avoids, and why, is in
docs/explanation/driving-ansible-runner.md.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

JobEvent = dict[str, Any]

#: After an interrupt Ansible has this many seconds to end by itself before its group is killed.
GRACE_SECONDS = 30.0

_SETTINGS = {"pexpect_timeout": 0.5, "suppress_output_file": True, "suppress_ansible_output": True}


@dataclass(frozen=True)
class PlaybookRun:
    """What to run. ``variables`` travel in a private file, never in argv."""

    playbook: Path
    inventory: str
    environment: Mapping[str, str]
    variables: Mapping[str, Any] = field(default_factory=dict)
    limit: str = ""
    tags: Sequence[str] = ()
    check: bool = False
    arguments: Sequence[str] = ()

    def argv(self) -> list[str]:
        """The options of ``ansible-playbook`` beyond playbook, inventory and variables."""
        tags = ["--tags", ",".join(self.tags)] if self.tags else []
        return [*tags, *(["--check", "--diff"] if self.check else []), *self.arguments]


@dataclass(frozen=True)
class RunResult:
    """How the process ended: ``rc`` is None when it was killed."""

    status: str
    rc: int | None
    seconds: float
    interrupted: bool
    #: The highest event counter Ansible's callback handed out, and how many events arrived.
    events_expected: int
    events_received: int
    #: The last lines that were no events: usage and parse errors of ansible-playbook.
    output_tail: tuple[str, ...]


class Interrupt:
    """Asked for by a signal handler, obeyed by the run: first softly, then at once."""

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._now = False

    def ask(self) -> None:
        """Once: stop after the running task. Twice: stop now."""
        self._now = self._asked_at is not None
        self._asked_at = self._asked_at or time.monotonic()

    @property
    def asked(self) -> bool:
        return self._asked_at is not None

    @property
    def now(self) -> bool:
        return self._now


def run(
    request: PlaybookRun, on_event: Callable[[JobEvent], None], interrupt: Interrupt
) -> RunResult:
    """Run to the end; ``on_event`` is called in this thread, in the order of the events.

    ansible-runner runs in a thread of its own and its handler only queues: a slow handler makes
    its ``run()`` raise, and an OSError in it is swallowed with the event.
    """
    events: queue.SimpleQueue[JobEvent | None] = queue.SimpleQueue()
    with _private_directory(request) as folder:
        runner = _Runner(request, folder, events, interrupt)
        thread = threading.Thread(target=runner.run, name="ansible-runner", daemon=True)
        started = time.monotonic()
        thread.start()
        watch = _Watch(on_event, interrupt)
        watch.drain(events)
        thread.join()
    return watch.result(runner, time.monotonic() - started)


class _Runner:
    """One ``ansible_runner.Runner``, built so that it writes no secret outside ``folder``."""

    def __init__(
        self,
        request: PlaybookRun,
        folder: Path,
        events: queue.SimpleQueue[JobEvent | None],
        interrupt: Interrupt,
    ) -> None:
        self._request = request
        self._folder = folder
        self._events = events
        self._interrupt = interrupt
        self.status = "failed"
        self.rc: int | None = None
        self.error = ""

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:  # noqa: BLE001 - a thread's boundary: reported as the result
            self.error = f"{type(error).__name__}: {error}"
        finally:
            self._events.put(None)

    def _run(self) -> None:
        from ansible_runner import Runner, RunnerConfig

        config = RunnerConfig(
            private_data_dir=str(self._folder),
            playbook=str(self._request.playbook),
            inventory=self._request.inventory,
            limit=self._request.limit or None,
            cmdline=shlex.join(self._request.argv()) or None,
            ident="run",
        )
        config.prepare()
        config.cwd = str(Path.cwd())
        own = {key: value for key, value in config.env.items() if key not in os.environ}
        forced = {key: config.env[key] for key in _FORCED_BY_RUNNER if key in config.env}
        config.env = {**own, **self._request.environment, **forced}
        runner = Runner(config, event_handler=self._queue, cancel_callback=self._cancelled)
        self.status, self.rc = runner.run()

    def _queue(self, event: JobEvent) -> bool:
        self._events.put(event)
        return False

    def _cancelled(self) -> bool:
        return self._interrupt.now


_FORCED_BY_RUNNER = (
    "ANSIBLE_STDOUT_CALLBACK",
    "ANSIBLE_CALLBACK_PLUGINS",
    "ANSIBLE_RETRY_FILES_ENABLED",
    "AWX_ISOLATED_DATA_DIR",
    "RUNNER_OMIT_EVENTS",
    "RUNNER_ONLY_FAILED_EVENTS",
)


class _Watch:
    """Hands the events on, counts them, and interrupts Ansible between two tasks."""

    def __init__(self, on_event: Callable[[JobEvent], None], interrupt: Interrupt) -> None:
        self._on_event = on_event
        self._interrupt = interrupt
        self._expected = 0
        self._received = 0
        self._tail: list[str] = []
        self._pid: int | None = None
        self._signalled = False

    def drain(self, events: queue.SimpleQueue[JobEvent | None]) -> None:
        for event in _until_none(events):
            self._count(event)
            self._on_event(event)
            self._interrupt_at_boundary(event)

    def _count(self, event: JobEvent) -> None:
        self._expected = max(self._expected, int(event.get("counter", 0)))
        self._received += 1
        self._pid = event.get("pid", self._pid)
        if event.get("event") in ("verbose", "error", "warning") and event.get("stdout"):
            self._tail = [*self._tail, str(event["stdout"])][-40:]

    def _interrupt_at_boundary(self, event: JobEvent) -> None:
        """Ansible passes SIGINT on to its workers, which end their task's process with it."""
        at_boundary = str(event.get("event", "")) in _BOUNDARIES
        if self._signalled or not (self._interrupt.asked and (at_boundary or self._interrupt.now)):
            return
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGINT)
            self._signalled = True

    def result(self, runner: _Runner, seconds: float) -> RunResult:
        tail = [*self._tail, runner.error] if runner.error else self._tail
        return RunResult(
            status=runner.status,
            rc=runner.rc,
            seconds=seconds,
            interrupted=self._interrupt.asked,
            events_expected=self._expected,
            events_received=self._received,
            output_tail=tuple(line for line in tail if line.strip()),
        )


_BOUNDARIES = frozenset({"playbook_on_task_start", "playbook_on_play_start"})


def _until_none(events: queue.SimpleQueue[JobEvent | None]) -> Iterator[JobEvent]:
    while (event := events.get()) is not None:
        yield event


@contextmanager
def _private_directory(request: PlaybookRun) -> Iterator[Path]:
    """ansible-runner's folder: 0700, in memory where there is a tmpfs, gone after the run.

    The settings must be a file: ``settings=`` is dropped unless one exists
    (ansible_runner/config/_base.py, ``prepare_env``).
    """
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp below makes a private folder in it
    parent = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="rollback-playbook-", dir=parent) as name:
        folder = Path(name)
        (folder / "env").mkdir(mode=0o700)
        _write_private(folder / "env" / "settings", _SETTINGS)
        if request.variables:
            _write_private(folder / "env" / "extravars", request.variables)
        yield folder


def _write_private(path: Path, content: Mapping[str, Any]) -> None:
    path.touch(mode=0o600)
    path.write_text(json.dumps(content), encoding="utf-8")
