"""An operator with a lab of their own, shared by all tests: each begins with what it needs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.lab import lifecycle
from rollback_playbook.lab.places import Lab

_SCALE = "0.02"


@dataclass(frozen=True)
class Operator:
    """A person with the command line and a lab of their own."""

    lab: Lab
    state_dir: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "ROLLBACK_LAB_DIR": str(self.lab.directory),
            "ROLLBACK_PLAYBOOK_STATE_DIR": str(self.state_dir),
        }

    def types(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """``rollback-playbook ARGV``, without a terminal; ``environment`` is added to ours."""
        return subprocess.run(
            [sys.executable, "-m", "rollback_playbook", *argv],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def last(self) -> dict[str, Any]:
        """The summary of the newest incident."""
        shown: dict[str, Any] = json.loads(self.types("incidents", "show", "last", "--json").stdout)
        return shown

    def health(self) -> dict[str, Any]:
        return lifecycle.status(self.lab.directory).health

    def users_get(self) -> str:
        """What comes through the proxy."""
        port = self.lab.state().ports["nginx"]
        return str(lifecycle.ask(port, "/health").get("status", "maintenance"))

    def fingerprint(self) -> tuple[object, ...]:
        """Everything that a refused command must leave as it was."""
        return (
            self.lab.current.readlink(),
            self.lab.flags.read_bytes(),
            (self.lab.nginx / "maintenance.conf").read_bytes(),
            sorted(path.name for path in self.lab.backups.iterdir()),
        )


@pytest.fixture(scope="session")
def operator() -> Iterator[Operator]:
    directory = Path(tempfile.mkdtemp(prefix="rollback-e2e-"))
    directory.chmod(0o755)
    person = Operator(Lab(directory / "lab"), directory / "state")
    started = person.types("lab", "up", "--scale", _SCALE)
    assert started.returncode == 0, started.stderr
    # A drill holds the gate for three seconds; a test only wants to see that it is held.
    _hold_shortly(person.lab)
    yield person
    person.types("lab", "down", "--purge")
    shutil.rmtree(directory)


@pytest.fixture
def broken(operator: Operator) -> Operator:
    """The lab after the bad release; brought back from whatever the test before left.

    A command that was refused has left it as broken as it was.
    """
    health = operator.health()
    as_broken = health.get("release") == "1.1.0" and health.get("schema") == 2
    if not as_broken or operator.users_get() == "maintenance":
        _mend(operator)
        lifecycle.break_release(operator.lab.directory)
    return operator


@pytest.fixture
def working(operator: Operator) -> Operator:
    _mend(operator)
    return operator


def _hold_shortly(lab: Lab) -> None:
    path = lab.inventory / "group_vars" / "all" / "verify.yml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("verify_hold: 3\n", "verify_hold: 0.5\n"), encoding="utf-8")


def _mend(operator: Operator) -> None:
    if operator.health().get("schema") == 1 and operator.users_get() == "ok":
        return
    done = operator.types("full", "-i", "lab", "--take-over", "--reason", "between two tests")
    assert done.returncode == 0, done.stderr
