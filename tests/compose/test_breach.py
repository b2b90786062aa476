"""``security-breach`` on a host with containers: closed to strangers and not to its operator."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.sre.rollback.plugins.module_utils._isolation_rules import TABLE
from tests.compose.closed_host import Host, Peer, host, peer
from tests.compose.conftest import MakeEnvironment, MakeWholeShop
from tests.compose.environment import Environment, Run
from tests.compose.machines import Keys, Machine, NoServerError
from tests.compose.whole_shop import COMPOSE_FILE, WholeShop
from tests.role_runner import run_playbook

pytestmark = [pytest.mark.compose, pytest.mark.attack, pytest.mark.timeout(600)]

_SUBNET = "10.88.0.0/24"
_PUBLISHED = '"127.0.0.1:${PORT}:80"'
_ASKS = "GET /orders HTTP/1.0\r\n\r\n"


@dataclass(frozen=True)
class Breached:
    """The shop on a host, who operates it, and somebody who has no business there."""

    shop: WholeShop
    host: Host
    machine: Machine
    operator: Peer
    stranger: Peer

    def strangers_see(self) -> dict[str, bool]:
        """Whether the shop answers them, and SSH."""
        return {
            "shop": "200 OK" in self.stranger.hears(self.shop.stack.port, _ASKS),
            "ssh": "SSH-" in self.stranger.hears(self.machine.port),
        }

    def brings_out(self, url: str) -> bool:
        """Whether a container can send what it has to somebody."""
        container = self.shop.stack.containers("web")["web"][0]
        program = f"import urllib.request as u; u.urlopen({url!r}, timeout=2)"
        argv = ["docker", "exec", container, "/usr/bin/python3", "-c", program]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0

    def rules(self) -> list[str]:
        """Docker's, and whether the isolation has any."""
        lines = self.host.says("iptables-save").splitlines()
        # A comment has the time, and a chain counts its packets.
        dockers = [line.partition(" [")[0] for line in lines if not line.startswith("#")]
        tables = self.host.says("nft", "list", "tables").splitlines()
        return [*dockers, *(table for table in tables if "rollback" in table)]


@pytest.fixture
def breached(make_whole_shop: MakeWholeShop, tmp_path: Path) -> Iterator[Breached]:
    """Users reach the shop from everywhere; its network has addresses that are written down."""
    assert _PUBLISHED in COMPOSE_FILE
    network = f"networks: {{default: {{ipam: {{config: [{{subnet: {_SUBNET}}}]}}}}}}\n"
    compose_file = COMPOSE_FILE.replace(_PUBLISHED, '"${PORT}:80"') + network
    folders = [tmp_path / name for name in ("systemd", "machines")]
    for folder in folders:
        folder.mkdir()
    with host(folders[0]) as made, peer("operator", 1) as operator, peer("stranger", 2) as stranger:
        shop = make_whole_shop(compose_file)
        keys = Keys(folders[1])
        machine = Machine("compose1", folders[1], keys, address="0.0.0.0", within=made.within)
        try:
            machine.start()
            yield Breached(shop, made, machine, operator, stranger)
        except NoServerError as exc:
            pytest.skip(str(exc))
        finally:
            machine.die()
            # The network is that of the other tests, too.
            made.says("nft", f"add table inet {TABLE}; delete table inet {TABLE}")


@contextmanager
def strangers_who_keep_trying(breached: Breached) -> Iterator[list[dict[str, Any]]]:
    samples: list[dict[str, Any]] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(0.3):
            begun = time.time()
            seen = breached.strangers_see()
            samples.append({"begun": begun, "ended": time.time(), **seen})

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def phases(operator: Environment, run: Run) -> dict[tuple[str, str], float]:
    """When each began and ended."""
    record = operator.folder / "state" / "incidents" / run.incident / "events.jsonl"
    events = [json.loads(line) for line in record.read_text().splitlines()]
    return {
        (event["type"], event["data"]["name"]): datetime.fromisoformat(event["time"]).timestamp()
        for event in events
        if event["type"] in ("phase.started", "phase.finished")
    }


