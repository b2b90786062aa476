"""A playbook that breaks an environment: it did all it should, or the drill does not begin."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rollback_playbook.catalogue.collection import collections_root
from rollback_playbook.drill.playing import play
from rollback_playbook.errors import RefusedError, RollbackError
from rollback_playbook.execution.ansible_environment import ansible_environment
from rollback_playbook.execution.runner import Interrupt

_INVENTORY = """\
all:
  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  hosts: {web1: {}}
  children: {cache: {hosts: {}}}
"""
_BREAKS = """\
- hosts: HOSTS
  gather_facts: false
  tasks:
    - name: It is broken
      ansible.builtin.shell: COMMAND
"""


class _Person:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "hosts.yml").write_text(_INVENTORY)

    def plays(self, text: str, *, seconds: float = 60, interrupt: Interrupt | None = None) -> None:
        playbook = self._folder / "break.yml"
        playbook.write_text(text)
        environment = ansible_environment(os.environ, collections_root())
        play(
            playbook,
            str(self._folder / "hosts.yml"),
            environment,
            interrupt or Interrupt(),
            seconds=seconds,
        )


@pytest.fixture
def person(tmp_path: Path) -> _Person:
    return _Person(tmp_path)


def _breaks(hosts: str, command: str) -> str:
    return _BREAKS.replace("HOSTS", hosts).replace("COMMAND", command)


def test_playbook_is_played_to_its_end(person: _Person, tmp_path: Path) -> None:
    person.plays(_breaks("web1", f"touch {tmp_path}/broken"))

    assert (tmp_path / "broken").exists()


def test_playbook_that_reaches_no_host_has_broken_nothing(person: _Person) -> None:
    with pytest.raises(RefusedError, match=r"break\.yml reached no host"):
        person.plays(_breaks("cache", "exit 0"))


def test_play_without_hosts_beside_one_that_has_some_is_a_fault_in_part(person: _Person) -> None:
    with pytest.raises(RollbackError, match=r"a play of break\.yml has hosts that match nothing"):
        person.plays(_breaks("web1", "exit 0") + _breaks("cache", "exit 0"))


def test_task_that_fails_is_named_with_what_it_said(person: _Person) -> None:
    with pytest.raises(RollbackError, match=r"It is broken on web1: .*no such shop"):
        person.plays(_breaks("web1", "echo no such shop >&2; exit 1"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("- hosts: web1\n  not_a_play_option: 1\n", "not_a_play_option", id="option"),
        pytest.param("\x00\x01 garbage: [", "", id="garbage"),
        pytest.param("just a text", "", id="text"),
        pytest.param("[]", "", id="empty"),
        pytest.param("- import_playbook: missing.yml\n", "missing.yml", id="missing import"),
    ],
)
def test_what_is_no_playbook_has_broken_nothing_and_ansible_says_why(
    person: _Person, text: str, words: str
) -> None:
    with pytest.raises(RefusedError, match=rf"(?s)break\.yml could not be played: .*{words}"):
        person.plays(text)


def test_playbook_that_does_not_end_is_stopped_and_nobody_knows_how_much_it_did(
    person: _Person, tmp_path: Path
) -> None:
    began = time.monotonic()

    with pytest.raises(RollbackError, match=r"break\.yml had not ended after 3 s and was stopped"):
        person.plays(_breaks("web1", f"touch {tmp_path}/begun; sleep 600"), seconds=3)

    assert time.monotonic() - began < 30
    assert (tmp_path / "begun").exists()


def test_playbook_that_somebody_stops_is_no_error_of_the_playbook(person: _Person) -> None:
    interrupt = Interrupt()
    interrupt.ask()

    with pytest.raises(KeyboardInterrupt):
        person.plays(_breaks("web1", "exit 0"), interrupt=interrupt)


def test_host_that_cannot_be_reached_is_a_fault_in_part(person: _Person) -> None:
    nobody = "{ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 9}"
    unreachable = _breaks("web1", "exit 0") + f"  vars: {nobody}\n"

    with pytest.raises(RollbackError, match=r"It is broken on web1: .*onnect"):
        person.plays(_breaks("web1", "exit 0") + unreachable)
