"""Run one playbook under ansible-runner and hand over its events as they happen.

The only module that imports ansible_runner. What it avoids, and why, is in
docs/explanation/driving-ansible-runner.md.
"""

from __future__ import annotations

import os
import queue
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from rollback_playbook.execution import gate_samples, reaper
from rollback_playbook.execution.run_folder import run_folder, write_private

JobEvent = dict[str, Any]

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
        self._asked = False
        self._now = False
        self._last_chance = False
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def later(self, task: Callable[[], None]) -> None:
        """What a signal handler must not do itself: the run does it within a moment."""
        self._tasks.put(task)

    def catch_up(self) -> None:
        """Do what was put off."""
        with suppress(queue.Empty):
            while True:
                self._tasks.get_nowait()()

    def ask(self) -> None:
        """Once: stop after the running task. Twice: stop now."""
        self._now = self._asked or self._last_chance
        self._asked = True

    def rearm(self) -> None:
        """For what makes the end of an interrupted run safe: the next one that asks means now."""
        self._asked, self._last_chance = False, True

    @property
    def asked(self) -> bool:
        return self._asked

    @property
    def now(self) -> bool:
        return self._now


def import_early() -> None:
    """Import ansible-runner while something else is waited for; it takes a quarter of a second."""
    threading.Thread(target=import_module, args=("ansible_runner",), daemon=True).start()


def run(
    request: PlaybookRun, on_event: Callable[[JobEvent], None], interrupt: Interrupt
) -> RunResult:
    """Run to the end; ``on_event`` is called in this thread, in the order of the events.

    ansible-runner runs in a thread of its own and its handler only queues: a slow handler makes
    its ``run()`` raise, and an OSError in it is swallowed with the event.
    """
    events: queue.SimpleQueue[JobEvent | None] = queue.SimpleQueue()
    with run_folder() as folder:
        _write_inputs(request, folder)
        runner = _Runner(request, folder, events)
        thread = threading.Thread(target=runner.run, name="ansible-runner", daemon=True)
        started = time.monotonic()
        thread.start()
        watch = _Watch(on_event, interrupt, folder)
        watch.drain(events)
        thread.join()
        if runner.rc is None or runner.status in ("canceled", "timeout"):
            reaper.end_processes(str(folder))
    return watch.result(runner, time.monotonic() - started)


class _Runner:
    """One ``ansible_runner.Runner``, built so that it writes no secret outside ``folder``."""

    def __init__(
        self,
        request: PlaybookRun,
        folder: Path,
        events: queue.SimpleQueue[JobEvent | None],
    ) -> None:
        self._request = request
        self._folder = folder
        self._events = events
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
        environment = self._request.environment
        config.env = {
            **own,
            **environment,
            **forced,
            **_own_variables(environment, self._folder),
        }
        runner = Runner(config, event_handler=self._queue)
        self.status, self.rc = runner.run()

    def _queue(self, event: JobEvent) -> bool:
        self._events.put(event)
        return False


_FORCED_BY_RUNNER = (
    "ANSIBLE_STDOUT_CALLBACK",
    "ANSIBLE_CALLBACK_PLUGINS",
    "ANSIBLE_RETRY_FILES_ENABLED",
    "AWX_ISOLATED_DATA_DIR",
    "RUNNER_OMIT_EVENTS",
    "RUNNER_ONLY_FAILED_EVENTS",
)


class _Watch:
    """Hands the events on, counts them, and stops Ansible when that is asked for."""

    def __init__(
        self, on_event: Callable[[JobEvent], None], interrupt: Interrupt, folder: Path
    ) -> None:
        self._on_event = on_event
        self._interrupt = interrupt
        self._folder = folder
        self._gate = gate_samples.GateSamples(folder)
        self._expected = 0
        self._received = 0
        self._tail: list[str] = []

    def drain(self, events: queue.SimpleQueue[JobEvent | None]) -> None:
        """Until the run has ended; an interrupt is obeyed also while no event comes."""
        while True:
            self._obey_interrupt()
            try:
                event = events.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                self._hand_on_samples()
                continue
            # Before the gate's own end, which may be what has come.
            self._hand_on_samples()
            if event is None:
                return
            self._count(event)
            self._on_event(event)

    def _hand_on_samples(self) -> None:
        for sample in self._gate.new():
            self._on_event(sample)

    def _count(self, event: JobEvent) -> None:
        self._expected = max(self._expected, int(event.get("counter", 0)))
        self._received += 1
        if event.get("event") in ("verbose", "error", "warning") and event.get("stdout"):
            self._tail = [*self._tail, str(event["stdout"])][-40:]

    def _obey_interrupt(self) -> None:
        """The callback plugin ``safe_stop`` looks for the file before it lets a task begin."""
        self._interrupt.catch_up()
        if self._interrupt.now:
            reaper.end_processes(str(self._folder))
        elif self._interrupt.asked:
            (self._folder / _STOP).touch()

    def result(self, runner: _Runner, seconds: float) -> RunResult:
        tail = [*self._tail, runner.error] if runner.error else self._tail
        return RunResult(
            status=runner.status,
            rc=runner.rc,
            seconds=seconds,
            interrupted=self._interrupt.asked and runner.rc != 0,
            events_expected=self._expected,
            events_received=self._received,
            output_tail=tuple(line for line in tail if line.strip()),
        )


_CALLBACKS = ("sre.rollback.safe_stop", "sre.rollback.quick_exit")
_STOP = "stop"
_LOOK_SECONDS = 0.1


def _own_variables(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """What marks the processes of the run, stops them at a safe point, and keeps their files."""
    callbacks = [environment.get("ANSIBLE_CALLBACKS_ENABLED", ""), *_CALLBACKS]
    return {
        reaper.MARK: str(folder),
        "ROLLBACK_PLAYBOOK_STOP_FILE": str(folder / _STOP),
        gate_samples.VARIABLE: str(gate_samples.GateSamples(folder).path),
        "ANSIBLE_CALLBACKS_ENABLED": ",".join(filter(None, callbacks)),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
    }


def _write_inputs(request: PlaybookRun, folder: Path) -> None:
    """The settings must be a file: ``settings=`` is dropped unless one exists
    (ansible_runner/config/_base.py, ``prepare_env``).
    """
    (folder / "env").mkdir(mode=0o700)
    write_private(folder / "env" / "settings", _SETTINGS)
    if request.variables:
        write_private(folder / "env" / "extravars", request.variables)
