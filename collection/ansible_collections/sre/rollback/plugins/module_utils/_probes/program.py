# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs under a leash: when they end, or it does, nothing of them is left.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import functools
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Leash,
    ProbeFailedError,
)

_MOST_KEPT = 4 * 1024 * 1024
_PIECE = 64 * 1024
_LOOK_EVERY = 0.02


@dataclass(frozen=True)
class Finished:
    """How a program ended. Its output is cut to what is worth judging."""

    rc: int
    stdout: str
    stderr: str


def run_program(
    argv: t.Sequence[str],
    leash: Leash,
    *,
    chdir: str | None = None,
    environment: t.Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> Finished:
    """Run a program; when it ends or the leash does, nothing of its process group is left.

    Raises ProbeFailedError when it cannot be started, LeashExpiredError when it takes too long.
    """
    surroundings = {**os.environ, **(environment or {})}
    process = None
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        start = functools.partial(_start, argv, chdir, surroundings, given)
        try:
            with leash.holding(start, _kill_group) as process:
                kept = _attend(process, leash)
        finally:
            # Also what the program has left behind: it may hold the pipes open for ever.
            if process is not None:
                _end(process)
    leash.remaining()
    out, err = (bytes(text).decode("utf-8", "replace") for text in kept)
    return Finished(process.returncode, out, err)


def _start(
    argv: t.Sequence[str], chdir: str | None, environment: dict[str, str], stdin: t.IO[bytes]
) -> subprocess.Popen[bytes]:
    # Popen alone would look along the PATH of this process.
    program = shutil.which(argv[0], path=environment.get("PATH")) if chdir is None else argv[0]
    try:
        return subprocess.Popen(
            [program or argv[0], *argv[1:]],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=chdir,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
        raise ProbeFailedError(f"{argv[0]} cannot be started: {reason}") from exc


def _end(process: subprocess.Popen[bytes]) -> None:
    _kill_group(process)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        t.cast(t.IO[bytes], pipe).close()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    # Without reaping it: until then its process group's number cannot be anybody else's.
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _attend(process: subprocess.Popen[bytes], leash: Leash) -> list[bytearray]:
    """What the program writes to its two outputs until it ends, cut."""
    kept = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in kept:
            os.set_blocking(t.cast(t.IO[bytes], pipe).fileno(), False)
            selector.register(t.cast(t.IO[bytes], pipe), selectors.EVENT_READ)
        while not _has_ended(process):
            _read(selector, kept, min(_LOOK_EVERY, leash.remaining()))
        # What is in the pipes now; a child that lives on may go on writing.
        for _turn in range(_MOST_KEPT // _PIECE):
            if not _read(selector, kept, 0):
                break
    return list(kept.values())


def _read(selector: selectors.BaseSelector, kept: dict[t.Any, bytearray], patience: float) -> bool:
    ready = selector.select(patience)
    for key, _events in ready:
        piece = os.read(key.fd, _PIECE)
        if not piece:
            selector.unregister(key.fileobj)
        kept[key.fileobj] += piece[: _MOST_KEPT - len(kept[key.fileobj])]
    return bool(ready)
