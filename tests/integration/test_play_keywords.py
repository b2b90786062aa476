"""Batches of hosts are as large as the inventory says, on the command line as well."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

_SCENARIO = """
- name: Declare
  hosts: app
  gather_facts: false
  serial: "{{ gradual_batch | default(1) }}"
  tags: [Declare]
  vars:
    rollback_scenario: {title: Batches, level: operation, target_seconds: 60}
  tasks:
    - name: Batch is known
      ansible.builtin.debug: {msg: "batch of {{ ansible_play_batch | length }}"}
"""


def batches(folder: Path, *argv: str, **said: Any) -> list[str]:
    """How many hosts of four each batch has, as often as there are hosts."""
    (folder / "own").mkdir()
    (folder / "own" / "batches.yml").write_text(_SCENARIO, encoding="ascii")
    here = {"ansible_connection": "local", "rollback_protected": False, **said}
    hosts = {f"app{number}": {} for number in range(4)}
    inventory = {"app": {"hosts": hosts, "vars": here}}
    (folder / "hosts.json").write_text(json.dumps(inventory), encoding="ascii")
    options = ["--playbook-dir", str(folder / "own"), "--state-dir", str(folder / "state")]
    wish = ["batches", "-i", str(folder / "hosts.json"), "--json", *argv]
    done = subprocess.run(
        [sys.executable, "-m", "rollback_playbook", *options, *wish],
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"batch of (\d)", (done.stdout + done.stderr))


@pytest.mark.parametrize(
    ("argv", "said", "size"),
    [([], {"gradual_batch": 2}, "2"), (["-e", "gradual_batch=4"], {"gradual_batch": 2}, "4")],
)
def test_a_batch_is_as_large_as_was_said_last(
    tmp_path: Path, argv: list[str], said: dict[str, Any], size: str
) -> None:
    assert set(batches(tmp_path, *argv, **said)) == {size}
