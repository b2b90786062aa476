"""The role release, one host after the other: what is said when one of them cannot be reached."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.real_servers import free_port
from tests.role_runner import plays_of, run_playbook

pytestmark = pytest.mark.integration


class Fleet:
    """Hosts on release 1.1.0 in folders of their own, which are to go back to 1.0.0."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hosts: dict[str, dict[str, Any]] = {}
        supervisor = folder / "supervisorctl"
        supervisor.write_text("#!/bin/sh\nexit 0\n")
        supervisor.chmod(0o755)
        self.variables: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "release_backend": "supervisor",
            "release_supervisor_bin": str(supervisor),
            "release_programs": ["shop"],
            "release_target": "1.0.0",
            "release_current": "1.1.0",
            "release_pause": 0,
            "release_gate_period": 0.1,
            "release_gate_deadline": 5,
        }

    def add(self, name: str) -> None:
        root = self.folder / name
        for version in ("1.0.0", "1.1.0"):
            (root / "releases" / version).mkdir(parents=True)
        (root / "current").symlink_to("releases/1.1.0")
        check = {"name": "runs", "command": {"argv": ["test", "-e", str(root / "current")]}}
        self.hosts[name] = {"release_root": str(root)}
        self.variables.setdefault("release_checks", {})[name] = [check]

    def dies(self, name: str) -> None:
        self.hosts[name] |= {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": free_port(),
        }

    def release(self, name: str) -> str:
        return (self.folder / name / "current").resolve().name

    def goes_back(self, *options: str) -> subprocess.CompletedProcess[str]:
        inventory = {"all": {"vars": self.variables}, "app": {"hosts": self.hosts}}
        return run_playbook(self.folder, plays_of("gradual", "Switch"), inventory, *options)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    made = Fleet(tmp_path)
    for name in ("app1", "app2", "app3"):
        made.add(name)
    return made


def test_every_host_goes_back(fleet: Fleet) -> None:
    done = fleet.goes_back()

    assert done.returncode == 0, done.stdout + done.stderr
    assert [fleet.release(name) for name in fleet.hosts] == ["1.0.0"] * 3


def test_a_host_that_died_stops_it_and_every_host_has_its_state_told(fleet: Fleet) -> None:
    fleet.dies("app2")

    done = fleet.goes_back()

    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert "app2 is red" in said
    assert "app1: on 1.0.0, healthy; app2: red; app3: still on 1.1.0." in said
    assert [fleet.release(name) for name in fleet.hosts] == ["1.0.0", "1.1.0", "1.1.0"]


@pytest.mark.drill
def test_a_host_that_died_is_told_with_its_reason_in_a_batch_of_several(fleet: Fleet) -> None:
    fleet.dies("app2")

    done = fleet.goes_back("-e", "gradual_batch=2")

    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert "app2 is red: timed out waiting" in said
    assert "app2: red; app3: still on 1.1.0." in said
    assert [fleet.release(name) for name in fleet.hosts] == ["1.0.0", "1.1.0", "1.1.0"]
