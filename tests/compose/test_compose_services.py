"""compose_services: services are started, stopped and restarted, and waited for."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.compose.images import docker
from tests.compose.stack import Stack
from tests.module_runner import RunModule

pytestmark = pytest.mark.compose


def wish(stack: Stack, services: list[str], state: str, **more: Any) -> dict[str, Any]:
    return {"project_src": str(stack.folder), "services": services, "state": state, **more}


def test_service_is_stopped_and_started_again_as_it_was(
    stack: Stack, run_module: RunModule
) -> None:
    before = stack.containers()
    args = wish(stack, ["api"], "stopped")
    assert run_module("compose_services", args, check=True)["changes"] == ["api"]
    assert stack.containers() == before

    stopped = run_module("compose_services", args)
    assert stopped["changed"]
    assert "api" not in stack.containers()
    assert not run_module("compose_services", args)["changed"]

    # The owner has written another version down meanwhile: that is no reason to run it.
    stack.variables["API"] = "2.0.0"
    stack.write()
    back = run_module("compose_services", stopped["undo"]["args"])
    assert back["changed"]
    assert stack.containers() == before
    assert stack.images("api") == {"shop/api:1.0.0"}


def test_restart_keeps_the_containers_and_waits_for_them(
    stack: Stack, run_module: RunModule
) -> None:
    before = stack.containers()
    began = docker("inspect", "--format", "{{.State.StartedAt}}", *before["web"])
    result = run_module("compose_services", wish(stack, ["web"], "restarted"))
    assert result["changes"] == ["web"]
    assert result["undo"] is None
    assert stack.containers() == before
    assert docker("inspect", "--format", "{{.State.StartedAt}}", *before["web"]) != began


def test_next_service_is_started_only_when_the_one_before_is_healthy(
    stack: Stack, run_module: RunModule
) -> None:
    stack.deploy(api="4.0.0")
    stack.compose("stop", "api", "worker")

    result = run_module("compose_services", wish(stack, ["api", "worker"], "started", timeout=3))

    assert f"container {stack.project}-api-" in result["msg"]
    assert "worker" not in stack.containers()


def test_service_that_does_not_get_healthy_is_named_with_its_reason(
    stack: Stack, run_module: RunModule
) -> None:
    stack.deploy(api="4.0.0")
    result = run_module("compose_services", wish(stack, ["api"], "restarted", timeout=3))
    assert result["failed"]
    assert f"container {stack.project}-api-" in result["msg"]
    assert "was not healthy within 3 s" in result["msg"]


@pytest.mark.parametrize("restart", ["no", "always"])
@pytest.mark.parametrize("state", ["started", "restarted", "recreated"])
def test_service_that_crashes_has_not_started(
    stack: Stack, run_module: RunModule, restart: str, state: str
) -> None:
    stack.change("worker", {"restart": restart, "image": "shop/worker:3.0.0"})
    stack.compose("up", "--detach", "--no-deps", "worker")
    wait_for_end(stack, "worker")

    more = {"override": str(stack.host / "override.yml")} if state == "recreated" else {}
    result = run_module("compose_services", wish(stack, ["worker"], state, **more))

    assert result.get("failed"), result
    assert "no module named shop.settings" in result["msg"]


def test_service_that_the_engine_starts_again_and_again_is_stopped(
    stack: Stack, run_module: RunModule
) -> None:
    stack.change("worker", {"restart": "always", "image": "shop/worker:3.0.0"})
    stack.compose("up", "--detach", "--no-deps", "worker")
    wait_for_end(stack, "worker")

    result = run_module("compose_services", wish(stack, ["worker"], "stopped"))

    assert result["changes"] == ["worker"]
    assert states(stack, "worker") == {"exited"}
    assert not run_module("compose_services", wish(stack, ["worker"], "stopped"))["changed"]


def states(stack: Stack, service: str) -> set[str]:
    """What the Engine says that its containers are, also those that do not run."""
    mine = ("--all", "--filter", f"label=com.docker.compose.project={stack.project}")
    its = ("--filter", f"label=com.docker.compose.service={service}", "--format", "{{.State}}")
    return set(docker("ps", *mine, *its).split())


def wait_for_end(stack: Stack, service: str) -> None:
    """Of one that is started again, when the Engine waits for seconds before it does."""
    mine = f"label=com.docker.compose.project={stack.project}"
    its = f"label=com.docker.compose.service={service}"
    [container] = docker("ps", "--all", "--quiet", "--filter", mine, "--filter", its).split()
    deadline = time.monotonic() + 60
    ended = {"exited 0", "restarting 5", "restarting 6", "restarting 7"}
    about = "{{.State.Status}} {{.RestartCount}}"
    while docker("inspect", "--format", about, container).strip() not in ended:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_container_that_listens_nowhere_is_ready_by_its_own_check(
    stack: Stack, run_module: RunModule
) -> None:
    check = "    healthcheck: {test: [CMD, /bin/busybox, 'true'], interval: 1h}\n"
    stack.compose_file = stack.compose_file.replace("  store:\n", f"  store:\n{check}")
    stack.write()
    stack.deploy()

    result = run_module("compose_services", wish(stack, ["api", "store"], "restarted", timeout=30))

    assert result["changes"] == ["api", "store"]


def test_name_that_is_no_service_is_refused(stack: Stack, run_module: RunModule) -> None:
    before = stack.containers()
    result = run_module("compose_services", wish(stack, ["apii"], "stopped"))
    assert "the Compose file has no service apii, only api" in result["msg"]
    assert stack.containers() == before


def test_recreated_containers_have_the_environment_of_now_and_the_image_that_ran(
    stack: Stack, run_module: RunModule
) -> None:
    limits = "    env_file: limits.env\n"
    stack.compose_file = stack.compose_file.replace("  worker:\n", f"{limits}  worker:\n")
    stack.write()
    (stack.folder / "limits.env").write_text("POOL_MAX=50\n")
    stack.deploy()
    others = stack.containers("proxy", "web", "worker", "store")
    before = stack.containers("api")
    # The owner has written another version down meanwhile: that is no reason to run it.
    stack.variables["API"] = "2.0.0"
    stack.write()
    (stack.folder / "limits.env").write_text("POOL_MAX=10\n")
    override = str(stack.host / "shop.override.yml")
    args = wish(stack, ["api"], "recreated", override=override, timeout=40)

    assert run_module("compose_services", args, check=True)["changes"] == ["api"]
    assert stack.containers("api") == before
    result = run_module("compose_services", args)

    assert result["changes"] == ["api"], result
    assert result["undo"] is None
    assert "POOL_MAX=10" in stack.environment("api")
    assert stack.images("api") == {"shop/api:1.0.0"}
    assert stack.containers("proxy", "web", "worker", "store") == others
    files = ("--file", f"{stack.folder}/docker-compose.yml", "--file", override)
    stack.compose(*files, "up", "--detach", "--no-deps", "api")
    assert stack.images("api") == {"shop/api:1.0.0"}


def test_recreated_container_that_does_not_get_healthy_is_named_with_what_runs(
    stack: Stack, run_module: RunModule
) -> None:
    stack.deploy(api="4.0.0")
    override = str(stack.host / "shop.override.yml")

    result = run_module(
        "compose_services", wish(stack, ["api"], "recreated", override=override, timeout=3)
    )

    assert "was not healthy within 3 s" in result["msg"]
    assert "Now api runs shop/api:4.0.0" in result["msg"]
