# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands that stop, start, test or reload what runs on a host, each within a time.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

_OUTPUT_SHOWN = 500
#: Seconds in which a command that is told to end may tidy up.
_TO_END = 5.0


class CommandError(RollbackError):
    """A command did not do its work.

    The message says which and why, to go on with in a sentence: it has no full stop.
    """


def run_in_turn(commands: t.Iterable[t.Sequence[object]], *, timeout: float) -> None:
    """One after the other, without a shell; raises CommandError at the first that fails.

    ``timeout`` is in seconds, for each. One that is not done by then is told to end. Home
    directories and variables in the words mean what they do in a shell.
    """
    for argv in commands:
        _run([_expanded(str(word)) for word in argv], timeout)


def _expanded(word: str) -> str:
    # Not every word is a path, which Path would tidy up.
    return os.path.expandvars(os.path.expanduser(word))  # noqa: PTH111


def _run(words: list[str], timeout: float) -> None:
    command = " ".join(words)
    # Not a pipe: a service that the command leaves behind may hold its end open.
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
            )
        except (OSError, ValueError, IndexError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else exc
            raise CommandError(f"{command} cannot be run: {why}") from exc
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired as exc:
            _end(process)
            words_said = _last_of(said)
            raise CommandError(
                f"{command} was not done after {timeout:g} s and was told to end"
                + (f": {words_said}" if words_said else "")
            ) from exc
        if code != 0:
            raise CommandError(f"{command} ended with {code}: {_last_of(said)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_of(said: t.BinaryIO) -> str:
    said.seek(0)
    return said.read().decode("utf-8", "replace").strip()[-_OUTPUT_SHOWN:]
