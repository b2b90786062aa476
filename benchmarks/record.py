"""What the record costs: writing, syncing and verifying it, beside the usual way.

The usual way is what most programs do: ``json.dumps`` of each event, one line, flushed; no chain,
no redaction. Ours redacts (with known secrets), hashes, chains and shares the file with other
writers. Each measurement runs in a process of its own, so that the memory is its own.

    python benchmarks/record.py                      # 200,000 events
    python benchmarks/record.py --scale 1000000      # the figure for memory
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import itertools
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollback_playbook.events.model import Draft, timestamp
from rollback_playbook.record.folder import incident_folders
from rollback_playbook.record.incidents import create_incident
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.redaction import Redactor
from rollback_playbook.record.verification import verify

SECRETS = [f"canary-{number}-{number * 7919}" for number in range(20)]
HOSTS = 200
TASKS = ("Users get the maintenance answer", "Release is linked", "Breakers are open")


@dataclass(frozen=True)
class Measured:
    """Events a second by the clock and of processor time, making the events included in the
    latter; seconds within which 999 of 1,000 events were done; peak memory in MiB."""

    rate: float
    cpu_rate: float
    most: float = 0.0
    memory: float = 0.0


def events(count: int) -> Iterator[Draft]:
    """Finished tasks of a fleet: names that come again, values that never do."""
    for number in range(count):
        host = f"app{number % HOSTS}.example.net"
        yield Draft(
            type="task.finished",
            subject=host,
            time="2026-11-22T03:12:45.123456Z",
            counter=number + 1,
            data={
                "task": TASKS[number % len(TASKS)],
                "action": "sre.rollback.traffic",
                "phase": "Pause",
                "status": "changed",
                "seconds": 0.25 + number / 1e6,
                "result": {
                    "changed": True,
                    "before": {"state": "up", "connections": number},
                    "after": {"state": "paused", "connections": 0},
                    "elapsed": 0.2,
                    "msg": f"reloaded {host} in {number} ms, pid {number % 65_000}",
                },
            },
        )


def ours(path: Path, count: int) -> Iterator[float]:
    writer = create_incident(
        path / "incidents",
        scenario="benchmark",
        environment="none",
        keys=Keyring(path / "keys"),
        redaction=Redactor(SECRETS),
    )
    yield from _timed(events(count), writer.append_draft)
    writer.close()


def usual(path: Path, count: int) -> Iterator[float]:
    with (path / "usual.jsonl").open("w", encoding="utf-8") as file:

        def write(draft: Draft) -> None:
            event = {"type": draft.type, "subject": draft.subject, "data": draft.data}
            file.write(json.dumps({**event, "time": timestamp()}) + "\n")
            file.flush()

        yield from _timed(events(count), write)


def ours_synced(path: Path, count: int) -> Iterator[float]:
    with create_incident(
        path / "incidents",
        scenario="benchmark",
        environment="none",
        keys=Keyring(path / "keys"),
        redaction=Redactor(SECRETS),
    ) as writer:

        def write(draft: Draft) -> None:
            writer.append(draft.type, draft.data, subject=draft.subject, sync=True)

        yield from _timed(events(count), write)


def usual_synced(path: Path, count: int) -> Iterator[float]:
    with (path / "usual.jsonl").open("w", encoding="utf-8") as file:

        def write(draft: Draft) -> None:
            file.write(json.dumps({"type": draft.type, "data": draft.data}) + "\n")
            file.flush()
            os.fsync(file.fileno())

        yield from _timed(events(count), write)


def _timed(drafts: Iterator[Draft], write: Callable[[Draft], Any]) -> Iterator[float]:
    for draft in drafts:
        began = time.perf_counter()
        write(draft)
        yield time.perf_counter() - began


def writing(path: Path, count: int, way: Callable[[Path, int], Iterator[float]]) -> Measured:
    """The rate is the median of windows of events, since others may use the machine as well."""
    window = min(100, count)
    began = time.process_time()
    rates: list[float] = []
    tail: list[float] = []
    times = way(path, count)
    while part := list(itertools.islice(times, window)):
        rates.append(len(part) / sum(part))
        tail = heapq.nlargest(max(count // 1000, 1), [*tail, *part])
    cpu_rate = count / (time.process_time() - began)
    return Measured(statistics.median(rates), cpu_rate, tail[-1], _memory())


def verifying(path: Path, count: int, _way: object) -> Measured:
    (folder,) = incident_folders(path / "incidents")
    began, cpu_began = time.perf_counter(), time.process_time()
    found = verify(folder, Keyring(path / "keys"))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    if not found.intact or found.events != count + 1:
        raise SystemExit(f"the record did not verify: {found.findings}")
    return Measured(found.events / took, found.events / cpu, memory=_memory())


def parsing_and_hashing(path: Path, count: int, _way: object) -> Measured:
    """The usual way to verify a chain: read the JSON, write it anew, hash it."""
    (folder,) = incident_folders(path / "incidents")
    began, cpu_began = time.perf_counter(), time.process_time()
    with folder.events.open("rb") as file:
        for line in file:
            event = json.loads(line)
            event.pop("hash")
            hashlib.sha256(json.dumps(event, sort_keys=True).encode()).hexdigest()
    took, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    return Measured(count / took, count / cpu, memory=_memory())


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(measure: Callable[..., Measured], *arguments: Any) -> Measured:
    """In a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def best(runs: int, count: int, kind: Callable[..., Measured], way: Any) -> Measured:
    """The medians of some runs; the worst memory."""
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(dir=_folder()) as name:
            found.append(apart(kind, Path(name), count, way))
    return _together(found)


