"""The lab's processes: known by what they carry, so that no stranger is ever ended."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from rollback_playbook.errors import RollbackError, UsageError
from rollback_playbook.lab import supervision
from rollback_playbook.lab.configuration import IDENTITY
from rollback_playbook.lab.places import Lab, LabState

_START_SECONDS = 120
_STOP_SECONDS = 15
#: They write their state for ``ps`` over their environment.
_TITLED = ("nginx", "postgres", "valkey-server")


def running(lab: Lab, state: LabState) -> list[psutil.Process]:
    """Every process of this lab, also those whose supervisor was killed.

    PostgreSQL, nginx and Valkey overwrite their environment; they are known by their program and
    their working directory, which is a folder of the lab that nothing else works in. initdb, which
    goes on when its caller is killed, is known by what it makes.
    """
    directory = lab.directory.resolve()
    names = ("", "postgres", ".postgres.partial", "valkey", "nginx")
    known = _Known(
        id=state.id,
        folders=frozenset(directory / name for name in names),
        initdb=f"--pgdata={lab.directory / '.postgres.partial'}",
    )
    return [process for process in psutil.process_iter() if _is_ours(process, known)]


@dataclass(frozen=True)
class _Known:
    """What a process of one lab is known by."""

    id: str
    folders: frozenset[Path]
    initdb: str


def _is_ours(process: psutil.Process, known: _Known) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if process.environ().get(IDENTITY) == known.id:
            return True
        # A package that was installed again leaves a running program without its file.
        program = Path(process.exe().removesuffix(" (deleted)")).name
        if program == "initdb":
            return known.initdb in process.cmdline()
        return program in _TITLED and Path(process.cwd()) in known.folders
    except (psutil.Error, OSError):
        return False


def control(lab: Lab, verb: str, program: str) -> None:
    """``start``, ``stop`` or ``restart`` a program; raises RollbackError in supervisor's words."""
    state = lab.state()
    if verb not in ("start", "stop", "restart"):
        raise UsageError(f"a program of the lab cannot be told to {verb}")
    if verb != "start":
        supervision.stop(state, program)
    if verb != "stop":
        supervision.start(state, program)


def stop_all(lab: Lab, state: LabState) -> None:
    """End every process of the lab, politely first; raises RollbackError when one does not end."""
    if supervision.shut_down(state):
        _wait_for_none(lab, state)
    for how in (signal.SIGTERM, signal.SIGKILL):
        left = running(lab, state)
        if not left:
            return
        for process in left:
            _send(process, how)
        _wait_for_none(lab, state)
    if left := running(lab, state):
        pids = ", ".join(str(process.pid) for process in left)
        raise RollbackError(f"these processes of the lab do not end: {pids}")


def _send(process: psutil.Process, how: signal.Signals) -> None:
    """psutil compares the time at which the process began: another one of its id is spared."""
    with suppress(psutil.NoSuchProcess):
        # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for its clients.
        postgres = process.name() == "postgres" and how is signal.SIGTERM
        process.send_signal(signal.SIGINT if postgres else how)


def _wait_for_none(lab: Lab, state: LabState) -> None:
    """Looks again each time: a supervisor that is ending may have started one more."""
    deadline = time.monotonic() + _STOP_SECONDS
    while (left := running(lab, state)) and time.monotonic() < deadline:
        psutil.wait_procs(left, timeout=max(deadline - time.monotonic(), 0))


def wait_until(what: str, holds: Callable[[], bool], *, seconds: float = _START_SECONDS) -> None:
    """Wait for ``holds()``; raises RollbackError saying ``what`` was wrong to the end."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise RollbackError(f"{what}; waited {seconds:.0f} s")
        time.sleep(0.05)
