"""``application`` on somebody else's Compose project: what users see, and what stays as it was."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.compose.conftest import MakeEnvironment
from tests.compose.environment import Environment, Run
from tests.compose.images import docker
from tests.compose.load import Load
from tests.compose.stack import Stack

pytestmark = pytest.mark.compose

_OTHERS = ("proxy", "api", "worker", "store")


def roll_back(environment: Environment, *arguments: str) -> Run:
    return environment.run("application", "--reason", "orders fail", "--yes", *arguments)


def test_bad_release_goes_back_while_users_ask_and_a_second_time_changes_nothing(
    stack: Stack, environment: MakeEnvironment
) -> None:
    waits = {"drain": 0, "finish": 1, "remember": 4}
    shop = environment(
        stack,
        release_services=["web"],
        release_compose_strategy="overlap",
        **{f"release_compose_{name}": seconds for name, seconds in waits.items()},
    )
    marked = shop.run("releases", "mark-good", "--yes")
    assert marked.code == 0, marked.output
    assert "1.0.0" in shop.run("releases", "list").output
    stack.deploy(web="2.1.0")
    stack.wait_for(500)
    files, others = stack.digest(), stack.containers(*_OTHERS)

    # What the bad release does well has to go on being done: every fault there would be ours.
    with Load(stack, "/") as load:
        done = roll_back(shop)

    assert done.code == 0, done.output
    assert "because release 2.1.0 runs, the last good one is 1.0.0" in done.output
    assert stack.get() == (200, "1.0.0")
    assert stack.images("web") == {"shop/web:1.0.0"}
    assert len(stack.containers()["web"]) == 2
    assert stack.containers(*_OTHERS) == others
    assert stack.digest() == files
    assert load.seen().requests > 50
    assert load.faults == [], stack.compose("logs", "--timestamps", "proxy") + done.output
    assert waits.items() <= shop.undo_of(done, "compose_release").items()

    before = stack.everything()
    # What the owner is told to type to go on with the images that run now.
    both = ("--file", f"{stack.folder}/docker-compose.yml", "--file", str(shop.override))
    stack.compose(*both, "up", "--detach")
    assert stack.everything() == before

    again = roll_back(shop)
    assert again.code == 3, again.output
    assert "Nothing to roll back: the last good release runs" in again.output
    assert stack.everything() == before

    undone = shop.run("undo", done.incident, "--yes")
    assert undone.code == 5, undone.output
    assert "taken back, but not proved healthy" in undone.output
    # Tried while users are on what runs, and done only then: else nothing would be left to do.
    runs = [
        (each["phase"], each["status"])
        for each in shop.events_of(undone, "task.finished")
        if each["task"].startswith("Target images")
    ]
    assert runs == [("Assess", "changed"), ("Switch", "changed")]
    assert "CANNOT BE UNDONE" not in undone.output
    assert stack.images("web") == {"shop/web:2.1.0"}
    assert stack.digest() == files

    assert shop.run("releases", "mark-bad", "1.0.0", "--reason", "loses orders", "--yes").code == 0
    warned = roll_back(shop, "--to", "1.0.0")
    assert warned.code == 3, warned.output
    assert "release 1.0.0 was marked bad: loses orders. No release was changed" in warned.output


def test_target_that_cannot_run_is_refused_before_anything_is_changed(
    stack: Stack, environment: MakeEnvironment
) -> None:
    shop = environment(stack, release_services=["web"])
    before = stack.everything()

    unknown = roll_back(shop, "--to", "9.9.9")
    assert unknown.code == 3, unknown.output
    assert "image shop/web:9.9.9 for service web is not on this host" in unknown.output
    assert "choose with --to VERSION" in unknown.output

    crashing = roll_back(shop, "--to", "3.0.0")
    assert crashing.code == 3, crashing.output
    assert "release 1.0.0 runs, 3.0.0 was asked for" in crashing.output
    assert "ended with exit code 3: no module named shop.settings" in crashing.output
    assert "nothing was changed" in crashing.output
    assert stack.everything() == before
    assert stack.get() == (200, "1.0.0")


def test_target_that_is_red_stops_at_the_gate_and_can_be_undone(
    stack: Stack, environment: MakeEnvironment
) -> None:
    shop = environment(stack, release_services=["web"], verify_deadline=5)
    stack.deploy(web="2.0.0")
    stack.wait_for(500)

    red = roll_back(shop, "--to", "2.1.0")
    assert red.code == 5, red.output
    assert "rolled back, but not proved healthy" in red.output
    assert "HTTP status 500, expected 200" in red.output
    assert "users are on it" in red.output
    assert f"rollback-playbook undo {red.incident}" in red.output

    state = docker("inspect", "--format", "{{.Id}} {{.RestartCount}}", *stack.everything())
    time.sleep(3)
    assert stack.images("web") == {"shop/web:2.1.0"}
    assert docker("inspect", "--format", "{{.Id}} {{.RestartCount}}", *stack.everything()) == state

    undone = shop.run("undo", red.incident, "--yes")
    assert undone.code == 5, undone.output
    assert stack.images("web") == {"shop/web:2.0.0"}


def test_service_that_never_turns_healthy_ends_at_the_deadline_and_goes_on_when_mended(
    stack: Stack, environment: MakeEnvironment
) -> None:
    deadline = 20
    shop = environment(
        stack,
        release_services=["web"],
        release_compose_trial=False,
        verify_deadline=deadline,
        verify_hold=0,
    )
    stuck = roll_back(shop, "--to", "4.0.0")
    assert stuck.code == 5, stuck.output
    (gate,) = shop.events_of(stuck, "gate.failed")
    # It did wait, and not for the 300 seconds that are usual.
    assert deadline <= gate["elapsed"] < 2 * deadline
    took = {each["name"]: each["seconds"] for each in shop.events_of(stuck, "phase.finished")}
    assert took["Verify"] < 2 * deadline
    # Nobody waits for its health before the gate does (release_compose_timeout would be 40).
    assert took["Switch"] < 40
    assert "The health gate FAILED" in stuck.output
    assert "users see orders' (http) is failing" in stuck.output
    assert f"rollback-playbook continue {stuck.incident}" in stuck.output
    assert stack.images("web") == {"shop/web:4.0.0"}

    stack.mend("web")
    web = stack.containers("web")
    mended = shop.run("continue", stuck.incident, "--yes")
    assert mended.code == 0, mended.output
    assert stack.containers("web") == web


@pytest.mark.parametrize(
    "strategy", ["recreate", pytest.param("overlap", marks=pytest.mark.attack)]
)
def test_run_that_is_killed_in_the_switch_goes_on_where_it_was(
    stack: Stack, environment: MakeEnvironment, strategy: str
) -> None:
    shop = environment(
        stack,
        release_services=["web"],
        release_compose_strategy=strategy,
        release_compose_trial=False,
    )
    stack.deploy(web="2.0.0")
    files, others, known = stack.digest(), stack.containers(*_OTHERS), set(stack.everything())

    process = shop.start("application", "--reason", "orders fail", "--yes", "--to", "1.0.0")
    deadline = time.monotonic() + 300
    while set(stack.everything()) <= known:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    done = shop.run("continue", "last", "--yes")
    assert done.code == 0, done.output
    assert stack.get() == (200, "1.0.0")
    assert stack.images("web") == {"shop/web:1.0.0"}
    assert len(stack.containers()["web"]) == 2
    assert stack.containers(*_OTHERS) == others
    assert stack.digest() == files
