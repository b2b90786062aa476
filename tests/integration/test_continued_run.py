"""An incident that goes on behind its gate asks it again: healthy a while ago proves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

_GATE = """
      sre.rollback.health_gate:
        checks: [{name: the system is there, command: {argv: [test, -e, "{{ playbook_dir }}/up"]}}]
        period: 0.05
        failure_threshold: 3
        deadline: 30
"""
_SCENARIO = f"""
- name: Declare
  hosts: all
  gather_facts: false
  tags: [Declare]
  vars:
    rollback_scenario: {{title: Doors, level: operation, target_seconds: 60}}
  tasks:
    - name: It is declared
      ansible.builtin.debug: {{msg: declared}}
- name: Verify
  hosts: all
  gather_facts: false
  tags: [Verify]
  tasks:
    - name: System is healthy{_GATE}
- name: Resume
  hosts: all
  gather_facts: false
  tags: [Resume]
  tasks:
    - name: First door is opened
      ansible.builtin.file: {{path: "{{{{ playbook_dir }}}}/open", state: touch, mode: "0600"}}
    - name: Second door takes its time
      ansible.builtin.wait_for: {{path: "{{{{ playbook_dir }}}}/go", sleep: 1, timeout: 200}}
    - name: Third door is opened
      ansible.builtin.debug: {{msg: opened}}
- name: Confirm
  hosts: all
  gather_facts: false
  tags: [Confirm]
  tasks:
    - name: System stays healthy{_GATE}
"""


class Doors:
    """A scenario of one's own on this machine, and the command line with it."""

    def __init__(self, folder: Path) -> None:
        self.own = folder / "own"
        self.own.mkdir()
        (self.own / "doors.yml").write_text(_SCENARIO, encoding="ascii")
        (self.own / "up").touch()
        self._inventory = folder / "hosts.ini"
        self._inventory.write_text(
            "[all]\nweb1 ansible_connection=local\n[all:vars]\nrollback_protected=false\n"
            "ansible_python_interpreter={{ ansible_playbook_python }}\n",
            encoding="ascii",
        )
        self._state = folder / "state"

    def start(self, *argv: str) -> subprocess.Popen[str]:
        options = ["--playbook-dir", str(self.own), "--state-dir", str(self._state)]
        return subprocess.Popen(
            [sys.executable, "-m", "rollback_playbook", *options, *argv],
            env=dict(os.environ),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def begin(self) -> subprocess.Popen[str]:
        return self.start("doors", "-i", str(self._inventory))

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = [
            line
            for path in self._state.glob("incidents/*/events.jsonl")
            for line in path.read_text(encoding="utf-8").splitlines(keepends=True)
        ]
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event["data"] for event in events if event["type"] == kind]


@pytest.fixture
def interrupted(tmp_path: Path) -> Doors:
    """A run that was stopped while it let users in, after its gate had passed."""
    doors = Doors(tmp_path)
    process = doors.begin()
    second = "Second door takes its time"
    _until(lambda: any(task["task"] == second for task in doors.events("task.started")), process)
    process.send_signal(signal.SIGTERM)
    _until(lambda: (doors.own / "open").exists(), process)
    time.sleep(1)
    (doors.own / "go").touch()
    _, words = process.communicate(timeout=200)
    assert process.returncode == 130, words
    return doors


def _until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_incident_that_goes_on_behind_its_gate_asks_it_again(interrupted: Doors) -> None:
    _, words = (going_on := interrupted.start("continue", "last")).communicate(timeout=200)

    assert going_on.returncode == 0, words
    assert "goes on at Resume" in words
    passed = [gate["gate"] for gate in interrupted.events("gate.passed")]
    assert passed == ["System is healthy", "System is healthy", "System stays healthy"]


def test_incident_whose_system_broke_meanwhile_lets_nobody_in(interrupted: Doors) -> None:
    (interrupted.own / "up").unlink()
    (interrupted.own / "open").unlink()

    _, words = (going_on := interrupted.start("continue", "last")).communicate(timeout=200)

    assert going_on.returncode == 5, words
    assert not (interrupted.own / "open").exists()
