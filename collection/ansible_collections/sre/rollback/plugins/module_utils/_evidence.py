# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evidence of what ran: a state and log files, in a folder on the host, kept once.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import os
import subprocess
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

#: Parts that are asked for at the same time.
_AT_ONCE = 4


class NotSaidError(RollbackError):
    """A program did not say what it was asked for."""


@dataclass(frozen=True)
class Part:
    """One file of the evidence; ``ask`` has its content within seconds, or raises RollbackError."""

    file: str
    ask: t.Callable[[float], bytes]


def argument_spec() -> dict[str, t.Any]:
    """The options of the documentation fragment ``sre.rollback._evidence``."""
    return {
        "dest": {"type": "path", "required": True},
        "lines": {"type": "int", "default": 100},
        "timeout": {"type": "float", "default": 20.0},
    }


def exit_kept(
    module: AnsibleModule, mark: str, parts_of: t.Callable[[float], t.Sequence[Part]]
) -> t.NoReturn:
    """End the module with what was kept, once for an incident.

    The parts, which are had within the seconds given, begin with the state; its file is the mark.
    Who does not even say that has hung, and is asked nothing else.
    """
    dest, seconds = Path(module.params["dest"]), module.params["timeout"]
    kept = is_kept(dest, mark)
    files: list[str] = []
    missing: list[dict[str, str]] = []
    try:
        if not kept and not module.check_mode:
            ends = time.monotonic() + seconds
            state, *others = parts_of(seconds)
            said = state.ask(_left(ends))
            there, missing = _ask(others, ends)
            files = keep(dest, [*there, (state.file, said)])
    except (RollbackError, OSError) as exc:
        module.fail_json(msg=f"the evidence cannot be kept: {exc}", **getattr(exc, "result", {}))
    module.exit_json(changed=not kept, files=files, missing=missing)


def from_program(*argv: str, exits: t.Container[int] = (0,)) -> t.Callable[[float], bytes]:
    """Everything that a program says, also on stderr; NotSaidError for other exit codes."""

    def ask(seconds: float) -> bytes:
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
            )
        except subprocess.TimeoutExpired as exc:
            raise NotSaidError(f"{argv[0]} did not answer in time") from exc
        except OSError as exc:
            raise NotSaidError(f"{argv[0]}: {exc.strerror}") from exc
        if done.returncode not in exits:
            words = done.stdout.decode(errors="replace").strip()[-500:]
            raise NotSaidError(f"{argv[0]} ended with {done.returncode}: {words}")
        return done.stdout

    return ask


def file_of(name: str, *kinds: str) -> str:
    """The file for a unit, program or container, which is never a path."""
    return ".".join([name.replace("/", "-"), *kinds])


def is_kept(dest: Path, mark: str) -> bool:
    """Whether an earlier attempt has kept everything: the file ``mark`` is written last."""
    return (dest / mark).exists()


def keep(dest: Path, files: t.Iterable[tuple[str, bytes]]) -> list[str]:
    """Write files of a name and their bytes, readable by the owner alone; raises OSError.

    The last one is the mark, and stands first in the names that are returned.
    """
    dest.mkdir(mode=0o700, parents=True, exist_ok=True)
    written: list[str] = []
    for name, content in files:
        _atomic_file.replace(str(dest / name), content, mode=0o600)
        written.append(name)
    return [*written[-1:], *written[:-1]]


def _ask(
    parts: t.Sequence[Part], ends: float
) -> tuple[list[tuple[str, bytes]], list[dict[str, str]]]:
    """What was had of the parts, by file, and what was not."""

    def answer(part: Part) -> bytes | RollbackError:
        try:
            return part.ask(_left(ends))
        except RollbackError as exc:
            return exc

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        answers = list(zip(parts, pool.map(answer, parts)))
    there = [(part.file, had) for part, had in answers if isinstance(had, bytes)]
    missing = [
        {"file": part.file, "error": str(had)}
        for part, had in answers
        if isinstance(had, RollbackError)
    ]
    return there, missing


def _left(ends: float) -> float:
    return max(0.1, ends - time.monotonic())
