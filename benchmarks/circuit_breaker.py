"""From ``open`` to the first refused call: circuit_breaker beside a loop of pybreaker itself.

Run it as ``python benchmarks/circuit_breaker.py``. Every breaker has a client in this process that
calls without a pause; the time runs from the start of the module's process, start included.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable

import pybreaker
import redis
from valkey_server import run_module, running_valkey


def breakers(port: int, names: list[str]) -> dict[str, pybreaker.CircuitBreaker]:
    return {
        name: pybreaker.CircuitBreaker(
            reset_timeout=60,
            state_storage=pybreaker.CircuitRedisStorage(
                pybreaker.STATE_CLOSED, redis.Redis(port=port), namespace=name
            ),
        )
        for name in names
    }


def ours(port: int, _names: list[str]) -> None:
    options = {"login_host": "127.0.0.1", "login_port": port, "breakers": ["all"], "state": "open"}
    run_module("circuit_breaker", options)


def one_after_the_other(port: int, names: list[str]) -> None:
    """What a script with pybreaker would do. It holds for reset_timeout only."""
    for breaker in breakers(port, names).values():
        breaker.open()


def refused_after(port: int, names: list[str], act: Callable[[int, list[str]], None]) -> float:
    """Seconds until a call of every breaker was refused."""
    redis.Redis(port=port).flushall()
    clients = breakers(port, names)
    worker = threading.Thread(target=act, args=(port, names))
    begun = time.monotonic()
    worker.start()
    while clients:
        for name, breaker in list(clients.items()):
            try:
                breaker.call(time.monotonic)
            except pybreaker.CircuitBreakerError:
                del clients[name]
        time.sleep(0.001)
    taken = time.monotonic() - begun
    worker.join()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=int, default=200, help="breakers")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    ways = {"circuit_breaker, all": ours, "a loop of pybreaker's open()": one_after_the_other}
    print(f"until every breaker refuses, median of {arguments.runs} runs")
    print(f"{'':30} {'breakers':>8} {'seconds':>8} {'ratio':>6}")
    with running_valkey() as port:
        for number in (1, arguments.scale):
            names = [f"service-{index}" for index in range(number)]
            first = 0.0
            for label, act in ways.items():
                times = [refused_after(port, names, act) for _run in range(arguments.runs)]
                seconds = statistics.median(times)
                first = first or seconds
                print(f"{label:30} {number:8} {seconds:8.3f} {seconds / first:6.2f}", flush=True)


if __name__ == "__main__":
    main()
