"""From Enter to healthy on Docker Compose: ours, and the shell scripts of a runbook.

    python benchmarks/rollback.py [ROUNDS]

The same project, the same bad release: orders fail, everything else works. How long it takes from
Enter until the way itself knows that the system is healthy, how long orders fail meanwhile, and for
how long users are without what had worked all the time, which is what the rollback itself costs
them. A script knows it when it ends. Ours does when its gate has passed in Verify; after it the run
goes on to see that it holds (for ``verify_hold`` seconds, 1 here), and to close the incident.

The scripts are those of the runbook for an emergency and for a gradual rollback, with three
changes: they run without a question, the good version is written into ``.env`` first, and the
gradual one says ``up --detach --no-deps`` where the runbook says ``restart``, since a restart goes
on with the bad image.

The scripts wait until Docker calls the containers healthy, which it does when their health check
has run for the first time, after its interval: 5 seconds here, and then Docker's default of 30.
Ours runs the command of the health check itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.compose import engine
from tests.compose.environment import Environment, Run
from tests.compose.load import Load
from tests.compose.stack import COMPOSE_FILE, Stack, free_port

#: Said to the process that has an Engine.
_HERE = "--engine-answers"
_SERVICES = ("web", "api", "worker")
_GOOD, _BAD = "1.0.0", "2.1.0"
_ORDERS = "/orders"
_INTERVALS = (5, 30)

_HEALTHY = """docker ps --format '{{.Names}} {{.Status}}' | grep healthy"""

_EMERGENCY = f"""\
docker compose down
docker compose up --detach
timeout 300 bash -c "
  while [[ \\$({_HEALTHY} | grep -c $PROJECT) -lt 4 ]]; do sleep 10; done"
"""

_GRADUAL = f"""\
for service in web api worker; do
  docker compose up --detach --no-deps $service
  timeout 60 bash -c "
    while ! {_HEALTHY} | grep -q $PROJECT-$service; do sleep 5; done" || exit 1
  sleep 10
done
"""


@dataclass(frozen=True)
class Figures:
    """Of one rollback, in seconds."""

    command: float
    healthy: float
    orders_back: float
    outage: float
    #: The longest that a user waited for a right answer meanwhile.
    slowest: float


def main() -> int:
    rounds = sys.argv[1] if len(sys.argv) > 1 else "3"
    if _HERE not in sys.argv:
        os.chdir(Path(__file__).resolve().parents[1])
        return engine.run(sys.executable, __file__, rounds, _HERE)
    for interval in _INTERVALS:
        with tempfile.TemporaryDirectory(prefix="rollback-bench-") as name:
            folder = Path(name)
            stack = Stack(folder / "shop", free_port(), _compose_file(interval))
            stack.folder.mkdir()
            try:
                stack.reset()
                shop = Environment(stack, folder, _variables(stack))
                shop.write()
                _run(shop, "mark-good")
                print(f"health checks every {interval} s")
                _measure(stack, shop, int(rounds))
            finally:
                stack.down()
    return 0


def _compose_file(interval: int) -> str:
    text = COMPOSE_FILE
    for service in _SERVICES:
        text = text.replace(
            f"  {service}:\n", f"  {service}:\n    healthcheck: {{interval: {interval}s}}\n"
        )
    return text


def _variables(stack: Stack) -> dict[str, Any]:
    url = f"http://127.0.0.1:{stack.port}"
    return {
        "release_services": list(_SERVICES),
        "release_order": list(_SERVICES),
        "release_checks": {
            "web": [{"name": "orders", "http": {"url": f"{url}{_ORDERS}", "status": [200]}}],
            "api": [{"name": "api", "http": {"url": f"{url}/api/", "status": [200]}}],
        },
        # This project's proxy is a container that only looks names up, every two seconds, as nginx
        # does with valid=1s.
        "release_compose_drain": 0,
        "release_compose_remember": 3,
        # Its requests take 30 ms.
        "release_compose_finish": 1,
        "release_pause": 10,
        "verify_deadline": 90,
    }


def _measure(stack: Stack, shop: Environment, rounds: int) -> None:
    ways: dict[str, Callable[[], float]] = {
        "the runbook's emergency script": lambda: _script(stack, _EMERGENCY),
        "application, overlap": lambda: _rolled_back(shop, "application", "overlap"),
        "application, recreate": lambda: _rolled_back(shop, "application", "recreate"),
        "the runbook's gradual script": lambda: _script(stack, _GRADUAL),
        "gradual, overlap": lambda: _rolled_back(shop, "gradual", "overlap"),
    }
    found: dict[str, list[Figures]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, act in ways.items():
            found[name].append(_once(stack, act))
    print(f"three services, median of {rounds} rounds, seconds")
    columns = ("healthy", "command", "orders_back", "outage", "slowest")
    print(f"{'':32}" + "".join(f"{name.replace('_', ' '):>13}" for name in columns), flush=True)
    for name, each in found.items():
        medians = (median(getattr(figures, what) for figures in each) for what in columns)
        print(f"{name:32}" + "".join(f"{figure:13.2f}" for figure in medians))


def _once(stack: Stack, act: Callable[[], float]) -> Figures:
    """The bad release is deployed, and then rolled back, while users ask.

    ``act`` returns when it knew that the system was healthy, in seconds since the epoch.
    """
    stack.deploy(**dict.fromkeys(_SERVICES, _BAD))
    stack.wait_for(500, _ORDERS)
    stack.wait_for(200, "/")
    with Load(stack, "/") as others, Load(stack, _ORDERS, users=2) as orders:
        time.sleep(1)
        entered, clock = time.time(), time.monotonic()
        healthy = act() - entered
        command = time.monotonic() - clock
        time.sleep(2)
    failed = [each.ended for each in orders.samples() if each.status != 200]
    served = [each.seconds for each in others.samples() if each.good and each.at > entered]
    return Figures(
        command,
        healthy,
        max(failed) - entered,
        others.seen(since=entered).seconds,
        max(served, default=0),
    )


def _script(stack: Stack, text: str) -> float:
    """As the operator of the runbook: the last known good configuration, then the script."""
    stack.variables.update({name.upper(): _GOOD for name in _SERVICES})
    stack.write()
    environment = {**os.environ, "PROJECT": stack.project}
    subprocess.run(
        ["bash", "-c", text], cwd=stack.folder, env=environment, check=True, capture_output=True
    )
    return time.time()


def _rolled_back(shop: Environment, scenario: str, strategy: str) -> float:
    """The moment at which the gate had passed, as the record has it."""
    shop.variables["release_compose_strategy"] = strategy
    shop.write()
    incident = shop.state.parent / "state" / "incidents" / _run(shop, scenario).incident
    events = map(json.loads, (incident / "events.jsonl").read_text().splitlines())
    passed = (
        each["time"]
        for each in events
        if each["type"] == "phase.finished" and each["data"]["name"] == "Verify"
    )
    return datetime.fromisoformat(next(passed)).timestamp()


def _run(shop: Environment, scenario: str) -> Run:
    done = shop.run(scenario, "--reason", "benchmark", "--yes")
    if done.code != 0:
        raise RuntimeError(done.output)
    return done


if __name__ == "__main__":
    sys.exit(main())
