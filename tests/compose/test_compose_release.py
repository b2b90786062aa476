"""compose_release on a real Engine: what it changes, what it leaves alone, what it refuses."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.compose.images import docker
from tests.compose.load import Load
from tests.compose.stack import Stack, filtered
from tests.module_runner import RunModule, start_module

pytestmark = pytest.mark.compose

Images = Callable[..., dict[str, dict[str, str]]]


def order(stack: Stack, **more: Any) -> dict[str, Any]:
    return {
        "project_src": str(stack.folder),
        "override": str(stack.host / "shop.override.yml"),
        "timeout": 60,
        **more,
    }


def test_bad_release_goes_back_and_nothing_else_is_touched(
    stack: Stack, run_module: RunModule, images: Images
) -> None:
    stack.deploy(web="2.0.0")
    stack.wait_for(500)
    files, others = stack.digest(), stack.containers("proxy", "api", "worker", "store")
    args = order(stack, images=images(web="1.0.0"))
    predicted = run_module("compose_release", args, check=True)
    assert predicted["changed"]
    assert stack.images("web") == {"shop/web:2.0.0"}
    result = run_module("compose_release", args)
    assert result["changed"]
    assert result["changes"] == ["web"]
    stack.wait_for(200)
    assert stack.images("web") == {"shop/web:1.0.0"}
    assert len(stack.containers()["web"]) == 2
    assert stack.containers("proxy", "api", "worker", "store") == others
    assert stack.digest() == files
    assert result["undo"] == predicted["undo"]

    again = run_module("compose_release", args)
    assert not again["changed"]
    assert stack.containers() == {**others, **stack.containers("web")}

    back = run_module("compose_release", result["undo"]["args"])
    assert back["changed"]
    assert stack.images("web") == {"shop/web:2.0.0"}


def test_overlap_leaves_users_nothing_to_notice(
    stack: Stack, run_module: RunModule, images: Images
) -> None:
    """From one good release to another, so that every failed request would be ours.

    It takes seconds to listen, and the proxy has its address from the first moment on. The old ones
    do not stay for it: who connects to their addresses is led to the new ones.
    """
    remember = 4
    args = order(
        stack, images=images(web="1.2.0"), strategy="overlap", drain=0, finish=1, remember=remember
    )
    with Load(stack) as load:
        result = run_module("compose_release", args)
        # For as long as nobody who remembers the old ones may find that they do not answer.
        time.sleep(remember + 2)
    assert result["changed"]
    assert stack.images("web") == {"shop/web:1.2.0"}
    assert len(stack.containers()["web"]) == 2
    assert load.seen().requests > 100
    # 502 would be a container that was taken away while nginx still asked it.
    assert load.faults == [], stack.compose("logs", "--timestamps", "proxy")
    assert result["undo"]["args"]["finish"] == 1
    assert result["undo"]["args"]["remember"] == remember
    assert "warnings" not in result
    # By now none of these holds any more.
    ends = [re.findall(r"--datestop (\S+)", line) for line in stack.led_away()]
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    assert ends
    assert all(len(each) == 1 and each[0] < now for each in ends), stack.led_away()
    assert not run_module("compose_release", args)["changed"]


def test_program_that_asks_one_address_and_no_other_gets_its_answer_all_the_time(
    stack: Stack, images: Images
) -> None:
    """It would find a new container that does not listen yet, or an old one that is gone."""
    old = set(stack.addresses("web"))
    args = order(
        stack, images=images(web="1.2.0"), strategy="overlap", drain=0, finish=1, remember=30
    )
    process = start_module("compose_release", args)
    wait_until_led(stack, process)
    new = set(stack.addresses("web")) - old
    assert len(new) == 2
    early = [stack.asked_from("store", f"http://{each}:8000/") for each in new]
    process.communicate(timeout=60)
    assert process.returncode == 0
    late = [stack.asked_from("store", f"http://{each}:8000/") for each in (*old, *new)]
    assert set(stack.addresses("web")) == new
    assert [json.loads(each)["version"] for each in early] == ["1.0.0"] * 2
    assert [json.loads(each)["version"] for each in late] == ["1.2.0"] * 4


def test_nobody_is_led_away_from_a_service_that_is_recreated_after_others_have_overlapped(
    stack: Stack, run_module: RunModule, images: Images
) -> None:
    """It may get the address of a container that has just gone."""
    stack.compose_file = stack.compose_file.replace(
        "image: shop/worker", "container_name: ${COMPOSE_PROJECT_NAME}-only\n    image: shop/worker"
    )
    stack.write()
    stack.deploy(worker="1.0.0")
    args = order(stack, images=images(web="1.1.0", worker="1.1.0"), strategy="overlap", drain=0)
    assert run_module("compose_release", args)["changed"]
    assert stack.images("web") == {"shop/web:1.1.0"}
    assert stack.images("worker") == {"shop/worker:1.1.0"}
    assert stack.led_away() == []


def test_target_that_never_turns_healthy_is_not_shown_to_users(
    stack: Stack, run_module: RunModule, images: Images
) -> None:
    """It listens, and all of its answers are faults."""
    args = order(
        stack, images=images(web="4.0.0"), strategy="overlap", timeout=6, drain=0, remember=3
    )
    with Load(stack) as load:
        result = run_module("compose_release", args)
        time.sleep(5)
    assert "was not healthy within 6 s" in result["msg"]
    assert load.seen().requests > 100
    assert load.faults == [], stack.compose("logs", "--timestamps", "proxy")


def test_container_that_asks_itself_by_its_own_address_gets_its_own_answer(
    stack: Stack, run_module: RunModule, images: Images
) -> None:
    """Otherwise an old container would answer that the new one is healthy."""
    own = (
        "healthcheck: {test: ['CMD-SHELL', "
        "'/bin/busybox wget -q -O /dev/null http://$$(/bin/busybox hostname -i):8000/health']}"
    )
    stack.compose_file = stack.compose_file.replace(
        "image: shop/web", f"{own}\n    image: shop/web"
    )
    stack.write()
    stack.deploy(web="1.0.0")
    stack.wait_for(200)
    broken = order(stack, images=images(web="4.0.0"), strategy="overlap", timeout=5, drain=0)
    old = set(stack.addresses("web"))
    led: set[str] = set()
    process = start_module("compose_release", broken)
    while process.poll() is None:
        led |= {line.split()[3].partition("/")[0] for line in stack.led_away("proxy")}
        time.sleep(0.1)
    assert "was not healthy within 5 s" in process.communicate()[0]
    assert len(led) == 2
    assert not led & old, "users were led to it"
    good = order(stack, images=images(web="1.1.0"), strategy="overlap", drain=0)
    assert run_module("compose_release", good)["changed"]


def test_killed_while_others_are_led_away_it_ends_soon_and_the_next_run_takes_it_back(
    stack: Stack, run_module: RunModule, images: Images
) -> None:
    """A container that gets one of these addresses later must be reached."""
    args = order(stack, images=images(web="1.1.0"), strategy="overlap", drain=10)
    process = start_module("compose_release", args)
    wait_until_led(stack, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 20))
    (ends,) = zip(
        *(re.findall(r"--datestop (\S+)", line) for line in stack.led_away()), strict=True
    )
    assert max(ends) < soon

    result = run_module("compose_release", order(stack, images=images(web="1.0.0")))
    assert not result.get("failed"), result
    assert stack.led_away() == []
    stack.wait_for(200)


def test_host_without_a_packet_filter_is_told_what_users_may_notice(
    stack: Stack,
    run_module: RunModule,
    images: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for program in ("docker", "nsenter"):
        (tmp_path / program).symlink_to(shutil.which(program) or program)
    monkeypatch.setenv("PATH", str(tmp_path))
    args = order(
        stack, images=images(web="1.1.0"), strategy="overlap", drain=0, finish=0, remember=1
    )
    result = run_module("compose_release", args)
    monkeypatch.undo()
    assert stack.images("web") == {"shop/web:1.1.0"}
    said = "proxies could not be led away from the old containers (nsenter iptables-restore: "
    assert said in json.dumps(result["warnings"])


def wait_until_led(stack: Stack, process: subprocess.Popen[str]) -> None:
    """Until the rules of a run are there; those that an earlier one has left do not count."""
    earlier, deadline = set(stack.led_away()), time.monotonic() + 60
    while not all(set(stack.led_away(each)) - earlier for each in ("proxy", "store")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("labels", "more"),
    [
        pytest.param("{traefik.enable: 'true'}", {}, id="labels tell"),
        pytest.param("{}", {"wait_healthy": True}, id="it is asked for"),
    ],
)
def test_old_containers_stay_until_the_engine_calls_the_new_ones_healthy_where_proxies_ask_it(
    stack: Stack, run_module: RunModule, images: Images, labels: str, more: dict[str, Any]
) -> None:
    """It does so after an interval of five seconds; they answer long before."""
    stack.compose_file = stack.compose_file.replace(
        "image: shop/web", f"labels: {labels}\n    image: shop/web"
    )
    stack.write()
    stack.deploy(web="1.0.0")
    stack.wait_for(200)
    args = order(stack, images=images(web="1.1.0"), strategy="overlap", drain=0, **more)
    result = run_module("compose_release", args)
    assert result["changed"], result
    assert stack.images("web") == {"shop/web:1.1.0"}
    assert stack.health("web") == ["healthy", "healthy"]


def test_new_containers_that_are_healthy_once_and_no_more_are_taken_away(
    stack: Stack, run_module: RunModule, images: Images
) -> None:
    once = "healthcheck: {test: ['CMD-SHELL', 'test ! -e /tmp/asked && : >/tmp/asked']}"
    stack.compose_file = stack.compose_file.replace(
        "image: shop/web", f"{once}\n    image: shop/web"
    )
    stack.write()
    stack.deploy(web="1.0.0")
    stack.wait_for(200)
    before = stack.everything()
    args = order(stack, images=images(web="1.1.0"), strategy="overlap", drain=1, timeout=5)
    result = run_module("compose_release", args)
    assert result["failed"]
    assert "was not healthy within 5 s" in result["msg"]
    assert sorted(stack.everything()) == sorted(before)
    assert stack.get() == (200, "1.0.0")


@pytest.mark.parametrize("mode", ["host", "service:store"])
def test_packet_filter_of_the_host_is_left_alone_for_a_container_in_its_network(
    stack: Stack, run_module: RunModule, images: Images, mode: str
) -> None:
    stack.compose_file = stack.compose_file.replace(
        "image: shop/worker", f"network_mode: {mode}\n    image: shop/worker"
    )
    stack.write()
    stack.deploy(worker="1.0.0")
    args = order(stack, images=images(worker="1.1.0"), strategy="overlap", drain=1)
    result = run_module("compose_release", args)
    assert result["changed"], result
    assert stack.images("worker") == {"shop/worker:1.1.0"}
    for pid in ("self", *stack.pids("store")):
        rules = filtered(pid, "INPUT") + filtered("self", "OUTPUT", "nat")
        assert not [line for line in rules if "rollback-playbook" in line]


@pytest.mark.parametrize(
    ("version", "seconds", "says"),
    [
        pytest.param("3.0.0", 60, "exit code 3: no module named shop.settings", id="it crashes"),
        pytest.param("4.0.0", 6, "was not healthy within 6 s", id="it never turns healthy"),
    ],
)
def test_broken_target_never_takes_the_place_of_what_runs(
    stack: Stack, run_module: RunModule, images: Images, version: str, seconds: int, says: str
) -> None:
    before, everything = stack.containers(), sorted(stack.everything())
    for how in ({"state": "proved"}, {"strategy": "overlap"}):
        args = order(stack, images=images(web=version), **{**how, "timeout": seconds})
        result = run_module("compose_release", args)
        assert result["failed"]
        assert says in result["msg"]
        assert stack.containers() == before
        assert sorted(stack.everything()) == everything
        assert stack.get()[0] == 200


def test_trial_leaves_nothing_behind(stack: Stack, run_module: RunModule, images: Images) -> None:
    before = sorted(stack.everything())
    args = order(stack, images=images(web="1.1.0", api="1.1.0"), state="proved")
    result = run_module("compose_release", args)
    assert not result.get("failed"), result
    assert not result["changed"]
    assert sorted(stack.everything()) == before
    assert list(Path(args["override"]).parent.iterdir()) == []


@pytest.mark.parametrize("strategy", ["recreate", "overlap"])
def test_killed_half_way_it_is_finished_by_the_next_run(
    stack: Stack, run_module: RunModule, images: Images, strategy: str
) -> None:
    args = order(stack, images=images(web="1.1.0"), strategy=strategy)
    process = start_module("compose_release", args)
    known = set(stack.everything())
    deadline = time.monotonic() + 60
    while set(stack.everything()) <= known and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    result = run_module("compose_release", args)
    assert not result.get("failed"), result
    stack.wait_for(200)
    assert stack.images("web") == {"shop/web:1.1.0"}
    assert len(stack.containers()["web"]) == 2


def test_run_waits_for_what_a_killed_one_has_told_compose(
    stack: Stack, run_module: RunModule, images: Images
) -> None:
    """Two that change one project at a time take each other's containers away."""
    args = order(stack, images=images(web="1.1.0"))
    before = stack.containers()
    folder = os.open(stack.folder, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    process = start_module("compose_release", args)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=5)
    assert stack.containers() == before

    os.close(folder)
    process.communicate()
    assert stack.images("web") == {"shop/web:1.1.0"}
    assert not run_module("compose_release", args)["changed"]


