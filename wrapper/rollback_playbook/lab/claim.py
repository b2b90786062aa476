"""One command at a time works on a lab."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollback_playbook.errors import RefusedError

_WAIT_SECONDS = 180.0


@contextmanager
def claimed(directory: Path, *, seconds: float = _WAIT_SECONDS) -> Iterator[None]:
    """Hold the lab's directory; raises RefusedError when another command does not let go.

    The lock is on the directory itself, so that a purge leaves no lock file; the kernel releases
    it when its holder dies, however it dies.
    """
    deadline = time.monotonic() + seconds
    while (handle := _try(directory)) is None:
        if time.monotonic() > deadline:
            raise RefusedError(
                f"another command has been working on the lab in {directory} for "
                f"{seconds:.0f} s; nothing was changed",
                hint="wait for it to end, and try again",
            )
        time.sleep(0.1)
    try:
        yield
    finally:
        os.close(handle)


def _try(directory: Path) -> int | None:
    """The handle of a lock that holds, or None."""
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RefusedError(f"there is no lab in {directory}; nothing was changed") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    if _is_still(directory, handle):
        return handle
    # A purge has removed the directory that this handle stands for.
    os.close(handle)
    return None


def _is_still(directory: Path, handle: int) -> bool:
    try:
        return os.path.samestat(directory.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
