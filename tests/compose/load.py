"""Users of a project, and what they see."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from rollback_playbook.drill.prober import Sample, Seen, seen
from tests.compose.stack import Stack


class Load:
    """Users who ask all the time, one after the other, each on a connection of its own."""

    def __init__(self, stack: Stack, path: str = "/orders", *, users: int = 4) -> None:
        self._stack, self._path = stack, path
        self._stop = threading.Event()
        self._samples: list[Sample] = []
        #: What was not answered as it should have been, in words.
        self.faults: list[str] = []
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(users)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._stop.wait(0.05):
            at, clock = time.time(), time.monotonic()
            status, said = self._stack.get(self._path)
            sample = Sample(at, time.monotonic() - clock, self._path, status)
            self._samples.append(sample)
            if not sample.good:
                moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
                self.faults.append(f"{moment} {status} after {sample.seconds:.2f} s: {said}")

    def samples(self) -> list[Sample]:
        """Every request, in the order in which they ended."""
        return sorted(self._samples, key=lambda each: each.ended)

    def seen(self, *, since: float = 0) -> Seen:
        """What they saw."""
        return seen(self.samples(), since=since)
