# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe kind ``command``: a program ends with the right exit code and the right output.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Context,
    Kind,
    Leash,
    Options,
    Probe,
    ProbeFailedError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.matching import Pattern

_MOST_KEPT = 256 * 1024
_PIECE = 64 * 1024
_LOOK_EVERY = 0.02


def _options() -> dict[str, t.Any]:
    return {
        "argv": {"type": "list", "elements": "str", "required": True},
        "chdir": {"type": "path"},
        "environment": {"type": "dict", "default": {}},
        "rc": {"type": "list", "elements": "int", "default": [0]},
        "stdout": {"type": "str"},
    }


@dataclass(frozen=True)
class Finished:
    """How a program ended. Its output is cut to what is worth judging."""

    rc: int
    stdout: str
    stderr: str


def prepare(options: Options, _context: Context) -> Probe:
    """Read the options. Raises ProbeRefusedError."""
    argv, chdir = options["argv"], options.get("chdir")
    if not argv or not argv[0]:
        raise ProbeRefusedError("argv is empty")
    if chdir and not Path(chdir).is_dir():
        raise ProbeRefusedError(f"chdir {chdir} is not a folder")
    added = {str(name): str(value) for name, value in (options.get("environment") or {}).items()}
    allowed = tuple(options["rc"])
    if not allowed:
        raise ProbeRefusedError("rc is empty: no exit code would do")
    stdout = Pattern.compile(options["stdout"], "stdout") if options.get("stdout") else None

    def probe(leash: Leash) -> None:
        done = run_program(argv, leash, chdir=chdir, environment=added)
        if done.rc not in allowed:
            raise ProbeFailedError(_wrong_exit(done))
        if stdout is not None and not stdout.found_in(done.stdout, leash):
            raise ProbeFailedError(f"the output does not match {stdout.text!r}")

    return probe


def _wrong_exit(done: Finished) -> str:
    how = f"ended by signal {-done.rc}" if done.rc < 0 else f"exit code {done.rc}"
    lines = done.stderr.strip().splitlines() or done.stdout.strip().splitlines()
    return f"{how}: {lines[-1][:200]}" if lines else how


def run_program(
    argv: t.Sequence[str],
    leash: Leash,
    *,
    chdir: str | None = None,
    environment: t.Mapping[str, str] | None = None,
) -> Finished:
    """Run a program; when it ends or the leash does, nothing of its process group is left.

    Raises ProbeFailedError when it cannot be started, LeashExpiredError when it takes too long.
    """
    surroundings = {**os.environ, **(environment or {})}
    program = shutil.which(argv[0], path=surroundings.get("PATH")) if chdir is None else argv[0]
    try:
        process = subprocess.Popen(
            [program or argv[0], *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=chdir,
            env=surroundings,
            start_new_session=True,
        )
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
        raise ProbeFailedError(f"{argv[0]} cannot be started: {reason}") from exc
    kept = {process.stdout: bytearray(), process.stderr: bytearray()}
    try:
        with leash.on_expiry(lambda: _kill_group(process)):
            _attend(process, kept, leash)
    finally:
        # Also what the program has left behind: it may hold the pipes open for ever.
        _kill_group(process)
        rc = process.wait()
        for pipe in kept:
            pipe.close()
    leash.remaining()
    out, err = (bytes(text).decode("utf-8", "replace") for text in kept.values())
    return Finished(rc, out, err)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    # Without reaping it: until then its process group's number cannot be anybody else's.
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _attend(process: subprocess.Popen[bytes], kept: dict[t.Any, bytearray], leash: Leash) -> None:
    with selectors.DefaultSelector() as selector:
        for pipe in kept:
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ)
        while not _has_ended(process):
            _read(selector, kept, min(_LOOK_EVERY, leash.remaining()))
        # What is in the pipes now; a child that lives on may go on writing.
        for _ in range(_MOST_KEPT // _PIECE):
            if not _read(selector, kept, 0):
                break


def _read(selector: selectors.BaseSelector, kept: dict[t.Any, bytearray], patience: float) -> bool:
    ready = selector.select(patience)
    for key, _ in ready:
        piece = os.read(key.fd, _PIECE)
        if not piece:
            selector.unregister(key.fileobj)
        kept[key.fileobj] += piece[: _MOST_KEPT - len(kept[key.fileobj])]
    return bool(ready)


KIND = Kind("command", _options, prepare)
