"""Three hosts over SSH, one of which goes away: what is said, what is left, and how it goes on."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.compose.conftest import MakeEnvironment, MakeStack
from tests.compose.environment import Environment, Run
from tests.compose.images import docker
from tests.compose.machines import Keys, Machine, NoServerError
from tests.compose.stack import Stack

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]

#: Three hosts over SSH take their time: of each kind of loss one is enough for every change.
_ATTACK = pytest.mark.attack

_NAMES = ("compose1", "compose2", "compose3")

COMPOSE_FILE = """\
services:
  web:
    image: shop/web:${WEB:-1.0.0}
    ports: ["127.0.0.1:${PORT}:8000"]
    stop_grace_period: 1s
"""


@dataclass(frozen=True)
class Fleet:
    """A project of the same kind on each of three hosts."""

    machines: dict[str, Machine]
    stacks: dict[str, Stack]
    shop: Environment

    def deploy(self, version: str) -> None:
        for stack in self.stacks.values():
            stack.deploy(web=version)
        for name in _NAMES:
            self.wait_for(name, version)

    def version(self, name: str) -> str:
        """Of the release that answers on a host; empty when none does."""
        connection = http.client.HTTPConnection("127.0.0.1", self.stacks[name].port, timeout=10)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/")
            return str(json.loads(connection.getresponse().read())["version"])
        return ""

    def versions(self) -> list[str]:
        return [self.version(name) for name in _NAMES]

    def wait_for(self, name: str, version: str) -> None:
        deadline = time.monotonic() + 60
        while self.version(name) != version:
            assert time.monotonic() < deadline, f"{name} answers {self.version(name)!r}"
            time.sleep(0.1)

    def roll_back_and_lose(
        self, name: str, phase: str, scenario: str = "application", *options: str
    ) -> Run:
        """Of the hosts of this run, this one dies when the phase begins."""
        process = self.shop.start(scenario, "--reason", "orders fail", "--yes", *_TO, *options)
        deadline = time.monotonic() + 300
        while process.poll() is None and not self.shop.has_begun(phase):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.machines[name].die()
        output, _ = process.communicate(timeout=300)
        return Run(process.returncode, output)


_TO = ("--to", "1.0.0")


@pytest.fixture
def fleet(make_stack: MakeStack, environment: MakeEnvironment, tmp_path: Path) -> Iterator[Fleet]:
    """All three on the bad release 2.1.0, whose orders fail."""
    folder = tmp_path / "machines"
    folder.mkdir()
    keys = Keys(folder)
    machines = {name: Machine(name, folder, keys) for name in _NAMES}
    stacks = {name: make_stack(name, compose_file=COMPOSE_FILE) for name in _NAMES}
    hosts = {
        name: {**machines[name].variables(), **variables(stacks[name], tmp_path / f"of-{name}")}
        for name in _NAMES
    }
    checks = [
        {
            "name": f"{name} answers",
            "http": {"url": f"http://127.0.0.1:{stack.port}/orders", "status": [200]},
        }
        for name, stack in stacks.items()
    ]
    shop = environment(
        stacks["compose1"],
        hosts=hosts,
        release_services=["web"],
        release_compose_trial=False,
        verify_checks=checks,
        verify_confirm_checks=checks,
    )
    try:
        for machine in machines.values():
            machine.start()
        made = Fleet(machines, stacks, shop)
        made.deploy("2.1.0")
        yield made
    except NoServerError as exc:
        pytest.skip(str(exc))
    finally:
        for machine in machines.values():
            machine.die()


def variables(stack: Stack, state: Path) -> dict[str, str]:
    """What differs between the hosts."""
    return {
        "release_project_src": str(stack.folder),
        "release_state_dir": str(state / "releases"),
        "rollback_restore_points": str(state / "restore-points"),
    }


@pytest.mark.parametrize(
    ("phase", "noticed", "name"),
    [
        pytest.param("Declare", "Assess", "compose3", marks=_ATTACK),
        pytest.param("Protect", "Assess", "compose3", marks=_ATTACK),
        pytest.param("Assess", "Assess", "compose3", marks=_ATTACK),
        ("Preserve", "Preserve", "compose3"),
        pytest.param("Prepare", "Prepare", "compose3", marks=_ATTACK),
        # What is done once for all is done on the first.
        pytest.param("Assess", "Assess", "compose1", marks=_ATTACK),
        pytest.param("Preserve", "Preserve", "compose1", marks=_ATTACK),
    ],
)
def test_host_that_is_lost_before_the_switch_ends_it_with_nothing_changed(
    fleet: Fleet, phase: str, noticed: str, name: str
) -> None:
    lost = fleet.roll_back_and_lose(name, phase)

    assert lost.code == 3, lost.output
    assert f"{noticed}, {name}: " in lost.output
    assert "nothing was changed" in lost.output
    assert fleet.versions() == ["2.1.0"] * 3

    fleet.machines[name].start()
    again = fleet.shop.run("application", "--reason", "it is back", "--yes", *_TO)
    assert again.code == 0, again.output
    assert fleet.versions() == ["1.0.0"] * 3


@pytest.mark.parametrize("phase", [pytest.param("Pause", marks=_ATTACK), "Switch"])
def test_host_that_is_lost_before_it_was_switched_is_named_and_switched_when_it_is_back(
    fleet: Fleet, phase: str
) -> None:
    lost = fleet.roll_back_and_lose("compose3", phase)

    assert lost.code == 4, lost.output
    assert "Switch, compose3: " in lost.output
    assert "Not done: Switch, Verify, Resume, Confirm, Close" in lost.output
    assert f"rollback-playbook continue {lost.incident}" in lost.output
    for name in ("compose1", "compose2"):
        fleet.wait_for(name, "1.0.0")

    _go_on(fleet, lost)


@pytest.mark.parametrize(
    ("phase", "noticed", "name"),
    [
        ("Verify", "Confirm", "compose3"),
        pytest.param("Resume", "Confirm", "compose3", marks=_ATTACK),
        pytest.param("Confirm", "Confirm", "compose3", marks=_ATTACK),
        # The gate is asked from there.
        pytest.param("Verify", "Verify", "compose1", marks=_ATTACK),
    ],
)
def test_host_that_is_lost_after_the_switch_leaves_it_unproved_until_it_is_back(
    fleet: Fleet, phase: str, noticed: str, name: str
) -> None:
    lost = fleet.roll_back_and_lose(name, phase)

    assert lost.code == 5, lost.output
    assert f"rolled back, but not proved healthy: {noticed}, {name}: " in lost.output
    assert f"rollback-playbook continue {lost.incident}" in lost.output
    assert fleet.versions() == ["1.0.0"] * 3

    _go_on(fleet, lost, name)


def _go_on(fleet: Fleet, lost: Run, name: str = "compose3") -> None:
    """The host is back, and the incident is continued."""
    fleet.machines[name].start()
    done = fleet.shop.run("continue", lost.incident, "--yes")
    assert done.code == 0, done.output
    assert fleet.versions() == ["1.0.0"] * 3


@_ATTACK
def test_host_that_is_lost_when_nothing_is_left_to_do_on_it_does_no_harm(fleet: Fleet) -> None:
    lost = fleet.roll_back_and_lose("compose3", "Close")

    assert lost.code == 0, lost.output
    assert fleet.versions() == ["1.0.0"] * 3


@_ATTACK
def test_host_that_dies_half_way_with_its_containers_is_finished_when_it_is_back(
    fleet: Fleet,
) -> None:
    stack = fleet.stacks["compose3"]
    [old] = stack.containers("web")["web"]
    process = fleet.shop.start("application", "--reason", "orders fail", "--yes", *_TO)
    deadline = time.monotonic() + 300
    while stack.containers("web").get("web") == [old]:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    fleet.machines["compose3"].die()
    left = stack.everything()
    docker("kill", *left) if stack.containers() else None
    output, _ = process.communicate(timeout=300)

    lost = Run(process.returncode, output)
    assert lost.code == 4, lost.output
    assert "Switch, compose3: " in lost.output
    assert "Not done: Switch, Verify, Resume, Confirm, Close" in lost.output
    assert f"rollback-playbook continue {lost.incident}" in lost.output

    _go_on(fleet, lost)
    assert all(len(each.everything()) == 1 for each in fleet.stacks.values())


@_ATTACK
def test_gradual_stops_at_the_first_red_host_and_leaves_the_others_alone(fleet: Fleet) -> None:
    """The second host's target never answers its check."""
    _red(fleet, "compose2")

    red = fleet.shop.run("gradual", "--reason", "orders fail", "--yes", *_TO)

    assert red.code == 4, red.output
    assert "web is red" in red.output
    assert "compose2" in red.output
    assert fleet.versions() == ["1.0.0", "1.0.0", "2.1.0"]

    undone = fleet.shop.run("undo", red.incident, "--yes")
    assert undone.code == 5, undone.output
    assert fleet.versions() == ["2.1.0"] * 3


