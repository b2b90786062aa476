"""Drills in virtual machines: when they run, are skipped, and fail. No machine is started."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_DRILL = Path(__file__).parents[3] / "molecule" / "machines" / "drill"
_NEEDED = ("qemu-system-x86_64", "qemu-img", "mmdebstrap", "mke2fs", "ssh-keygen")


class Machine:
    """A PATH of its own: what is not put there is not installed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._called = folder / "called"
        for name in ("bash", "dirname"):
            (folder / name).symlink_to(shutil.which(name) or "")
        self.has("python")
        self.has("molecule")
        self.is_root()

    def has(self, *names: str, script: str = "") -> None:
        for name in names:
            program = self._folder / name
            program.write_text(f'#!/bin/sh\necho "{name} $*" >>{self._called}\n{script}\n')
            program.chmod(0o755)

    def is_root(self, number: int = 0) -> None:
        self.has("id", script=f"echo {number}")

    def drill(self, *scenarios: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_DRILL, *scenarios],
            env={"PATH": str(self._folder), "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )

    def drilled(self) -> list[str]:
        lines = self._called.read_text().splitlines() if self._called.exists() else []
        return [line for line in lines if line.startswith("molecule ")]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_every_scenario_is_drilled_where_all_is_there(machine: Machine) -> None:
    machine.has(*_NEEDED)

    ended = machine.drill("full", "gradual")

    assert ended.returncode == 0
    assert machine.drilled() == ["molecule test -s full", "molecule test -s gradual"]
    assert "Drill gradual went through" in ended.stdout
    assert "SKIPPED" not in ended.stderr


def test_somebody_else_than_root_is_told_that_nothing_was_drilled(machine: Machine) -> None:
    machine.has(*_NEEDED)
    machine.is_root(1000)

    ended = machine.drill("full", "gradual")

    assert ended.returncode == 0
    assert "need root" in ended.stderr
    assert "SKIPPED, nothing was drilled: full gradual" in ended.stderr
    assert machine.drilled() == []


def test_where_nothing_can_be_installed_what_is_missing_is_named(machine: Machine) -> None:
    machine.has(*(name for name in _NEEDED if name != "mmdebstrap"))

    ended = machine.drill("full")

    assert ended.returncode == 0
    assert "need mmdebstrap" in ended.stderr
    assert "SKIPPED" in ended.stderr
    assert machine.drilled() == []


def test_an_installation_that_fails_is_no_skip(machine: Machine) -> None:
    machine.has("apt-get", script="exit 100")

    ended = machine.drill("full")

    assert ended.returncode == 1
    assert "could not be installed" in ended.stderr
    assert "SKIPPED" not in ended.stderr
    assert machine.drilled() == []


def test_a_drill_that_fails_is_the_last_one(machine: Machine) -> None:
    machine.has(*_NEEDED)
    machine.has("molecule", script="exit 2")

    ended = machine.drill("full", "gradual")

    assert ended.returncode != 0
    assert machine.drilled() == ["molecule test -s full"]
    assert "went through" not in ended.stdout


def test_without_a_scenario_nothing_is_green(machine: Machine) -> None:
    machine.has(*_NEEDED)

    ended = machine.drill()

    assert ended.returncode == 2
    assert "no scenario is named" in ended.stderr


def test_the_make_target_drills_what_it_is_told_and_every_scenario_else() -> None:
    root = _DRILL.parents[2]
    every = sorted(path.parent.name for path in root.glob("molecule/*/molecule.yml"))

    def drills(*arguments: str) -> list[str]:
        shown = subprocess.run(
            ["make", "--dry-run", "drill-vm", *arguments],
            cwd=root,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        return sorted(shown[-1].split("molecule/machines/drill ")[1].split())

    assert drills() == every
    assert drills("SCENARIOS=full gradual") == ["full", "gradual"]