def test_tag_that_has_moved_on_does_not_fool_it(
    stack: Stack, run_module: RunModule, images: Images
) -> None:
    good = images(web="1.0.0")
    docker("tag", good["web"]["id"], "shop/web:moving")
    stack.deploy(web="moving")
    docker("tag", "shop/web:2.0.0", "shop/web:moving")
    stack.compose("up", "--detach")
    stack.wait_for(500)
    wanted = {"web": {"reference": "shop/web:moving", "id": good["web"]["id"]}}
    result = run_module("compose_release", order(stack, images=wanted))
    assert result["changed"]
    stack.wait_for(200)
    assert result["after"]["web"]["id"] == good["web"]["id"]
    docker("rmi", "--no-prune", "shop/web:moving")


def test_all_lets_the_other_services_have_the_images_that_they_ran(
    stack: Stack, run_module: RunModule, images: Images
) -> None:
    """Also where their tag has come to mean another one."""
    ran = images(worker="1.0.0")["worker"]["id"]
    docker("tag", ran, "shop/worker:moving")
    stack.deploy(web="2.0.0", worker="moving")
    docker("tag", "shop/worker:4.0.0", "shop/worker:moving")

    result = run_module("compose_release", order(stack, images=images(web="1.0.0"), strategy="all"))

    assert result["changed"]
    assert result["after"]["worker"]["id"] == ran
    docker("rmi", "--no-prune", "shop/worker:moving")


