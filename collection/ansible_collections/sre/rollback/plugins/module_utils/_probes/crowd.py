# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many short tasks inside one probe: so many at a time, each with a time limit of its own.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import queue
import threading
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Leash,
    LeashExpiredError,
    ProbeFailedError,
)

Result = t.TypeVar("Result")
Task = t.Callable[[Leash], Result]
Outcome = t.Union[Result, Exception]

_LOOK_EVERY = 0.05


def run_all(
    tasks: t.Sequence[Task[Result]], *, at_once: int, patience: float, leash: Leash
) -> list[Outcome[Result]]:
    """The result of each task, or the exception that it ended with, in their order.

    Each has ``patience`` seconds. Raises LeashExpiredError when not all have ended in time. It
    returns when its threads have ended, so that there are never more of them.
    """
    crowd = _Crowd(tasks, patience)
    threads = [
        threading.Thread(target=crowd.work, daemon=True, name="crowd")
        for _thread in range(min(at_once, len(tasks)))
    ]
    try:
        with leash.on_expiry(crowd.stop):
            for thread in threads:
                thread.start()
            while crowd.missing:
                crowd.collect(min(_LOOK_EVERY, leash.remaining()))
                crowd.end_overdue()
    finally:
        crowd.stop()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    return [crowd.outcomes[place] for place in range(len(tasks))]


class _Crowd(t.Generic[Result]):
    def __init__(self, tasks: t.Sequence[Task[Result]], patience: float) -> None:
        self._tasks = tasks
        self._patience = patience
        self._places = iter(range(len(tasks)))
        self._lock = threading.Lock()
        self._under_way: dict[int, Leash] = {}
        self._ended: queue.SimpleQueue[tuple[int, Outcome[Result]]] = queue.SimpleQueue()
        self._stopped = False
        self.outcomes: dict[int, Outcome[Result]] = {}

    @property
    def missing(self) -> int:
        """How many tasks have no outcome yet."""
        return len(self._tasks) - len(self.outcomes)

    def collect(self, patience: float) -> None:
        """Take in what has ended, after waiting for the first for so long."""
        try:
            place, outcome = self._ended.get(timeout=patience)
            while True:
                self.outcomes[place] = outcome
                place, outcome = self._ended.get_nowait()
        except queue.Empty:
            return

    def end_overdue(self) -> None:
        """Expire the leash of every task that has used up its time."""
        with self._lock:
            late = [leash for leash in self._under_way.values() if leash.overdue]
        for leash in late:
            leash.expire()

    def stop(self) -> None:
        """Start no more tasks, and end those under way."""
        with self._lock:
            self._stopped = True
            leashes = list(self._under_way.values())
        for leash in leashes:
            leash.expire()

    def _next(self) -> tuple[int, Leash] | None:
        with self._lock:
            place = None if self._stopped else next(self._places, None)
            if place is None:
                return None
            self._under_way[place] = Leash(self._patience)
            return place, self._under_way[place]

    def work(self) -> None:
        """Take tasks until none is left. Runs in a thread of its own."""
        while True:
            taken = self._next()
            if taken is None:
                return
            place, leash = taken
            outcome = self._outcome(place, leash)
            with self._lock:
                del self._under_way[place]
            self._ended.put((place, outcome))

    def _outcome(self, place: int, leash: Leash) -> Outcome[Result]:
        try:
            result = self._tasks[place](leash)
        except LeashExpiredError:
            return ProbeFailedError(leash.verdict)
        except Exception as exc:  # noqa: BLE001 - it is the task's outcome, and judged as such
            return ProbeFailedError(leash.verdict) if leash.overdue else exc
        return ProbeFailedError(leash.verdict) if leash.overdue else result