def best_verifying(runs: int, count: int, kind: Callable[..., Measured]) -> Measured:
    with tempfile.TemporaryDirectory(dir=_folder()) as name:
        apart(writing, Path(name), count, ours)
        return _together([apart(kind, Path(name), count, None) for _ in range(runs)])


def _together(found: list[Measured]) -> Measured:
    return Measured(
        rate=statistics.median(each.rate for each in found),
        cpu_rate=statistics.median(each.cpu_rate for each in found),
        most=statistics.median(each.most for each in found),
        memory=max(each.memory for each in found),
    )


def _folder() -> str:
    """Not in memory where it can be helped: a record is on a disk."""
    return os.environ.get("TMPDIR", "/var/tmp")


def row(name: str, mine: Measured, theirs: Measured, target: str) -> None:
    ratio = theirs.cpu_rate / mine.cpu_rate
    print(
        f"{name:<16} {mine.rate:>9,.0f} {mine.cpu_rate:>10,.0f} {theirs.rate:>9,.0f}"
        f" {theirs.cpu_rate:>10,.0f} {ratio:>6.2f} x"
        f" {mine.most * 1000:>9.2f} ms {mine.memory:>7.0f} MiB   {target}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=int, default=200_000, help="events to write")
    parser.add_argument("--synced", type=int, default=300, help="events to write with fsync")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {options.scale:,} events, {options.runs} runs\n")
    print(
        f"{'':<16} {'ours/s':>9} {'CPU':>10} {'usual/s':>9} {'CPU':>10} {'cost':>8}"
        f" {'99.9 %':>12} {'memory':>11}"
    )
    runs, scale = options.runs, options.scale
    row(
        "write, flushed",
        best(runs, scale, writing, ours),
        best(runs, scale, writing, usual),
        ">= 20,000/s, <= 1 ms, <= 150 MB",
    )
    row(
        "write, fsynced",
        best(runs, options.synced, writing, ours_synced),
        best(runs, options.synced, writing, usual_synced),
        "",
    )
    row(
        "verify",
        best_verifying(runs, scale, verifying),
        best_verifying(runs, scale, parsing_and_hashing),
        ">= 100,000/s",
    )


if __name__ == "__main__":
    main()
