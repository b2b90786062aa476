"""The role release: nobody goes back to a release that was marked bad, in whatever layout."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.role_runner import run_playbook

pytestmark = pytest.mark.integration

_PLAYBOOK = """
- name: Assess
  hosts: app
  gather_facts: false
  tasks:
    - name: Release to go to is known
      ansible.builtin.include_role: {name: sre.rollback.release, tasks_from: "{{ layout }}/assess"}

    - name: It is told
      ansible.builtin.debug: {msg: "to {{ release_target }}"}
"""


def folders(root: Path) -> None:
    for version in ("1.0.0", "1.1.0"):
        (root / "releases" / version).mkdir(parents=True)
    (root / "current").symlink_to("releases/1.1.0")


def tags(root: Path) -> None:
    root.mkdir()
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    (root / ".git" / "info" / "exclude").write_text("good-releases.jsonl*\n")
    for version in ("1.0.0", "1.1.0"):
        subprocess.run([*git, "commit", "-qm", version, "--allow-empty"], check=True)
        subprocess.run([*git, "tag", version], check=True)


@pytest.mark.parametrize(("layout", "make"), [("links", folders), ("git", tags)])
def test_release_that_was_marked_bad_is_refused_until_it_is_marked_good_again(
    tmp_path: Path, layout: str, make: Callable[[Path], None]
) -> None:
    root = tmp_path / "app"
    make(root)
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "layout": layout,
        "release_root": str(root),
        "release_version": "1.0.0",
    }
    inventory = {"all": {"vars": host}, "app": {"hosts": {"app1": {}}}}
    good = {"version": "1.0.0", "marked_at": "2026-11-22T06:26:20Z", "by": "ada"}
    registry = root / "good-releases.jsonl"
    lines = [json.dumps(good), json.dumps({**good, "bad": True, "reason": "loses orders"})]
    registry.write_text("\n".join(lines) + "\n")

    refused = run_playbook(tmp_path, _PLAYBOOK, inventory)

    words = " ".join(refused.stdout.split())
    assert refused.returncode == 2, words
    assert "release 1.0.0 was marked bad: loses orders. No release was changed. Choose" in words
    assert "another with --to VERSION, or mark it good again." in words

    registry.write_text("\n".join([*lines, json.dumps(good)]) + "\n")
    goes = run_playbook(tmp_path, _PLAYBOOK, inventory)

    assert goes.returncode == 0, goes.stdout
    assert "to 1.0.0" in goes.stdout
