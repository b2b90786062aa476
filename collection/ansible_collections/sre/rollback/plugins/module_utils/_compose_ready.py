# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether containers are ready, by their own health check, and as soon as they are.

The Engine runs a health check for the first time after its interval, which may be half a minute.
Here its command is run as soon as something listens, and again until it holds: running it takes the
processor from what is to get ready.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import os
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    ComposeError,
    Container,
    Project,
)
from ansible_collections.sre.rollback.plugins.module_utils._tcp_sockets import (
    listening,
    tables_of,
)

_PERIOD = 0.2
_LONGEST_PERIOD = 2.0
_LOOK_PERIOD = 0.05
#: Until something listens; then the health check is run, whatever it is about.
_BEGIN_SECONDS = 1.0
#: A container without a health check has to run for so long.
_SETTLED_SECONDS = 3.0
_CHECK_SECONDS = 30.0
#: Health checks that run at the same time; each of them needs a processor.
_AT_ONCE = max(2, os.cpu_count() or 1)


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
    began = time.monotonic()
    waiting = [_Waiting(name, in_a_row, name in called_healthy) for name in names]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        while True:
            there = project.described([each.name for each in waiting])
            for each in waiting:
                each.see(project, there.get(each.name))
            now = time.monotonic()
            waiting = [each for each in waiting if not each.is_ready(now - began >= settled)]
            if not waiting:
                return
            left = began + timeout - now
            if left < 0:
                raise ComposeError(waiting[0].in_words(timeout))
            asked = [each for each in waiting if each.has_to_answer]
            _wait_to_listen([each for each in asked if each.listened is None], _BEGIN_SECONDS)
            began_to_ask = time.monotonic()
            list(pool.map(_Waiting.ask, asked, repeat(project), repeat(left)))
            # Asking takes the processor from what is to get ready.
            pause = max(_PERIOD, 2 * (time.monotonic() - began_to_ask))
            failed = [each for each in asked if not each.held]
            if failed:
                _wait_to_listen(failed, min(pause, _LONGEST_PERIOD))
            elif not asked or any(each.has_to_answer for each in asked):
                time.sleep(_PERIOD)


def _wait_to_listen(waiting: t.Sequence[_Waiting], seconds: float) -> None:
    """Until each of them listens where it did not before; for no longer than ``seconds``.

    Of containers of another host nothing is seen; then it takes all of the time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if all(each.listening() not in ([], each.listened) for each in waiting):
            return
        time.sleep(_LOOK_PERIOD)


@dataclass
class _Waiting:
    """For one container; ``name`` may be its id."""

    name: str
    in_a_row: int
    #: Whether the Engine has to call it healthy, too.
    called_healthy: bool
    now: Container | None = None
    held: int = 0
    said: str = "it has not answered yet"
    #: Where it listened when it was asked last.
    listened: t.Sequence[str] | None = None

    def see(self, project: Project, now: Container | None) -> None:
        """As the Engine describes it; raises ComposeError unless it has run all the time."""
        if now is None:
            raise ComposeError(f"container {self.name} is gone")
        again = self.now is not None and self.now.restarts != now.restarts
        if not now.running or again:
            what = "keeps ending" if again or now.restarts else "ended"
            raise ComposeError(
                f"container {now.name} {what} with exit code {now.exit_code}"
                + _last_words(project, now)
            )
        self.now = now
        if self._health == "unhealthy" and self._waits_for_the_word:
            raise ComposeError(self.in_words())

    @property
    def _test(self) -> tuple[str, ...]:
        return self.now.health_check if self.now else ()

    @property
    def _health(self) -> str:
        return self.now.health if self.now else ""

    @property
    def has_to_answer(self) -> bool:
        """Whether its own health check has to be run yet."""
        return bool(self._test) and self.held < self.in_a_row

    @property
    def _waits_for_the_word(self) -> bool:
        """Of the Engine, which has none for a container without a health check."""
        word = self._health in ("healthy", "")
        return self.called_healthy and not self.has_to_answer and not word

    def is_ready(self, has_settled: bool) -> bool:
        """``has_settled`` says whether one without a health check has run for long enough."""
        if self.has_to_answer or self._waits_for_the_word:
            return False
        return bool(self._test) or has_settled

    def listening(self) -> list[str]:
        """Where it listens now; empty where that cannot be seen from here."""
        pid = self.now.pid if self.now else 0
        return [each for table in tables_of(pid) for each in listening(table)] if pid else []

    def ask(self, project: Project, seconds: float) -> None:
        """Run its health check, for no longer than that."""
        self.listened = self.listening()
        limit = max(1.0, min(_CHECK_SECONDS, seconds))
        try:
            project.run("exec", self.name, *self._test, timeout=limit)
        except ComposeError as exc:
            self.held, self.said = 0, f"its health check says: {str(exc).splitlines()[-1][-200:]}"
        else:
            self.held += 1

    def in_words(self, seconds: float = 0) -> str:
        """What it waits for, and for how long it has."""
        name = self.now.name if self.now else self.name
        if not self._waits_for_the_word:
            return f"container {name} was not healthy within {seconds:g} s: {self.said}"
        after = f" after {seconds:g} s" if seconds else ""
        return (
            f"container {name} passes its health check when we run it, but Docker calls it "
            f"{self._health}{after}"
        )


def _last_words(project: Project, container: Container) -> str:
    """The last line of its log; the rest is evidence on the host and not for a message."""
    lines = (
        project.run("logs", "--tail", "1", container.id, fails=False, joined=True)
        .strip()
        .splitlines()
    )
    return f": {lines[-1][:200]}" if lines else ""
