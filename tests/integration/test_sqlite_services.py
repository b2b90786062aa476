"""Services that have a SQLite database open run again, whatever became of it, on every host."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.role_runner import plays_of, run_playbook

pytestmark = pytest.mark.integration

_SUPERVISORCTL = """#!/bin/sh
cd "$(dirname "$0")"
for name; do :; done
case " $* " in
  *" status "*) for each in shop1 shop2 worker; do
      echo "$each $(if [ -e $each.stopped ]; then echo STOPPED; else echo RUNNING; fi) x"; done;;
  *" stop "*) if [ -e $name.stuck ]; then echo "$name: ERROR (it does not stop)"; exit 1; fi
      touch $name.stopped $name.was-stopped; echo "$name: stopped";;
  *" start "*) rm -f $name.stopped; echo "$name: started";;
esac
"""

_UNDO = """
- name: Switch
  hosts: app
  gather_facts: false
  any_errors_fatal: true
  max_fail_percentage: 0
  tasks:
    - name: Taken back
      ansible.builtin.include_role: {name: sre.rollback.sqlite, tasks_from: undo}
      vars:
        sqlite_undo:
          module: sre.rollback.sqlite_restore_verified
          args:
            database: "{{ sqlite_database }}"
            restore_id: "{{ sqlite_restore_id }}"
            state: previous
          certain: true
          check: false
"""


class Hosts:
    """Two, each with a service of its own on a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        control = folder / "supervisorctl"
        control.write_text(_SUPERVISORCTL, encoding="ascii")
        control.chmod(0o755)
        for name, users in (("backup", 2), ("1", 3), ("2", 3)):
            with sqlite3.connect(folder / f"{name}.db") as connection:
                connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY)")
                connection.executemany("INSERT INTO users VALUES (?)", [(n,) for n in range(users)])
            connection.close()
        self._everywhere = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "incident_id": "20260304T030405Z-abcde",
            "services_backend": "supervisor",
            "services_supervisor_bin": str(control),
            "services_supervisor_config": str(folder / "supervisord.conf"),
            "sqlite_proved_backup": str(folder / "backup.db"),
        }
        self.about: dict[str, dict[str, Any]] = {
            f"app{number}": {
                "sqlite_database": str(folder / f"{number}.db"),
                "sqlite_services": [f"shop{number}"],
                "sqlite_needed": True,
            }
            for number in ("1", "2")
        }

    def run(self, playbook: str) -> subprocess.CompletedProcess[str]:
        inventory = {"all": {"vars": self._everywhere}, "app": {"hosts": self.about}}
        return run_playbook(self.folder, playbook, inventory)

    def switch(self) -> subprocess.CompletedProcess[str]:
        """What ``sqlite-restore`` does in its Switch."""
        return self.run(plays_of("sqlite_restore", "Switch"))

    def users(self, number: int) -> int:
        with sqlite3.connect(self.folder / f"{number}.db") as connection:
            (found,) = connection.execute("SELECT count(*) FROM users").fetchone()
        connection.close()
        return int(found)

    @property
    def stopped(self) -> set[str]:
        return {path.stem for path in self.folder.glob("*.stopped")}

    @property
    def were_stopped(self) -> set[str]:
        return {path.stem for path in self.folder.glob("*.was-stopped")}


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path)


def _one_play_of_all(hosts: Hosts) -> subprocess.CompletedProcess[str]:
    """The role in a play of somebody's own, on all hosts at once."""
    undo = "sqlite, tasks_from: undo"
    assert undo in _UNDO
    return hosts.run(_UNDO.replace(undo, "sqlite, tasks_from: switch"))


_IN_TURN_AND_TOGETHER = pytest.mark.parametrize(
    "switch", [Hosts.switch, pytest.param(_one_play_of_all, marks=pytest.mark.drill)]
)


@_IN_TURN_AND_TOGETHER
def test_services_of_every_host_run_again_after_one_database_could_not_be_exchanged(
    hosts: Hosts, switch: Any
) -> None:
    missing = hosts.folder / "nowhere" / "2.db"
    hosts.about["app2"]["sqlite_database"] = str(missing)

    done = switch(hosts)

    assert done.returncode != 0
    assert hosts.were_stopped == {"shop1", "shop2"}
    assert hosts.stopped == set()
    assert hosts.users(1) == 2
    assert "fatal: [app2]" in done.stdout
    assert str(missing.parent) in done.stdout.split("fatal: [app2]")[-1]


def test_service_of_the_one_host_with_a_database_runs_again_after_it_could_not_be_exchanged(
    hosts: Hosts,
) -> None:
    hosts.about["app1"]["sqlite_needed"] = False
    hosts.about["app2"]["sqlite_database"] = str(hosts.folder / "nowhere" / "2.db")

    done = hosts.switch()

    assert done.returncode != 0
    assert hosts.were_stopped == {"shop2"}
    assert hosts.stopped == set()


@_IN_TURN_AND_TOGETHER
def test_database_whose_service_does_not_stop_is_not_exchanged_and_the_others_run_again(
    hosts: Hosts, switch: Any
) -> None:
    hosts.about["app2"]["sqlite_services"] = ["shop2", "worker"]
    (hosts.folder / "shop2.stuck").touch()

    done = switch(hosts)

    assert done.returncode != 0
    assert hosts.users(2) == 3
    assert hosts.were_stopped == {"shop1", "worker"}
    assert hosts.stopped == set()
    assert "it does not stop" in done.stdout.split("fatal: [app2]")[-1]


def test_services_of_a_host_that_was_done_run_while_the_next_one_cannot_be_reached(
    hosts: Hosts,
) -> None:
    hosts.about["app2"].update(ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)

    done = hosts.switch()

    assert done.returncode != 0
    assert "UNREACHABLE" in done.stdout
    assert hosts.were_stopped == {"shop1"}
    assert hosts.stopped == set()
    assert hosts.users(1) == 2


def test_services_run_again_after_an_undo_that_could_not_be_made(hosts: Hosts) -> None:
    """Nothing was restored on the second host, so it has nothing to go back to."""
    hosts.about["app2"]["sqlite_needed"] = False
    assert hosts.switch().returncode == 0

    done = hosts.run(_UNDO)

    assert done.returncode != 0
    assert hosts.users(1) == 3
    assert hosts.were_stopped == {"shop1", "shop2"}
    assert hosts.stopped == set()
    assert "before-" in done.stdout.split("fatal: [app2]")[-1]
