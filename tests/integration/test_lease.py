"""A run that holds the environment: renewed while it lives, stopped when somebody took it."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.catalogue.collection import collections_root
from rollback_playbook.execution.ansible_environment import ansible_environment
from rollback_playbook.execution.lease import LeaseKeeper, lease_renewer
from rollback_playbook.execution.runner import Interrupt, JobEvent, PlaybookRun, run
from tests.module_runner import RunModule
from tests.redis_topologies import wait_until

pytestmark = pytest.mark.integration

_INVENTORY = """\
[all:vars]
ansible_connection=local
ansible_python_interpreter={{ ansible_playbook_python }}
[app]
web1
"""

_PLAYBOOK = """
- name: Declare
  hosts: all
  gather_facts: false
  tasks:
    - name: Incident is open
      ansible.builtin.import_role: {name: sre.rollback.incident, tasks_from: open}
- name: Switch
  hosts: all
  gather_facts: false
  tasks:
    - name: Something takes its time
      ansible.builtin.wait_for: {path: "{{ go }}", sleep: 1, timeout: 250}
    - name: Something takes a moment more
      ansible.builtin.pause: {seconds: 2}
    - name: Production is changed
      ansible.builtin.copy: {content: "", dest: "{{ changed }}", mode: "0600"}
"""


class Held:
    """A run in a thread of its own that holds the environment and waits for a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.interrupt = Interrupt()
        (folder / "hosts.ini").write_text(_INVENTORY, encoding="ascii")
        (folder / "play.yml").write_text(_PLAYBOOK, encoding="ascii")
        self.request = PlaybookRun(
            folder / "play.yml",
            str(folder / "hosts.ini"),
            ansible_environment({**os.environ, "LC_ALL": "C.UTF-8"}, collections_root()),
            variables={
                "rollback_environment": "lab",
                "incident_id": "inc-1",
                "incident_operator": "ann",
                "incident_lock_path": str(folder / "locks"),
                "incident_lock_renewed": True,
                "incident_lock_renewed_ttl": 24,
                "go": str(folder / "go"),
                "changed": str(folder / "changed"),
            },
        )
        self.lost = ""
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with LeaseKeeper(lease_renewer(self.request), self.interrupt) as lease:
            run(self.request, lease.watch(self._ignore), self.interrupt)
        self.lost = lease.lost

    def _ignore(self, event: JobEvent) -> None:
        """The record is not the subject here."""

    def lease(self) -> dict[str, Any]:
        path = self.folder / "locks" / "lab.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def start(self) -> float:
        """Begin, and wait until the environment is held; when the lease ends then."""
        self._thread.start()
        wait_until(self.lease, 120)
        return float(self.lease()["expires"])

    def finish(self) -> None:
        (self.folder / "go").touch()
        self._thread.join(timeout=200)
        assert not self._thread.is_alive()


def test_run_renews_its_lease_until_somebody_takes_it_and_changes_nothing_more_then(
    tmp_path: Path, run_module: RunModule
) -> None:
    held = Held(tmp_path)
    try:
        first = held.start()
        wait_until(lambda: held.lease()["expires"] > first, 120)
        assert (held.lease()["holder"], held.lease()["token"]) == ("ann (inc-1)", 1)

        stolen = {"holder": "bob", "reason": "ann's controller burnt down", "state": "stolen"}
        place = {"path": str(tmp_path / "locks"), "environment": "lab"}
        run_module("environment_lock", {**place, **stolen})
        wait_until(lambda: held.interrupt.asked, 120)
    finally:
        held.finish()

    assert "held by bob" in held.lost
    assert not (tmp_path / "changed").exists()
    assert held.lease()["holder"] == "bob"