def test_all_goes_down_and_up_and_volumes_only_when_asked_twice(
    stack: Stack, run_module: RunModule, images: Images
) -> None:
    stack.deploy(web="2.0.0")
    docker("exec", stack.containers()["store"][0], "/bin/busybox", "touch", "/data/kept")
    args = order(stack, images=images(web="1.0.0"), strategy="all", remove_volumes=True)
    before = stack.containers()
    refused = run_module("compose_release", args)
    assert refused["failed"]
    assert f"remove_volumes_of={stack.project}" in refused["msg"]
    assert stack.containers() == before

    result = run_module("compose_release", {**args, "remove_volumes": False})
    assert result["changed"]
    stack.wait_for(200)
    after = stack.containers()
    assert {name: len(ids) for name, ids in after.items()} == {
        name: len(ids) for name, ids in before.items()
    }
    old, new = (set().union(*each.values()) for each in (before, after))
    assert not old & new
    docker("exec", after["store"][0], "/bin/busybox", "test", "-e", "/data/kept")


def test_orphans_go_when_asked(stack: Stack, run_module: RunModule, images: Images) -> None:
    whole = stack.compose_file
    stack.compose_file = whole.replace("  worker:\n", "  helper:\n")
    (stack.folder / "docker-compose.yml").write_text(stack.compose_file)
    args = order(stack, images=images(web="1.1.0"))
    assert run_module("compose_release", args)["changed"]
    assert stack.containers("worker")
    args = order(stack, images=images(web="1.0.0"), remove_orphans=True)
    assert run_module("compose_release", args)["changed"]
    assert not stack.containers("worker")


