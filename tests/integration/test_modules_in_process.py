"""Where a module of the collection runs: in Ansible's own worker, or as any module does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from rollback_playbook.catalogue.collection import bundled_playbooks

pytestmark = pytest.mark.integration

_PASSWORD = "the password of the vault"
_AS_A_PROGRAM = "EXEC /bin/sh"


def _play(folder: Path, task: str, *, variables: str = "{}", interpreter: str = "") -> str:
    """The output of ``ansible-playbook -vvv``; everything it says of the task is in it."""
    chosen = interpreter or "{{ ansible_playbook_python }}"
    (folder / "hosts").write_text(
        f"here ansible_connection=local ansible_python_interpreter='{chosen}'\n"
    )
    (folder / "play.yml").write_text(
        f"- {{hosts: here, gather_facts: false, vars: {variables}, tasks: [{{{task}}}]}}\n"
    )
    (folder / "vault").write_text(_PASSWORD)
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-vvv",
            "-i",
            "hosts",
            "--vault-password-file",
            "vault",
            "play.yml",
        ],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_PIPELINING": "True",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def _lock(folder: Path, **more: Any) -> str:
    args = {"environment": "prod", "holder": "ann", "path": str(folder / "locks"), **more}
    return f'"sre.rollback.environment_lock": {json.dumps(args)}'


def test_a_module_on_a_local_connection_runs_in_ansibles_own_worker(tmp_path: Path) -> None:
    output = _play(tmp_path, _lock(tmp_path))

    assert '"holder": "ann"' in output
    assert "changed=1" in output
    assert _AS_A_PROGRAM not in output


@pytest.mark.parametrize(
    ("more", "interpreter"),
    [
        pytest.param("environment: {LANG: C}", "", id="variables of its own"),
        pytest.param("async: 60, poll: 1", "", id="in the background"),
        pytest.param("", "/usr/bin/env python3", id="another Python"),
    ],
)
def test_a_module_that_needs_a_process_of_its_own_gets_one(
    tmp_path: Path, more: str, interpreter: str
) -> None:
    task = ", ".join(filter(None, [_lock(tmp_path), more]))

    output = _play(tmp_path, task, interpreter=interpreter)

    assert _AS_A_PROGRAM in output


def test_check_mode_changes_nothing_in_the_worker_either(tmp_path: Path) -> None:
    output = _play(tmp_path, f"{_lock(tmp_path)}, check_mode: true")

    assert '"holder": "ann"' in output
    assert _AS_A_PROGRAM not in output
    assert not (tmp_path / "locks").exists()


def test_a_module_that_fails_in_the_worker_fails_its_task_with_its_message(tmp_path: Path) -> None:
    output = _play(tmp_path, _lock(tmp_path, ttl=-1))

    assert "failed=1" in output
    assert "ttl" in output
    assert "Nothing was changed" in output


def test_a_vaulted_password_reaches_the_module_and_no_output(tmp_path: Path) -> None:
    secret = "hunter-of-the-vault"
    vaulted = VaultLib([("default", VaultSecret(_PASSWORD.encode()))]).encrypt(secret).decode()
    variables = json.dumps({"password": "HERE"}).replace('"HERE"', f"!vault {json.dumps(vaulted)}")
    task = (
        '"sre.rollback.environment_lock": {backend: postgres, login_host: 127.0.0.1, '
        'login_port: 1, environment: prod, holder: ann, login_password: "{{ password }}"}'
    )

    output = _play(tmp_path, task, variables=variables)

    assert "failed=1" in output
    assert "Connection refused" in output or "connection" in output
    assert secret not in output
    assert _AS_A_PROGRAM not in output


def test_every_module_with_an_action_of_its_own_is_the_module_that_the_action_runs() -> None:
    plugins = bundled_playbooks().parent / "plugins"
    for action in (plugins / "action").glob("*.py"):
        assert (plugins / "modules" / action.name).is_file()
        assert f"module = {action.stem}\n" in action.read_text(encoding="utf-8")
