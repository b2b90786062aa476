"""What is no reason to stop on one host is none for the others either.

Ansible drops the hosts that did not fail, where one failed and was rescued.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.role_runner import run_playbook

pytestmark = pytest.mark.integration

_PLAY = """
- name: Preserve
  hosts: app
  gather_facts: false
  any_errors_fatal: true
  max_fail_percentage: 0
  tasks:
    - name: Before a change
      ansible.builtin.include_role: {name: sre.rollback.%s, tasks_from: %s}

- name: Switch
  hosts: app
  gather_facts: false
  any_errors_fatal: true
  max_fail_percentage: 0
  tasks:
    - name: Users are helped
      ansible.builtin.debug: {msg: "helped on {{ inventory_hostname }}"}
"""


def _hosts(folder: Path, **variables: Any) -> dict[str, Any]:
    """Two, of which the second can keep nothing, because there is no room for it."""
    control = folder / "supervisorctl"
    control.write_text("#!/bin/sh\necho shop RUNNING pid 1, uptime 0:00:01\n", encoding="ascii")
    control.chmod(0o755)
    everywhere = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "incident_id": "inc-1",
        "services_names": ["shop"],
        "services_supervisor_bin": str(control),
        "services_supervisor_config": str(folder / "supervisord.conf"),
        "verify_checks": [],
        **variables,
    }
    places = {"app1": str(folder / "restore-points"), "app2": "/proc/nowhere"}
    hosts = {name: {"rollback_restore_points": place} for name, place in places.items()}
    return {"all": {"vars": everywhere}, "app": {"hosts": hosts}}


@pytest.mark.parametrize(
    ("role", "file", "missing"),
    [
        ("services", "services.txt", "State and logs of shop on app2 could not be kept ("),
        ("verify", "processes.txt", "The metrics and processes of app2 could not be kept: "),
    ],
)
def test_evidence_that_one_host_cannot_keep_stops_neither_it_nor_the_others(
    tmp_path: Path, role: str, file: str, missing: str
) -> None:
    done = run_playbook(tmp_path, _PLAY % (role, "preserve"), _hosts(tmp_path))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "helped on app1" in done.stdout
    assert "helped on app2" in done.stdout
    assert (tmp_path / "restore-points" / "inc-1" / "evidence" / file).exists()
    assert missing in done.stdout
    assert "could not be kept" not in done.stdout.replace(missing, "")


def test_migration_that_one_database_cannot_tell_stops_nobody(tmp_path: Path) -> None:
    database = {
        "database_name": "shop",
        "database_migration_query": "SELECT 1",
        "database_login_port": 1,
    }

    done = run_playbook(tmp_path, _PLAY % ("database", "migrated"), _hosts(tmp_path, **database))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "helped on app1" in done.stdout
    assert "helped on app2" in done.stdout


def test_migration_of_a_database_whose_host_is_out_of_reach_stops_nobody_and_that_is_told(
    tmp_path: Path,
) -> None:
    database = {"database_name": "shop", "database_migration_query": "SELECT 1"}
    hosts = _hosts(tmp_path, **database, database_login_port=1)
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    hosts["app"]["hosts"]["app2"].update(gone)

    done = run_playbook(tmp_path, _PLAY % ("database", "migrated"), hosts)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "helped on app1" in done.stdout
    assert "helped on app2" in done.stdout
    missing = "The newest migration of shop is not known, because app2 cannot be reached"
    assert missing in done.stdout
    assert "because app1 cannot" not in done.stdout
