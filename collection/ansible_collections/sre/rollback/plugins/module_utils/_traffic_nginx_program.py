# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program nginx: told to test its configuration, and to reload it.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils import _traffic_nginx_workers
from ansible_collections.sre.rollback.plugins.module_utils._traffic_visitor import TrafficError


@dataclass(frozen=True)
class NginxProgram:
    """``argv`` calls it with its configuration; its workers are seen when it ``is_local``.

    ``timeout`` is in seconds, for each thing that it is told. What it does not do raises
    TrafficError, which says that the caller has put the file back.
    """

    argv: tuple[str, ...]
    prefix: str
    is_local: bool
    timeout: float

    def test(self) -> str:
        """The whole configuration, as nginx reads it."""
        done = self._run("-T")
        if done.returncode != 0:
            raise TrafficError(
                f"nginx refuses the configuration: {_words(done)}. The file was put back and nginx "
                "was not reloaded; users get what they got before.",
                stderr=done.stderr[-2000:],
            )
        return done.stdout

    def reload_until_old_workers_are_gone(self, configuration: str) -> bool:
        """False when nobody can tell. ``configuration`` is what ``test`` returned."""
        deadline = time.monotonic() + self.timeout
        master = None
        if self.is_local:
            master = _traffic_nginx_workers.master_of(configuration, self.prefix)
        try:
            old = _traffic_nginx_workers.listening(master) if master else frozenset()
        except OSError:
            old = frozenset()
        self._reload()
        if master and not _traffic_nginx_workers.await_gone(old, master, deadline=deadline):
            raise TrafficError(
                f"nginx was told to reload {self.timeout:g} s ago, but goes on with what it had. "
                "The file was put back. The reason is in nginx's error log."
            )
        return bool(old)

    def _reload(self) -> None:
        done = self._run("-s", "reload")
        if done.returncode != 0:
            raise TrafficError(
                f"nginx cannot be reloaded: {_words(done)}. The file was put back. Is nginx "
                "running, and with this configuration?",
                stderr=done.stderr[-2000:],
            )

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [*self.argv, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.timeout,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise TrafficError(
                f"{self.argv[0]} cannot be run: {exc}. The file was put back; users get what they "
                "got before."
            ) from exc


def _words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stderr or done.stdout).splitlines() if "[emerg]" in line]
    return (lines or [done.stderr.strip() or f"exit status {done.returncode}"])[-1]