def test_gradual_goes_on_while_the_failure_budget_of_a_batch_lasts(fleet: Fleet) -> None:
    _red(fleet, "compose2")
    budget = ("-e", "gradual_batch=3", "-e", "gradual_failure_budget=40")

    spent = fleet.shop.run("gradual", "--reason", "orders fail", "--yes", *_TO, *budget)

    assert fleet.versions() == ["1.0.0"] * 3
    assert spent.code != 0, spent.output
    assert "compose2" in spent.output


@pytest.mark.parametrize(
    ("percent", "code", "versions"),
    [
        pytest.param("0", 4, ["1.0.0", "2.1.0", "2.1.0"], id="no budget", marks=_ATTACK),
        pytest.param("50", 5, ["1.0.0", "2.1.0", "1.0.0"], id="one of two"),
    ],
)
def test_gradual_counts_a_host_that_is_lost_against_the_failure_budget(
    fleet: Fleet, percent: str, code: int, versions: list[str]
) -> None:
    lost = fleet.roll_back_and_lose(
        "compose2", "Switch", "gradual", "-e", "gradual_batch=2",
        "-e", f"gradual_failure_budget={percent}",
    )  # fmt: skip

    assert lost.code == code, lost.output
    assert "compose2" in lost.output
    assert fleet.versions() == versions


def _red(fleet: Fleet, name: str) -> None:
    """A check of this host that never holds; the other hosts' do."""
    for each in _NAMES:
        port = fleet.stacks[each].port
        path = "/nowhere" if each == name else "/orders"
        check = {"http": {"url": f"http://127.0.0.1:{port}{path}", "status": [200]}}
        if each == name:
            check["http"]["status"] = [404]
        mine = {"web": [{"name": f"orders of {each}", **check}]}
        fleet.shop.hosts[each]["release_checks"] = mine
    fleet.shop.variables.update(
        release_gate_period=0.2, release_gate_deadline=5, release_pause=0, verify_deadline=5
    )
    fleet.shop.write()
