"""A pattern flush of half of all keys: redis_flush beside the usual ways.

Run it as ``python benchmarks/redis_flush.py``. Keys have 100 bytes. Times are those of whole
processes, start included, as a person waits for them. ``stall`` is how long another client had to
wait for an answer, which includes what the machine's scheduler adds: see the line ``idle``.
With ``--round-trip-ms`` the server is that far away, for the flushing client only.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis
from valkey_server import Stall, at_a_distance, run_module, running_valkey, watched_stall

_LOOP = """
import sys, redis
client = redis.Redis(port=int(sys.argv[1]))
cursor = 0
while True:
    cursor, keys = client.scan(cursor, match="page:*", count=1000)
    if keys:
        client.unlink(*keys)
    if cursor == 0:
        break
"""

# In the server, since a client takes most of a minute for millions of keys.
_FILL = """
local value = string.rep('x', 100)
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
    local kind = number % 2 == 1 and 'page' or 'user'
    redis.call('SET', string.format('%s:%09d', kind, number), value)
end
"""
_FILLED_AT_ONCE = 50_000


@dataclass(frozen=True)
class Measurement:
    """Seconds, and the longest and the 999th of 1000 waits of another client in ms."""

    seconds: float
    worst: float
    usual: float


def fill(port: int, scale: int) -> None:
    """``scale`` keys, every other one of the pattern."""
    client = redis.Redis(port=port, socket_timeout=600)
    client.flushall()
    script = client.register_script(_FILL)
    for first in range(0, scale, _FILLED_AT_ONCE):
        script(args=[first, min(first + _FILLED_AT_ONCE, scale) - 1])


def ours(port: int) -> None:
    options = {"login_host": "127.0.0.1", "login_port": port, "patterns": ["page:*"]}
    run_module("redis_flush", options)


def ours_with_restore_point(port: int) -> None:
    options = {"login_host": "127.0.0.1", "login_port": port, "patterns": ["page:*"]}
    path = f"/var/tmp/benchmark-{time.time_ns()}.jsonl"
    try:
        run_module("redis_flush", {**options, "restore_point": path})
    finally:
        subprocess.run(["rm", "-f", path], check=True)


def loop(port: int) -> None:
    subprocess.run([sys.executable, "-c", _LOOP, str(port)], check=True)


def shell(port: int) -> None:
    cli = f"redis-cli -p {port}"
    command = f"{cli} --scan --pattern 'page:*' | xargs {cli} del > /dev/null"
    subprocess.run(["sh", "-c", command], check=True)


def flush_sync(port: int) -> None:
    redis.Redis(port=port, socket_timeout=600).execute_command("FLUSHDB", "SYNC")


def idle(_port: int) -> None:
    time.sleep(3)


def measure(port: int, act: Callable[[int], None], round_trip: float) -> Measurement:
    stall: Stall
    distance = at_a_distance(port, round_trip) if round_trip else contextlib.nullcontext(port)
    with distance as reached, watched_stall(port) as stall:
        begun = time.monotonic()
        act(reached)
        seconds = time.monotonic() - begun
    return Measurement(seconds, stall.worst, stall.usual)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=int, default=2_000_000, help="keys in all")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--round-trip-ms", type=float, default=0.0)
    arguments = parser.parse_args()
    ways: dict[str, Callable[[int], None]] = {
        "redis_flush": ours,
        "redis_flush, restore point": ours_with_restore_point,
        "redis-py loop, COUNT 1000": loop,
        "redis-cli --scan | xargs del": shell,
        "FLUSHDB SYNC": flush_sync,
        "idle": idle,
    }
    if shutil.which("redis-cli") is None:
        ways.pop("redis-cli --scan | xargs del")
    medians = {}
    print(f"{arguments.scale // 2} of {arguments.scale} keys, median of {arguments.runs} runs")
    print(f"{'':30} {'seconds':>8} {'ratio':>6} {'worst stall':>12} {'p99.9 stall':>12}")
    with running_valkey() as port:
        for name, act in ways.items():
            results = []
            for _run in range(arguments.runs):
                fill(port, arguments.scale)
                results.append(measure(port, act, arguments.round_trip_ms / 1000))
            medians[name] = statistics.median(each.seconds for each in results)
            ratio = medians[name] / medians["redis_flush"]
            worst = statistics.median(each.worst for each in results)
            usual = statistics.median(each.usual for each in results)
            print(
                f"{name:30} {medians[name]:8.2f} {ratio:6.2f} {worst:9.1f} ms {usual:9.1f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
