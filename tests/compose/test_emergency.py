"""``emergency`` on a Compose project that has no database of ours."""

from __future__ import annotations

import time

import pytest

from tests.compose.conftest import MakeEnvironment
from tests.compose.images import docker
from tests.compose.stack import Stack

pytestmark = pytest.mark.compose

_WHY = ("--reason", "orders fail", "--yes")


def test_emergency_without_a_database_brings_the_last_good_release_back(
    stack: Stack, environment: MakeEnvironment
) -> None:
    shop = environment(stack, release_services=["web"], lacks=["database", "cache"])
    assert shop.run("releases", "mark-good", "--yes").code == 0
    stack.deploy(web="2.1.0")
    stack.wait_for(500)
    others = stack.containers("proxy", "api", "worker", "store")

    done = shop.run("emergency", *_WHY)

    assert done.code == 0, done.output
    assert "because release 2.1.0 runs, the last good one is 1.0.0" in done.output
    assert stack.get() == (200, "1.0.0")
    assert stack.images("web") == {"shop/web:1.0.0"}
    assert stack.containers("proxy", "api", "worker", "store") == others
    assert shop.run("incidents", "verify", done.incident).code == 0

    undone = shop.run("undo", done.incident, "--yes")

    assert undone.code == 5, undone.output
    assert stack.images("web") == {"shop/web:2.1.0"}


def test_full_without_a_database_is_refused_before_anything_is_changed(
    stack: Stack, environment: MakeEnvironment
) -> None:
    shop = environment(stack, release_services=["web"], lacks=["database"])
    before = stack.everything()

    refused = shop.run("full", *_WHY)

    assert refused.code == 3, refused.output
    assert "'database' matches none" in refused.output
    assert stack.everything() == before


def test_complete_failure_without_a_database_starts_what_there_is(
    stack: Stack, environment: MakeEnvironment
) -> None:
    shop = environment(
        stack,
        release_services=["web"],
        lacks=["database", "cache"],
        services_backend="compose",
        services_names=["store", "api", "web", "proxy"],
        services_checks=[
            {
                "name": "users see a page",
                "http": {"url": f"http://127.0.0.1:{stack.port}/", "status": [200]},
            }
        ],
    )
    before = stack.containers()
    stack.compose("stop", "proxy", "web")
    since = time.time()

    done = shop.run("complete-failure", *_WHY)

    assert done.code == 0, done.output
    assert stack.get() == (200, "1.0.0")
    assert stack.containers() == before
    began = started_since(stack, since)
    assert list(began) == ["store", "api", "web", "proxy"]
    # It has no health check, so it is looked at for so long before the next one is started.
    assert began["api"] - began["store"] >= 3


def started_since(stack: Stack, since: float) -> dict[str, float]:
    """When the first container of each service was started, in that order."""
    text = docker(
        "events", "--since", f"{since:.3f}", "--until", f"{time.time():.3f}",
        "--filter", "event=start", "--filter", f"label=com.docker.compose.project={stack.project}",
        "--format", '{{.TimeNano}} {{index .Actor.Attributes "com.docker.compose.service"}}',
    )  # fmt: skip
    began: dict[str, float] = {}
    for line in text.splitlines():
        nanoseconds, service = line.split()
        began.setdefault(service, int(nanoseconds) / 1e9)
    return began