def test_wait_that_is_none_is_refused(stack: Stack, run_module: RunModule, images: Images) -> None:
    before = stack.everything()
    for name in ("timeout", "drain", "finish", "remember"):
        for seconds in (-1, float("nan"), float("inf")):
            args = order(stack, images=images(web="1.1.0"), strategy="overlap", **{name: seconds})
            says = f"{name} must be from 0 to 86400 seconds, not {seconds:g}. Nothing was changed."
            assert run_module("compose_release", args)["msg"] == says
    assert stack.everything() == before


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        pytest.param(
            {"webb": {"reference": "shop/web:1.0.0", "id": "sha256:0"}},
            "the Compose file has no service webb, only api, proxy, store, web, worker",
            id="unknown service",
        ),
        pytest.param(
            {"web": {"reference": "shop/web:9.9.9", "id": "sha256:" + "0" * 64}},
            "is not on this host. Nothing was changed",
            id="no such image",
        ),
        pytest.param(
            {"web": {"reference": "shop/web:1.0.0"}}, "needs reference and id", id="no id"
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    stack: Stack, run_module: RunModule, wanted: dict[str, Any], says: str
) -> None:
    before = stack.containers()
    result = run_module("compose_release", order(stack, images=wanted))
    assert result["failed"]
    assert says in result["msg"]
    assert stack.containers() == before
