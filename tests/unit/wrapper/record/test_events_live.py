"""The converter against what ansible-runner really hands out."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import ansible_runner
import pytest

from rollback_playbook.events.model import Draft
from rollback_playbook.record.importing import import_artifacts
from rollback_playbook.record.redaction import Redactor
from rollback_playbook.record.verification import verify
from tests.unit.wrapper.record.builders import Workplace, converted

pytestmark = pytest.mark.integration

_INVENTORY = """
[all]
one ansible_connection=local
two ansible_connection=local
gone ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1
[all:vars]
ansible_python_interpreter="{{ ansible_playbook_python }}"
# Where HOME is not the account's own, Ansible looks for the job in one and writes it to the other.
ansible_async_dir="{{ playbook_dir }}/async"
"""

_PLAYBOOK = """
- name: Declare
  hosts: all
  gather_facts: false
  tasks:
    - name: Everybody is there
      ansible.builtin.ping:
      when: inventory_hostname == 'gone'
- name: Protect
  hosts: one:two
  gather_facts: false
  serial: 1
  tasks:
    - name: Loop
      ansible.builtin.command: echo {{ item }}
      loop: [a, b]
      changed_when: true
    - name: Hidden
      ansible.builtin.command: echo s3cr3t-canary
      no_log: true
      changed_when: true
    - name: Hidden loop
      ansible.builtin.command: echo {{ item }}
      loop: [s3cr3t-canary]
      no_log: true
      changed_when: false
- name: Switch
  hosts: one:two
  gather_facts: false
  tasks:
    - name: Tried again
      ansible.builtin.command: "false"
      register: tried
      until: tried is succeeded
      retries: 1
      delay: 0
      ignore_errors: true
    - name: Attempt
      block:
        - name: Fails and is rescued
          ansible.builtin.command: "false"
      rescue:
        - name: Goes on
          ansible.builtin.debug:
            msg: on
    - name: Takes its time
      ansible.builtin.command: echo done
      async: 20
      poll: 1
      changed_when: true
    - name: Says too much
      ansible.builtin.command: "{{ ansible_playbook_python }} -c 'print(chr(120) * 800000)'"
      changed_when: true
      when: inventory_hostname == 'one'
    - name: Tells numbers
      ansible.builtin.set_stats:
        data: {rollback_decision: {level: full}}
    - name: Fails for good
      ansible.builtin.fail:
        msg: not healthy
      when: inventory_hostname == 'two'
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The artifacts of a run, and its events as a handler gets them."""
    folder = tmp_path_factory.mktemp("private")
    (folder / "hosts").write_text(_INVENTORY)
    (folder / "site.yml").write_text(_PLAYBOOK)
    events: list[dict[str, Any]] = []

    def keep(event: dict[str, Any]) -> bool:
        """True: the runner is to write its file as well."""
        events.append(json.loads(json.dumps(event)))
        return True

    ansible_runner.run(
        private_data_dir=str(folder),
        playbook=str(folder / "site.yml"),
        inventory=str(folder / "hosts"),
        event_handler=keep,
        quiet=True,
        ident="run",
        envvars={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    return folder, events


@pytest.fixture(scope="module")
def drafts(run: tuple[Path, list[dict[str, Any]]]) -> list[Draft]:
    return converted(run[1])


def _of(drafts: list[Draft], kind: str, task: str) -> list[Draft]:
    return [draft for draft in drafts if draft.type == kind and draft.data.get("task") == task]


def test_live_run_makes_an_event_of_every_number(
    run: tuple[Path, list[dict[str, Any]]], drafts: list[Draft]
) -> None:
    numbers = {draft.counter for draft in drafts} - {None}
    assert numbers == set(range(1, max(event["counter"] for event in run[1]) + 1))
    assert "ansible.reported" not in {draft.type for draft in drafts}


def test_live_serial_play_is_one_phase(drafts: list[Draft]) -> None:
    phases = [draft.data["name"] for draft in drafts if draft.type == "phase.started"]
    assert phases == ["Declare", "Protect", "Switch"]
    assert len([draft for draft in drafts if draft.type == "batch.started"]) == 1


def test_live_phases_end_as_their_hosts_did(drafts: list[Draft]) -> None:
    ends = {d.data["name"]: d.data["status"] for d in drafts if d.type == "phase.finished"}
    assert ends == {"Declare": "failed", "Protect": "ok", "Switch": "failed"}


def test_live_loop_is_recorded_item_by_item(drafts: list[Draft]) -> None:
    assert [draft.data["item"] for draft in _of(drafts, "item.finished", "Loop")] == ["a", "b"] * 2
    results = [draft.data["result"]["results"] for draft in _of(drafts, "task.finished", "Loop")]
    assert results == ["[2 items, recorded one by one]"] * 2


@pytest.mark.parametrize("task", ["Hidden", "Hidden loop"])
def test_live_no_log_is_censored(drafts: list[Draft], task: str) -> None:
    finished = _of(drafts, "task.finished", task)
    assert [draft.data.get("censored") for draft in finished] == [True, True]
    assert "canary" not in str(drafts)


def test_live_result_beyond_the_bound_of_ansible_runner_is_blanked(drafts: list[Draft]) -> None:
    blanked = [draft for draft in drafts if draft.data.get("blanked")]
    assert [(draft.subject, draft.data["task"]) for draft in blanked] == [("one", "Says too much")]


def test_live_failures_are_told_apart_at_the_end(drafts: list[Draft]) -> None:
    (stats,) = [draft.data for draft in drafts if draft.type == "stats.recorded"]
    assert {(task["host"], task["task"]) for task in stats["rescued_tasks"]} == {
        ("one", "Fails and is rescued"),
        ("two", "Fails and is rescued"),
    }
    assert stats["failed_hosts"] == ["gone", "two"]
    assert stats["artifacts"] == {"rollback_decision": {"level": "full"}}


def test_live_retries_ignored_failures_and_polls_are_recorded(drafts: list[Draft]) -> None:
    assert len(_of(drafts, "task.retried", "Tried again")) == 2
    ignored = _of(drafts, "task.finished", "Tried again")
    assert [draft.data["ignored"] for draft in ignored] == [True, True]
    finished = _of(drafts, "task.finished", "Takes its time")
    assert [draft.data["status"] for draft in finished] == ["changed", "changed"]
    assert finished[0].data["result"]["stdout"] == "done"


def test_live_artifacts_import_to_a_record_that_verifies(
    run: tuple[Path, list[dict[str, Any]]], workplace: Workplace
) -> None:
    folder = import_artifacts(run[0], workplace.root, keys=workplace.keys, redaction=Redactor())
    found = verify(folder, workplace.keys)
    assert found.intact
    assert found.completeness.problems == ("1 result(s) were blanked by ansible-runner",)
    assert b"canary" not in folder.events.read_bytes()
