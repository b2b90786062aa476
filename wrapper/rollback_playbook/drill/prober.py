"""What a user sees: a client that knows nothing of the rollback and asks all the time.

It is a program of its own, which asks with ``keep_asking`` until it gets SIGTERM or whoever started
it is gone, and appends one JSON object a request to a file. ``seen`` turns that file into figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

#: Requests a second, where nothing else is said.
RATE = 25.0
_STOP_SECONDS = 10
#: The environment variable with the process that users are asked for.
_PARENT = "ROLLBACK_PLAYBOOK_PROBER_OF"
#: So much of an answer is looked at, in bytes.
_LONGEST_ANSWER = 1 << 20
#: So many characters of why there was none.
_LONGEST_ERROR = 200
#: The time of so many requests without a right answer counts as an outage: six in a row.
_GAP_REQUESTS = 6.25


@dataclass(frozen=True)
class Sample:
    """One request: when it began (seconds since the epoch), how long it took, how it ended."""

    at: float
    seconds: float
    path: str
    #: The status, or 0 when there was no answer.
    status: int
    #: An answer of 200 whose content is wrong.
    wrong: bool = False
    #: Why there was no answer.
    error: str = ""

    @property
    def good(self) -> bool:
        """Whether the user got what was asked for."""
        return self.status == 200 and not self.wrong

    @property
    def ended(self) -> float:
        return self.at + self.seconds


@dataclass(frozen=True)
class Outage:
    """A time in which no user got a right answer; times in seconds since the epoch.

    ``wrong_only``: every request was answered, with what was wrong in the data already.
    """

    began: float
    ended: float
    wrong_only: bool = False

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass(frozen=True)
class Seen:
    """What the users saw between two moments."""

    requests: int
    failed: int
    wrong: int
    first_fault: float | None
    outages: tuple[Outage, ...]

    @property
    def seconds(self) -> float:
        """Seconds without service, all outages together."""
        return sum(each.seconds for each in self.outages)

    @property
    def wrong_seconds(self) -> float:
        """Those of them in which every request was answered, but wrongly."""
        return sum(each.seconds for each in self.outages if each.wrong_only)

    @property
    def failed_share(self) -> float | None:
        """From 0 to 1; None when nothing was asked, which says nothing about the service."""
        return self.failed / self.requests if self.requests else None

    def as_event(self) -> dict[str, Any]:
        """The data of ``outage.measured``."""
        windows = [
            {
                "started": _iso(each.began),
                "ended": _iso(each.ended),
                "seconds": round(each.seconds, 3),
            }
            for each in self.outages
        ]
        return {
            "requests": self.requests,
            "failed": self.failed,
            "wrong": self.wrong,
            "first_fault": _iso(self.first_fault) if self.first_fault else None,
            "seconds": round(self.seconds, 3),
            "windows": windows,
        }


class Prober:
    """The prober's process: the program ``module``, called with ``arguments`` and the file.

    ``timeout``: seconds that one of its requests may take; ``given``: what it reads from stdin.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        file: Path,
        *,
        timeout: float = 0,
        given: str = "",
    ) -> None:
        self.file = file
        self._timeout = timeout
        file.unlink(missing_ok=True)
        self._began = time.time()
        self._unseen_until: float | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments, str(file)],
            stdin=subprocess.PIPE,
            env={**os.environ, _PARENT: str(os.getpid())},
            start_new_session=True,
            text=True,
        )
        # One that has ended already says so when it is stopped.
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
                stdin.write(given)

    def stop(self) -> list[Sample]:
        """End the process; everything it saw, in order. May be called again.

        Where it had ended by itself, the time that it did not see is one failed sample: what users
        saw then is unknown, which is not the same as no outage.
        """
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                # It waits for the requests that are under way.
                self._process.wait(timeout=_STOP_SECONDS + self._timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.returncode != 0 and self._unseen_until is None:
            self._unseen_until = time.time()
        found = samples(self.file)
        if self._unseen_until is not None:
            last = found[-1].ended if found else self._began
            found.append(Sample(last, self._unseen_until - last, "", 0))
        return found

    def so_far(self) -> list[Sample]:
        """What it saw until now."""
        return samples(self.file)


def samples(file: Path) -> list[Sample]:
    """The samples of a file, by the time at which the answer came; a torn last line is left out."""
    try:
        text = file.read_text(encoding="ascii")
    except FileNotFoundError:
        return []
    lines = text.split("\n")[:-1]
    return sorted((Sample(**json.loads(line)) for line in lines), key=lambda each: each.ended)


def seen(
    all_samples: Iterable[Sample],
    *,
    since: float = 0,
    until: float = float("inf"),
    rate: float = RATE,
) -> Seen:
    """What users saw from ``since`` to ``until`` (seconds since the epoch).

    ``rate``: how many requests a second they made.
    """
    chosen = [each for each in all_samples if since <= each.ended <= until]
    bad = [each for each in chosen if not each.good]
    return Seen(
        requests=len(chosen),
        failed=len(bad),
        wrong=sum(each.wrong for each in bad),
        first_fault=min((each.at for each in bad), default=None),
        outages=tuple(_outages(chosen, gap=_GAP_REQUESTS / rate)),
    )


def _outages(chosen: list[Sample], *, gap: float) -> Iterator[Outage]:
    """From one right answer to the next, where they are further apart than the gap.

    A gap in which nothing was asked (the machine slept) is none; at both ends the first and the
    last bad answer stand in for a right one.
    """
    last_good: float | None = None
    began: float | None = None
    wrong_only = True
    for sample in chosen:
        if sample.good:
            if began is not None and sample.ended - began > gap:
                yield Outage(began, sample.ended, wrong_only)
            last_good, began, wrong_only = sample.ended, None, True
            continue
        wrong_only = wrong_only and sample.wrong
        if began is None:
            began = sample.at if last_good is None else last_good
    if began is not None and chosen and chosen[-1].ended - began > gap:
        yield Outage(began, chosen[-1].ended, wrong_only)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def keep_asking(
    ask: Callable[[int], Awaitable[Sample]], file: Path, *, rate: float = RATE
) -> None:
    """``ask`` is called with 0, 1, 2 …: each request starts on time, however slow others are.

    Every answer is written, however late it comes: the file is closed after the last one.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # Who starts it may be gone before it has come so far.
    parent = int(os.environ[_PARENT])
    with file.open("a", encoding="ascii", buffering=1) as out:

        async def write_down(tick: int) -> None:
            sample = await ask(tick)
            out.write(json.dumps(asdict(sample)) + "\n")

        async with asyncio.TaskGroup() as group:
            tick = 0
            began = loop.time()
            while not stop.is_set() and os.getppid() == parent:
                group.create_task(write_down(tick))
                tick += 1
                wait = began + tick / rate - loop.time()
                await asyncio.sleep(max(wait, 0))


async def asked(
    client: Any,
    path: str,
    is_wrong: Callable[[bytes], bool] = lambda _content: False,
    *,
    timeout: float | None = None,
) -> Sample:
    """One request of an ``httpx.AsyncClient``; ``is_wrong`` looks at the content of a 200.

    ``timeout``: seconds for the whole of it. An answer without an end is none, and is not kept.
    """
    import httpx

    at, clock = time.time(), time.monotonic()
    status, wrong, error = 0, False, ""
    try:
        async with asyncio.timeout(timeout), client.stream("GET", path) as answer:
            content = b""
            async for part in answer.aiter_bytes():
                content += part[: _LONGEST_ANSWER - len(content)]
            status = answer.status_code
        wrong = status == 200 and is_wrong(content)
    except (httpx.TimeoutException, TimeoutError):
        status, error = 0, "no answer in time"
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        status, error = 0, str(exc)[:_LONGEST_ERROR] or type(exc).__name__
    return Sample(round(at, 4), round(time.monotonic() - clock, 4), path, status, wrong, error)
