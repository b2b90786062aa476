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
_IN_A_ROW = 2
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
    called_healthy: t.Collection[str] = (),
) -> None:
    """Wait until each container (name or id) is ready; ``timeout`` is in seconds for all of them.

    Those in ``called_healthy`` are ready when the Engine calls them healthy, too. Raises
    ComposeError with what it said last when one has ended or time is up.
    """
    deadline, ended = time.monotonic() + timeout, threading.Event()

    def wait_for(name: str) -> None:
        try:
            _wait_for(project, name, deadline, timeout, ended)
            if name in called_healthy:
                _wait_for_engine(project, name, deadline, timeout, ended)
        except ComposeError:
            # The others are not waited for any more.
            ended.set()
            raise

    wanted = list(names)
    with ThreadPoolExecutor(max_workers=max(1, min(len(wanted), _AT_ONCE))) as pool:
        for each in [pool.submit(wait_for, name) for name in wanted]:
            each.result()


def _wait_for(
    project: Project, name: str, deadline: float, timeout: float, ended: threading.Event
) -> None:
    began, held, said = time.monotonic(), 0, "it has not answered yet"
    first = _running(project, name)
    test = first.health_check
    while not ended.is_set():
        asked = time.monotonic()
        if test:
            good, said = _run(project, first, test, deadline)
            held = held + 1 if good else 0
        # One that answers in between runs; whether it has been started again is seen at the end.
        if not held or held >= _IN_A_ROW:
            _running(project, name, restarts=first.restarts)
        if held >= _IN_A_ROW or (not test and time.monotonic() - began >= _SETTLED_SECONDS):
            return
        if time.monotonic() > deadline:
            raise ComposeError(
                f"container {first.name} was not healthy within {timeout:g} s: {said}"
            )
        # Asking takes the processor from what is to get ready.
        took = time.monotonic() - asked
        ended.wait(_PERIOD if held else min(max(_PERIOD, 2 * took), _LONGEST_PERIOD))


def _wait_for_engine(
    project: Project, name: str, deadline: float, timeout: float, ended: threading.Event
) -> None:
    while not ended.is_set():
        container = _running(project, name)
        # None at all where it has no health check.
        if container.health in ("healthy", ""):
            return
        if container.health == "unhealthy" or time.monotonic() > deadline:
            raise ComposeError(
                f"container {container.name} passes its health check when we run it, but Docker "
                f"called it {container.health} and not healthy within {timeout:g} s"
            )
        ended.wait(_PERIOD)


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
