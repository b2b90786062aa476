"""A breaker of pybreaker in a process of its own, which a test tells when to call."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

_CLIENT = """
import json, sys, time, pybreaker, redis
options = json.loads(sys.argv[1])
if options.pop("cluster"):
    client = redis.cluster.RedisCluster(host="127.0.0.1", port=options.pop("port"))
    storage = {"cluster_mode": True}
else:
    client, storage = redis.Redis(port=options.pop("port")), {}
breaker = pybreaker.CircuitBreaker(
    fail_max=3,
    reset_timeout=options["reset_timeout"],
    state_storage=pybreaker.CircuitRedisStorage(
        pybreaker.STATE_CLOSED, client, namespace=options["namespace"], **storage
    ),
)
def act(seconds, fails):
    time.sleep(seconds)
    if fails:
        raise RuntimeError("the service failed")
for line in sys.stdin:
    try:
        breaker.call(act, *json.loads(line))
        print("ok", flush=True)
    except pybreaker.CircuitBreakerError:
        print("refused", flush=True)
    except RuntimeError:
        print("failed", flush=True)
"""


@dataclass(frozen=True)
class BreakerClient:
    """A pybreaker breaker in a process of its own."""

    process: subprocess.Popen[str]

    def begin(self, seconds: float = 0, *, fails: bool = False) -> None:
        """Begin a call that takes so long, and then fails or not."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([seconds, fails]) + "\n")
        self.process.stdin.flush()

    def outcome(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def call(self, *, fails: bool = False) -> str:
        """``ok``, ``failed`` (by the service) or ``refused`` (by the breaker)."""
        self.begin(fails=fails)
        return self.outcome()


StartClient = Callable[..., BreakerClient]


@pytest.fixture
def start_client() -> Iterator[StartClient]:
    """``start_client(port, namespace, reset_timeout=…, cluster=…)``."""
    processes = []

    def start(
        port: int, namespace: str | None, *, reset_timeout: float = 0.3, cluster: bool = False
    ) -> BreakerClient:
        options = {
            "port": port,
            "namespace": namespace,
            "reset_timeout": reset_timeout,
            "cluster": cluster,
        }
        process = subprocess.Popen(
            [sys.executable, "-c", _CLIENT, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return BreakerClient(process)

    yield start
    for process in processes:
        process.kill()
        process.communicate()
