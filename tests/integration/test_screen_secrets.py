"""What Ansible prints of itself goes through the redaction before it reaches a screen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

_DECLARE = """- name: Declare
  hosts: all
  gather_facts: false
  vars:
    rollback_scenario: {title: Odd, level: operation, target_seconds: 5}
  tasks:
    - name: Something is asked
"""
_WRONG = """      ansible.builtin.import_tasks: {file: "password=c4nary"}
"""
_FAILS = """      ansible.builtin.fail: {msg: "postgresql://shop:c4nary@db1/shop does not answer"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hosts.ini").write_text(
        "[all]\nweb1 ansible_connection=local\n[all:vars]\n"
        "ansible_python_interpreter={{ ansible_playbook_python }}\n",
        encoding="ascii",
    )
    (tmp_path / "own").mkdir()
    return tmp_path


def _run(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    options = ["--playbook-dir", str(folder / "own"), "--state-dir", str(folder / "state")]
    return subprocess.run(
        [sys.executable, "-m", "rollback_playbook", *options, *argv],
        env=dict(os.environ),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("task", "words"),
    [
        pytest.param(_WRONG, "Ansible did not start", id="the playbook cannot be read"),
        pytest.param(_FAILS, "does not answer", id="a task fails"),
    ],
)
@pytest.mark.parametrize("face", [(), ("--json",)], ids=["lines", "json"])
def test_no_secret_that_ansible_prints_reaches_the_screen(
    folder: Path, task: str, words: str, face: tuple[str, ...]
) -> None:
    (folder / "own" / "odd.yml").write_text(_DECLARE + task, encoding="ascii")

    done = _run(folder, "odd", "-i", "hosts.ini", *face)
    shown = _run(folder, "incidents", "show", "last")

    assert done.returncode == 3, done.stderr
    assert words in done.stderr
    assert "nothing was changed" in done.stderr
    assert "[redacted:" in done.stdout + done.stderr
    assert "c4nary" not in done.stdout + done.stderr + shown.stdout + shown.stderr
