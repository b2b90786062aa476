"""What a user sees: a client that knows nothing of the rollback and asks all the time.

``python -m rollback_playbook.lab.prober URL FILE`` asks until it gets SIGTERM or whoever started it
is gone, and appends one JSON object a request to FILE. ``seen`` turns that file into figures.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

#: Requests a second.
RATE = 25
_TIMEOUT_SECONDS = 1.0
_STOP_SECONDS = 10
#: Longer than this without a right answer counts as an outage: six requests in a row.
_GAP_SECONDS = 0.25


@dataclass(frozen=True)
class Sample:
    """One request: when it began (seconds since the epoch), how long it took, how it ended."""

    at: float
    seconds: float
    path: str
    #: The status, or 0 when there was no answer.
    status: int
    #: An answer of 200 whose content is wrong: an order whose total is not that of its lines, or a
    #: product at another price than when the prober began.
    wrong: bool = False

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
    """The prober's process."""

    def __init__(self, url: str, file: Path) -> None:
        self.file = file
        file.unlink(missing_ok=True)
        self._began = time.time()
        self._unseen_until: float | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rollback_playbook.lab.prober", url, str(file)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def stop(self) -> list[Sample]:
        """End the process; everything it saw, in order. May be called again.

        Where it had ended by itself, the time that it did not see is one failed sample: what users
        saw then is unknown, which is not the same as no outage.
        """
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=_STOP_SECONDS)
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


def seen(all_samples: Iterable[Sample], *, since: float = 0, until: float = float("inf")) -> Seen:
    """What users saw from ``since`` to ``until`` (seconds since the epoch)."""
    chosen = [each for each in all_samples if since <= each.ended <= until]
    bad = [each for each in chosen if not each.good]
    return Seen(
        requests=len(chosen),
        failed=len(bad),
        wrong=sum(each.wrong for each in bad),
        first_fault=min((each.at for each in bad), default=None),
        outages=tuple(_outages(chosen)),
    )


def _outages(chosen: list[Sample]) -> Iterator[Outage]:
    """From one right answer to the next, where they are further apart than the gap.

    A gap in which nothing was asked (the machine slept) is none; at both ends the first and the
    last bad answer stand in for a right one.
    """
    last_good: float | None = None
    began: float | None = None
    wrong_only = True
    for sample in chosen:
        if sample.good:
            if began is not None and sample.ended - began > _GAP_SECONDS:
                yield Outage(began, sample.ended, wrong_only)
            last_good, began, wrong_only = sample.ended, None, True
            continue
        wrong_only = wrong_only and sample.wrong
        if began is None:
            began = sample.at if last_good is None else last_good
    if began is not None and chosen and chosen[-1].ended - began > _GAP_SECONDS:
        yield Outage(began, chosen[-1].ended, wrong_only)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def _probe(url: str, file: Path) -> None:
    """Each request starts on time, however slow the ones before it are."""
    import httpx

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    parent = os.getppid()
    limits = httpx.Limits(max_connections=RATE * 2, max_keepalive_connections=RATE)
    # Every answer is written, however late it comes: the file is closed after the last one.
    with file.open("a", encoding="ascii", buffering=1) as out:
        async with (
            httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_SECONDS, limits=limits) as client,
            asyncio.TaskGroup() as group,
        ):
            prices = await _prices(client)
            tick = 0
            began = loop.time()
            while not stop.is_set() and os.getppid() == parent:
                group.create_task(_ask(client, _path(tick), prices, out))
                tick += 1
                wait = began + tick / RATE - loop.time()
                await asyncio.sleep(max(wait, 0))


def _path(tick: int) -> str:
    """Mostly orders, which are read from the database; each customer comes by in turn."""
    return f"/products/{1 + tick % 50}" if tick % 4 == 0 else f"/orders/{1 + tick % 97}"


async def _prices(client: Any) -> dict[str, Decimal]:
    """The price of each product that is asked for, before anything is broken."""
    import httpx

    paths = sorted({path for path in map(_path, range(200)) if path.startswith("/products/")})
    prices = {}
    for path in paths:
        with suppress(httpx.HTTPError, *_MALFORMED):
            prices[path] = Decimal((await client.get(path)).json()["price"])
    return prices


async def _ask(client: Any, path: str, prices: dict[str, Decimal], out: Any) -> None:
    import httpx

    at, clock = time.time(), time.monotonic()
    status, wrong = 0, False
    try:
        answer = await client.get(path)
        status = answer.status_code
        wrong = status == 200 and is_wrong(answer.content, prices.get(path))
    except httpx.HTTPError:
        status = 0
    sample = Sample(round(at, 4), round(time.monotonic() - clock, 4), path, status, wrong)
    out.write(json.dumps(asdict(sample)) + "\n")


#: What a user's program trips over in an answer that is not what it should be.
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


def is_wrong(content: bytes, price: Decimal | None) -> bool:
    """Whether a page says what is not so.

    An order (it has lines) is wrong when its total is not that of its lines; a product when its
    price is not ``price``, which is None where none is known. So is what cannot be read.
    """
    try:
        page = json.loads(content)
        if "lines" not in page:
            return price is not None and Decimal(page["price"]) != price
        total = sum(
            (Decimal(line["price"]) * line["quantity"] for line in page["lines"]),
            start=Decimal(0),
        )
        return Decimal(page["total"]) != total
    except _MALFORMED:
        return True


if __name__ == "__main__":
    asyncio.run(_probe(sys.argv[1], Path(sys.argv[2])))
