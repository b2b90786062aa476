# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether containers are ready, by their own health check, and as soon as they are.

The Engine runs a health check for the first time after its interval, which may be half a minute.
Here its command is run at once and again until it holds.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import threading
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    ComposeError,
    Container,
    Project,
)

_PERIOD = 0.2
_LONGEST_PERIOD = 2.0
#: A container without a health check has to run for so long.
_SETTLED_SECONDS = 3.0
_CHECK_SECONDS = 30.0
#: Containers that are asked at the same time.
_AT_ONCE = 8


def wait_ready(
    project: Project,
    names: t.Iterable[str],
    *,
    timeout: float,
    in_a_row: int = 2,
    settled: float = _SETTLED_SECONDS,
    called_healthy: t.Collection[str] = (),
) -> None:
    """Wait until each container (name or id) is ready; ``timeout`` is in seconds for all of them.

    Its health check has to hold so many times in a row; one without any has to run for ``settled``
    seconds. Those in ``called_healthy`` are ready when the Engine calls them healthy, too. Raises
    ComposeError with what it said last when one has ended or time is up.
    """
    wait = _Wait(project, timeout, in_a_row, settled)

    def wait_for(name: str) -> None:
        try:
            wait.until_ready(name)
            if name in called_healthy:
                wait.until_called_healthy(name)
        except ComposeError:
            # The others are not waited for any more.
            wait.ended.set()
            raise

    wanted = list(names)
    with ThreadPoolExecutor(max_workers=max(1, min(len(wanted), _AT_ONCE))) as pool:
        for each in [pool.submit(wait_for, name) for name in wanted]:
            each.result()


class _Wait:
    """For several containers, from now on."""

    def __init__(self, project: Project, timeout: float, in_a_row: int, settled: float) -> None:
        self.ended = threading.Event()
        self._project = project
        self._timeout = timeout
        self._in_a_row = in_a_row
        self._settled = settled
        self._began = time.monotonic()

    def until_ready(self, name: str) -> None:
        began, held, said = time.monotonic(), 0, "it has not answered yet"
        first = _running(self._project, name)
        test = first.health_check
        while not self.ended.is_set():
            asked = time.monotonic()
            if test:
                good, said = _run(self._project, first, test, self._began + self._timeout)
                held = held + 1 if good else 0
            # One that answers in between runs; whether it was started again is seen at the end.
            if not held or held >= self._in_a_row:
                _running(self._project, name, restarts=first.restarts)
            if held >= self._in_a_row or (not test and asked - began >= self._settled):
                return
            self._require_time(first, f"was not healthy within {self._timeout:g} s: {said}")
            # Asking takes the processor from what is to get ready.
            took = time.monotonic() - asked
            self.ended.wait(_PERIOD if held else min(max(_PERIOD, 2 * took), _LONGEST_PERIOD))

    def until_called_healthy(self, name: str) -> None:
        while not self.ended.is_set():
            container = _running(self._project, name)
            # None at all where it has no health check.
            if container.health in ("healthy", ""):
                return
            words = (
                f"passes its health check when we run it, but Docker calls it {container.health}"
            )
            if container.health == "unhealthy":
                raise ComposeError(f"container {container.name} {words}")
            self._require_time(container, f"{words} after {self._timeout:g} s")
            self.ended.wait(_PERIOD)

    def _require_time(self, container: Container, words: str) -> None:
        if time.monotonic() > self._began + self._timeout:
            raise ComposeError(f"container {container.name} {words}")


def _running(project: Project, name: str, *, restarts: int | None = None) -> Container:
    """The container; raises ComposeError when it has ended, or was started again since."""
    container = project.container(name)
    if container is None:
        raise ComposeError(f"container {name} is gone")
    again = restarts is not None and container.restarts != restarts
    if container.running and not again:
        return container
    what = "keeps ending" if again or container.restarts else "ended"
    raise ComposeError(
        f"container {container.name} {what} with exit code {container.exit_code}"
        + _last_words(project, container)
    )


def _last_words(project: Project, container: Container) -> str:
    """The last line of its log; the rest is evidence on the host and not for a message."""
    lines = (
        project.run("logs", "--tail", "1", container.id, fails=False, joined=True)
        .strip()
        .splitlines()
    )
    return f": {lines[-1][:200]}" if lines else ""


def _run(
    project: Project, container: Container, test: t.Sequence[str], deadline: float
) -> tuple[bool, str]:
    left = max(1.0, min(_CHECK_SECONDS, deadline - time.monotonic()))
    try:
        project.run("exec", container.id, *test, timeout=left)
    except ComposeError as exc:
        return False, f"its health check says: {str(exc).splitlines()[-1][-200:]}"
    return True, ""
