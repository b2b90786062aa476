# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every kind of probe is made of: its answer, its leash, and how it is registered.

A kind is one file: a ``Kind`` named ``KIND`` whose ``prepare`` reads the options, refuses what
cannot work, and returns the probe. A probe is called with a leash, again and again, by one thread
at a time. It returns when it has seen what it wants to see, and raises otherwise.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

Options = t.Mapping[str, t.Any]
Held = t.TypeVar("Held")


class ProbeRefusedError(RollbackError):
    """The options of a check cannot work. Raised before anything is probed."""


class ProbeFailedError(Exception):
    """The system was asked and is not healthy; the message says why, in words."""


class ProbeInconclusiveError(Exception):
    """The question could not be asked, or its answer says nothing either way."""


class LeashExpiredError(Exception):
    """The probe has used up its time."""


class Leash:
    """The hard time limit of one probe.

    Whoever holds the other end calls :meth:`expire` when time is up, from another thread. What
    the probe waits for must end then, so the probe registers how to end it.
    """

    def __init__(self, seconds: float) -> None:
        self.verdict = f"no answer within {seconds:g} s"
        self._ends_at = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._expired = False
        self._acts: list[t.Callable[[], None]] = []

    def remaining(self) -> float:
        """Seconds left, above 0. Raises LeashExpiredError when none are."""
        left = self._ends_at - time.monotonic()
        if self._expired or left <= 0:
            raise LeashExpiredError
        return left

    @property
    def overdue(self) -> bool:
        """Whether all of its time is used up."""
        return self._expired or time.monotonic() >= self._ends_at

    @contextlib.contextmanager
    def holding(
        self, start: t.Callable[[], Held], end: t.Callable[[Held], None]
    ) -> t.Iterator[Held]:
        """What ``start`` returns; ``end`` is called with it if the leash expires in the block.

        Both must be quick. Nothing is started on an expired leash: LeashExpiredError.
        """
        with self._lock:
            self.remaining()
            held = start()
            act = functools.partial(end, held)
            self._acts.append(act)
        try:
            yield held
        finally:
            with self._lock:
                self._acts.remove(act)

    def on_expiry(self, act: t.Callable[[], None]) -> t.ContextManager[None]:
        """``act`` is called if the leash expires inside the block. It must be quick."""
        return self.holding(lambda: None, lambda _: act())

    def expire(self) -> None:
        """End what the probe waits for. May be called twice."""
        # Under the lock: an act must never run after its block, when the process id or socket
        # that it means belongs to somebody else.
        with self._lock:
            self._expired = True
            for act in self._acts:
                with contextlib.suppress(OSError):
                    act()


@dataclass(frozen=True)
class Context:
    """What a probe may know about the gate it is part of."""

    started_epoch: float


Probe = t.Callable[[Leash], None]


@dataclass(frozen=True)
class Kind:
    """One kind of probe.

    ``options`` is its argument spec and ``constraints`` the keyword arguments that go beside it.
    ``instrument`` is set where the probe asks somebody else about the system: when *that* one is
    silent, nothing is known about the system.
    """

    name: str
    options: t.Callable[[], dict[str, t.Any]]
    prepare: t.Callable[[Options, Context], Probe]
    instrument: bool = False
    constraints: dict[str, t.Any] = field(default_factory=dict)
