# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far a long restore is: a small file that others read while the module works.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import typing as t
from pathlib import Path

_INTERVAL = 0.25

# Share of the whole that each phase takes, by experience; what is left is the swap.
PHASES = {
    "read": 0.05,
    "restore": 0.60,
    "analyze": 0.04,
    "prove": 0.22,
    "amcheck": 0.06,
    "check": 0.02,
}


class Progress:
    """Time of each phase, and the file, whole at any moment. ``path`` may be None."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._phase = ""
        self._base = 0.0
        self._bytes = 0
        self._total = 0
        self._started = time.monotonic()
        self._phase_started = self._started
        self._written = 0.0
        self.times: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str, total: int = 0) -> t.Iterator[None]:
        """Do one phase, of ``total`` bytes if they are known."""
        with self._lock:
            self._phase, self._bytes, self._total = name, 0, total
            self._phase_started = time.monotonic()
            self._write(force=True)
        try:
            yield
        finally:
            spent = time.monotonic() - self._phase_started
            self.times[name] = round(self.times.get(name, 0.0) + spent, 3)
            self._base = min(self._base + PHASES.get(name, 0.0), 1.0)

    def add(self, done: int) -> None:
        """So many more bytes of this phase are done. Any thread may say so."""
        with self._lock:
            self._bytes += done
            self._write()

    def reached(self, done: int) -> None:
        """So many bytes of this phase are done in all."""
        with self._lock:
            self._bytes = max(self._bytes, done)
            self._write()

    def finish(self) -> None:
        with self._lock:
            self._phase, self._base, self._bytes, self._total = "done", 1.0, 0, 0
            self._write(force=True)

    def _write(self, *, force: bool = False) -> None:
        at = time.monotonic()
        if self._path is None or (at - self._written < _INTERVAL and not force):
            return
        self._written = at
        share = min(self._bytes / self._total, 1.0) if self._total else 0.0
        whole = min(self._base + share * PHASES.get(self._phase, 0.0), 1.0)
        elapsed = at - self._started
        state = {
            "phase": self._phase,
            "percent": round(whole * 100, 1),
            "phase_percent": round(share * 100, 1),
            "bytes": min(self._bytes, self._total) if self._total else self._bytes,
            "total_bytes": self._total,
            "elapsed": round(elapsed, 1),
            "remaining": round(elapsed / whole - elapsed, 1) if whole >= 0.05 else None,
        }
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        # Nobody's restore shall fail because it cannot be watched.
        with contextlib.suppress(OSError):
            partial.write_text(json.dumps(state) + "\n", encoding="utf-8")
            partial.replace(self._path)
