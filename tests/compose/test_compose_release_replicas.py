"""compose_release where a second container, or one less, would do harm: data, and crashes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.compose.images import docker
from tests.compose.stack import Stack
from tests.compose.test_compose_release import order
from tests.module_runner import RunModule

pytestmark = pytest.mark.compose

Images = Callable[..., dict[str, dict[str, str]]]


@pytest.mark.parametrize("strategy", ["recreate", "overlap"])
def test_replica_that_crashes_again_and_again_neither_hinders_it_nor_is_forgotten(
    stack: Stack, run_module: RunModule, images: Images, strategy: str
) -> None:
    """As in a bad release that does not crash everywhere."""
    stack.change("web", {"restart": "always"})
    stack.deploy(web="2.0.0")
    one, _other = stack.containers()["web"]
    docker("exec", one, "/bin/busybox", "sh", "-c", "echo 'raise SystemExit(1)' > /app/app.py")
    docker("restart", "--time", "0", one)
    deadline = time.monotonic() + 60
    while docker("inspect", "--format", "{{.State.Status}}", one).strip() != "restarting":
        assert time.monotonic() < deadline
        time.sleep(0.05)

    args = order(stack, images=images(web="1.0.0"), strategy=strategy)
    result = run_module("compose_release", args)

    assert result.get("changed"), result
    assert stack.images("web") == {"shop/web:1.0.0"}
    assert len(stack.containers()["web"]) == 2
    assert not run_module("compose_release", args)["changed"]


@pytest.mark.parametrize(
    "about",
    [
        pytest.param({"volumes": ["data:/data"]}, id="a volume"),
        pytest.param({"volumes": ["/data"]}, id="a volume without a name"),
        pytest.param({"volumes": ["./kept:/data"]}, id="a folder"),
    ],
)
def test_two_containers_never_write_to_the_same_place(
    stack: Stack, run_module: RunModule, images: Images, about: dict[str, Any]
) -> None:
    stack.change("worker", about)
    stack.deploy(worker="2.0.0")
    [old] = stack.containers()["worker"]
    docker("exec", old, "/bin/busybox", "touch", "/data/kept")
    began = time.time()
    args = order(stack, images=images(worker="1.0.0"), strategy="overlap")

    proved = run_module("compose_release", {**args, "state": "proved"})
    switched = run_module("compose_release", args)

    assert not proved.get("failed"), proved
    assert "worker: no second container was started beside it" in str(proved["warnings"])
    assert switched["changed"], switched
    assert "worker: recreated and not overlapped" in str(switched["warnings"])
    [new] = stack.containers()["worker"]
    assert docker("exec", new, "/bin/busybox", "ls", "/data").split() == ["kept"]
    happened = docker(
        "events", "--since", f"{began:.3f}", "--until", f"{time.time():.3f}",
        "--filter", f"label=com.docker.compose.project={stack.project}",
        "--filter", "event=start", "--filter", "event=die",
        "--format", "{{.Action}} {{.Actor.ID}}",
    )  # fmt: skip
    assert happened.splitlines() == [f"die {old}", f"start {new}"]


def test_two_containers_may_write_to_the_same_place_where_the_owner_says_so(
    stack: Stack, run_module: RunModule, images: Images
) -> None:
    stack.change("worker", {"volumes": ["data:/data"]})
    stack.deploy(worker="2.0.0")
    [old] = stack.containers()["worker"]
    args = order(
        stack,
        images=images(worker="1.0.0"),
        strategy="overlap",
        shared_volumes=["worker"],
        finish=0,
    )
    began = time.time()

    proved = run_module("compose_release", {**args, "state": "proved"})
    switched = run_module("compose_release", args)

    assert "keeps data" not in str([proved.get("warnings"), switched.get("warnings")])
    [new] = stack.containers()["worker"]
    happened = docker(
        "events", "--since", f"{began:.3f}", "--until", f"{time.time():.3f}",
        "--filter", f"label=com.docker.compose.project={stack.project}",
        "--filter", f"container={new}", "--filter", f"container={old}",
        "--filter", "event=start", "--filter", "event=die",
        "--format", "{{.Action}} {{.Actor.ID}}",
    )  # fmt: skip
    assert happened.splitlines() == [f"start {new}", f"die {old}"]
    assert switched["undo"]["args"]["shared_volumes"] == ["worker"]
