"""The lab's processes: known by what they carry, so that no stranger is ever ended."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from rollback_playbook.errors import RollbackError
from rollback_playbook.lab.configuration import IDENTITY, supervisor_program
from rollback_playbook.lab.places import Lab, LabState

_START_SECONDS = 30
_STOP_SECONDS = 15


def running(lab: Lab, state: LabState) -> list[psutil.Process]:
    """Every process of this lab, also those whose supervisor was killed.

    PostgreSQL and nginx write their state for ``ps`` over their environment; they are known by
    their program and their working directory.
    """
    folders = {lab.directory, lab.directory / "postgres"}
    return [process for process in psutil.process_iter() if _is_ours(process, state, folders)]


def _is_ours(process: psutil.Process, state: LabState, folders: set[Path]) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if process.environ().get(IDENTITY) == state.id:
            return True
        program = Path(process.exe()).name
        return program in ("nginx", "postgres") and Path(process.cwd()) in folders
    except (psutil.Error, OSError):
        return False


def supervisor_answers(lab: Lab) -> bool:
    """Whether the lab's supervisor is there."""
    # 3 is LSB's "not all running", which still is an answer; 4 is "no connection".
    return _control(lab, "status").returncode in (0, 3)


def status_lines(lab: Lab) -> dict[str, str]:
    """What supervisor says of each program; empty when it does not answer."""
    done = _control(lab, "status")
    if done.returncode not in (0, 3):
        return {}
    lines = (line.split(maxsplit=2) for line in done.stdout.splitlines())
    return {parts[0]: " ".join(parts[1:]) for parts in lines if len(parts) > 1}


def start_supervisor(lab: Lab) -> None:
    """Start supervisord as a daemon; raises RollbackError with its words when it does not."""
    done = subprocess.run(
        [supervisor_program("supervisord"), "-c", str(lab.supervisor_config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_START_SECONDS,
    )
    if done.returncode != 0:
        raise RollbackError(
            f"the lab's supervisor did not start: {done.stderr.strip() or done.stdout.strip()}",
            hint=f"its log is {lab.logs / 'supervisord.log'}",
        )


def control(lab: Lab, *command: str) -> None:
    """Run a command of supervisorctl; raises RollbackError when it fails."""
    done = _control(lab, *command)
    if done.returncode != 0:
        words = (done.stdout + done.stderr).strip()
        raise RollbackError(f"supervisorctl {' '.join(command)}: {words}")


def _control(lab: Lab, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [supervisor_program("supervisorctl"), "-c", str(lab.supervisor_config), *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def stop_all(lab: Lab, state: LabState) -> None:
    """End every process of the lab, politely first; raises RollbackError when one does not end."""
    if lab.supervisor_config.exists():
        _control(lab, "shutdown")
    left = running(lab, state)
    for how in (signal.SIGTERM, signal.SIGKILL):
        left = list(_ended(left, how))
    if left:
        pids = ", ".join(str(process.pid) for process in left)
        raise RollbackError(f"these processes of the lab do not end: {pids}")


def _ended(processes: Iterable[psutil.Process], how: signal.Signals) -> Iterator[psutil.Process]:
    """Wait, then signal what is left, then wait again; yields what is still there."""
    _, left = psutil.wait_procs(list(processes), timeout=_STOP_SECONDS)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for its clients.
            postgres = process.name() == "postgres" and how is signal.SIGTERM
            process.send_signal(signal.SIGINT if postgres else how)
    _, still = psutil.wait_procs(left, timeout=_STOP_SECONDS)
    yield from still


def wait_until(what: str, holds: Callable[[], bool], *, seconds: float = _START_SECONDS) -> None:
    """Wait for ``holds()``; raises RollbackError saying ``what`` did not come about."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise RollbackError(f"{what} within {seconds:.0f} s")
        time.sleep(0.05)
