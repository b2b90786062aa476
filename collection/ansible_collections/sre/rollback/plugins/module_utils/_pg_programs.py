# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PostgreSQL's client programs: where they are, which version, and one of them at work.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import collections
import os
import re
import shutil
import subprocess
import threading
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")
_LINES_KEPT = 12


class ProgramError(RollbackError):
    """A client program is missing or failed."""


@dataclass(frozen=True)
class Program:
    """A client program and its version as PostgreSQL's number (180006)."""

    path: str
    version: int

    @property
    def major(self) -> int:
        return self.version // 10000


def find_program(name: str, bin_dir: str | None) -> Program:
    """``name`` from ``bin_dir``, or from PATH; raises ProgramError."""
    path = str(Path(bin_dir) / name) if bin_dir else shutil.which(name)
    hint = "Nothing was changed. Install PostgreSQL's client programs or set bin_dir."
    if path is None:
        raise ProgramError(f"{name} is not on PATH. {hint}")
    try:
        ran = subprocess.run(
            [path, "--version"], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise ProgramError(f"{path} cannot be run: {exc}. {hint}") from exc
    match = _VERSION.search(ran.stdout)
    if match is None:
        raise ProgramError(f"{path} --version says {ran.stdout.strip()!r}. {hint}")
    return Program(path, int(match[1]) * 10000 + int(match[2] or 0))


class Running:
    """A client program at work; ended, if need be, when the context is left."""

    def __init__(
        self,
        argv: t.Sequence[str],
        environment: t.Mapping[str, str],
        on_line: t.Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._name = Path(argv[0]).name
        self._last: collections.deque[str] = collections.deque(maxlen=_LINES_KEPT)
        self._on_line = on_line
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(timeout=10)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def is_done(self, timeout: float) -> bool:
        """Wait at most so many seconds; whether the program has ended."""
        try:
            self._process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            return False
        self._reader.join(timeout=10)
        return True

    def check(self, consequence: str) -> None:
        """Raise ProgramError unless the ended program succeeded."""
        if self._process.returncode:
            code = self._process.returncode
            how = f"was killed by signal {-code}" if code < 0 else f"failed with exit code {code}"
            said = "; ".join(self._last) or "nothing"
            raise ProgramError(
                f"{self._name} {how} and said: {said}. {consequence}",
                stderr="\n".join(self._last),
            )

    def _read(self) -> None:
        for line in t.cast("t.IO[str]", self._process.stderr):
            stripped = line.strip()
            if not self._is_chatter(stripped):
                self._last.append(stripped)
            self._on_line(stripped)

    def _is_chatter(self, line: str) -> bool:
        """Whether --verbose said it; errors and warnings are marked as such."""
        marked = f"{self._name}: "
        return not line or (
            line.startswith(marked)
            and not line[len(marked) :].startswith(("error:", "warning:", "detail:", "hint:"))
        )
