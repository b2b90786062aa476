"""End the processes of a run that its own command line can no longer end.

Ansible's workers are sessions of their own: neither the death of their parent nor a signal to its
process group reaches them. All of them inherit one environment variable, and by that they are
found. Imported by the command line, and started by it as a program that outlives it. That program
has the standard library and nothing else (``python -I -S``), to be there within milliseconds.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

#: The environment variable with the folder of the run.
MARK = "ROLLBACK_PLAYBOOK_RUN"

_PAUSE_SECONDS = 0.05
_GIVE_UP_SECONDS = 20.0


def processes_of(folder: str) -> set[int]:
    """The living processes of the run with this folder, and their descendants."""
    mark = f"{MARK}={folder}".encode()
    marked = {pid for pid in _pids() if mark in _environment(pid)}
    children: dict[int, list[int]] = {}
    for pid in _pids():
        children.setdefault(_parent(pid), []).append(pid)
    found, queue = set(marked), list(marked)
    while queue:
        for child in children.get(queue.pop(), ()):
            if child not in found:
                found.add(child)
                queue.append(child)
    return found - {os.getpid()}


def end_processes(folder: str) -> bool:
    """SIGKILL until none is left; False when some would not go, as those of another user.

    A process that is killed can start no other one, and one that it had just started is found in
    the next round: it has the mark too.
    """
    deadline = time.monotonic() + _GIVE_UP_SECONDS
    while found := processes_of(folder):
        if time.monotonic() > deadline:
            return False
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE_SECONDS)
    return True


def main() -> None:
    """Wait for the end of standard input: a byte before it means that the run has ended well."""
    folder = sys.argv[1]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if not sys.stdin.buffer.read(1):
        end_processes(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208


def _environment(pid: int) -> list[bytes]:
    """Empty for a zombie, and for a process that this one may not look into."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def _parent(pid: int) -> int:
    """0 for a process that is gone or as good as gone."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return 0 if fields[0] in (b"Z", b"X") else int(fields[1])
    return 0


if __name__ == "__main__":
    main()