def operated(environment: MakeEnvironment, breached: Breached) -> Environment:
    """From where the operator sits, over SSH."""
    till = str(breached.shop.stack.folder / "till.env")
    reached = {**breached.machine.variables(), "ansible_host": breached.operator.host}
    return environment(
        breached.shop.stack,
        hosts={"compose1": reached},
        has=["database"],
        within=breached.operator.within,
        **{
            **breached.shop.variables(),
            "database_checks": [
                {
                    "name": "nobody is an administrator who should not be",
                    "query": "SELECT count(*) FROM customers"
                    " WHERE administrator AND name <> 'owner'",
                    "expected": 0,
                }
            ],
            "services_backend": "compose",
            "services_names": ["web"],
            "isolation_allow": [_SUBNET],
            "secrets_rotated": [
                {"name": "PGPASSWORD", "file": till, "database_role": "till"},
                {"name": "SESSION_KEY", "file": till},
            ],
            "secrets_reset_sql": "UPDATE customers SET must_reset = true",
        },
    )


def secrets(shop: WholeShop) -> dict[str, str]:
    """What a container was given."""
    found = dict(line.split("=", 1) for line in shop.stack.environment("web") if "=" in line)
    return {name: found[name] for name in ("PGPASSWORD", "SESSION_KEY")}


def test_breached_host_is_closed_to_strangers_until_the_patched_release_runs(
    environment: MakeEnvironment, breached: Breached
) -> None:
    shop, operator = breached.shop, operated(environment, breached)
    kept = operator.run("backup", "--reason", "deployed", "--yes")
    assert kept.code == 0, kept.output
    (backup,) = (breached.shop.stack.host / "backups").glob("shop-*")
    others, old, rules = shop.others(), secrets(shop), breached.rules()
    # What got the intruder in, and what they did with it.
    assert shop.get("/debug")[1]["PGPASSWORD"] == old["PGPASSWORD"]
    shop.sql("INSERT INTO customers VALUES ('mallory', true)")

    with strangers_who_keep_trying(breached) as samples:
        named = ("--to", "1.2.0", "--backup", backup.name)
        done = operator.run("security-breach", "--reason", "an intruder", "--yes", *named)
        time.sleep(2)

    assert done.code == 0, done.output
    when = phases(operator, done)
    closed, opened = when["phase.finished", "Protect"], when["phase.started", "Resume"]
    between = [each for each in samples if each["begun"] > closed and each["ended"] < opened]
    assert len(between) > 1, samples
    assert not any(each["shop"] or each["ssh"] for each in between), samples
    assert breached.strangers_see() == {"shop": True, "ssh": True}

    assert shop.stack.images("web") == {"shop/till:1.2.0"}
    assert shop.get("/orders")[0] == 200
    assert shop.get("/debug")[0] == 404
    assert shop.others() == others
    new = secrets(shop)
    assert set(old.values()).isdisjoint(new.values())
    assert not any(secret in done.output for secret in new.values())
    with shop.database() as connection:
        found = connection.execute("SELECT name, must_reset FROM customers ORDER BY name")
        assert found.fetchall() == [("ada", True), ("owner", True)]
    assert breached.rules() == rules
    assert "inactive" in breached.host.says(
        "sh", "-c", "systemctl is-active rollback-isolation-opens.timer || true"
    )


def test_host_that_nobody_confirms_opens_by_itself_and_docker_has_the_rules_it_had(
    breached: Breached, tmp_path: Path
) -> None:
    rules = breached.rules()
    assert any("DOCKER" in line for line in rules)
    assert breached.strangers_see() == {"shop": True, "ssh": True}
    task = {
        "name": "Host is closed, and nobody comes back",
        "sre.rollback.host_isolation": {
            "state": "closed",
            "operator": "10.77.1.2",
            "ssh_port": breached.machine.port,
            "allow": [_SUBNET],
            "seconds": 20,
        },
    }
    play = yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}])
    hosts = {"compose1": {**breached.machine.variables(), "ansible_host": "127.0.0.1"}}

    with breached.stranger.listening() as url:
        wait_until(lambda: breached.brings_out(url))

        done = run_playbook(tmp_path, play, {"all": {"hosts": hosts}})

        assert done.returncode == 0, done.stdout
        assert breached.strangers_see() == {"shop": False, "ssh": False}
        assert not breached.brings_out(url)
    assert breached.shop.get("/orders")[0] == 200
    assert "SSH-" in breached.operator.hears(breached.machine.port)
    # Not even the operator: what a container answers may be the intruder's.
    assert breached.operator.hears(breached.shop.stack.port, _ASKS) == ""
    wait_until(lambda: breached.strangers_see() == {"shop": True, "ssh": True})
    assert breached.rules() == rules


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.5)
