"""The environment of a release, as the backend ``systemd`` makes it with pip."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.role_runner import run_playbook

pytestmark = pytest.mark.integration

_PLAY = """
- name: Packages
  hosts: app
  gather_facts: false
  environment: {PIP_CONFIG_FILE: /dev/null, PIP_INDEX_URL: "{{ index }}"}
  tasks:
    - name: Lock file is read
      ansible.builtin.command: {argv: [cat, "{{ release_root }}/lock.txt"]}
      register: _release_lock
      changed_when: false

    - name: Packages are installed, or their wheels kept
      ansible.builtin.include_role:
        name: sre.rollback.release
        tasks_from: systemd/%s.yml
        rolespec_validate: false
"""
_INSTALL = _PLAY % "install"
_KEEP = _PLAY % "keep_wheels"


def _inventory(root: Path, lock: str) -> dict[str, Any]:
    (root / "lock.txt").write_text(lock, encoding="ascii")
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "release_root": str(root),
        "release_target": "1.0.0",
        "index": (root / "index").as_uri(),
        "release_python": sys.executable,
        "release_environment": str(root / "environments" / "one"),
        "release_wheels": str(root / "wheels"),
        "release_package_index": False,
    }
    return {"app": {"hosts": {"app1": host}}}


@pytest.mark.drill
def test_environment_that_was_broken_off_before_it_had_pip_is_gone_on_with(tmp_path: Path) -> None:
    broken = tmp_path / "environments" / "one" / "bin"
    broken.mkdir(parents=True)
    (broken / "python").symlink_to(sys.executable)

    done = run_playbook(tmp_path, _INSTALL, _inventory(tmp_path, ""))

    assert done.returncode == 0, done.stdout + done.stderr
    assert (broken / "pip").exists()
    assert (broken.parent / "complete").exists()


def test_environment_whose_packages_are_nowhere_is_not_complete_and_says_where_they_belong(
    tmp_path: Path,
) -> None:
    done = run_playbook(tmp_path, _INSTALL, _inventory(tmp_path, "no-such-package-at-all==1.0"))

    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert f"Put their wheels into {tmp_path / 'wheels'}" in said
    assert "No matching distribution found for no-such-package-at-all" in said
    assert not (tmp_path / "environments" / "one" / "complete").exists()


def _make_index(folder: Path) -> None:
    """A package index that has one package."""
    name, info = "cobblestone-1.0-py3-none-any.whl", "cobblestone-1.0.dist-info"
    (folder / "cobblestone").mkdir(parents=True)
    with zipfile.ZipFile(folder / "cobblestone" / name, "w") as wheel:
        wheel.writestr("cobblestone.py", "laid = True\n")
        metadata = "Metadata-Version: 2.1\nName: cobblestone\nVersion: 1.0\n"
        wheel.writestr(f"{info}/METADATA", metadata)
        tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{info}/WHEEL", tags)
        wheel.writestr(f"{info}/RECORD", "")
    page = f'<a href="{name}">{name}</a>'
    (folder / "cobblestone" / "index.html").write_text(page, encoding="ascii")


def test_packages_of_a_release_that_was_good_are_installed_when_the_index_is_gone(
    tmp_path: Path,
) -> None:
    _make_index(tmp_path / "index")
    inventory = _inventory(tmp_path, "cobblestone==1.0")
    inventory["app"]["hosts"]["app1"] |= {
        "release_current": "1.0.0",
        "release_systemd_layout": "links",
        "release_lock_file": "lock.txt",
    }
    release = tmp_path / "releases" / "1.0.0"
    release.mkdir(parents=True)
    shutil.copy(tmp_path / "lock.txt", release / "lock.txt")
    kept = run_playbook(tmp_path, _KEEP, inventory)
    assert kept.returncode == 0, kept.stdout + kept.stderr

    shutil.rmtree(tmp_path / "index")
    done = run_playbook(tmp_path, _INSTALL, inventory)

    assert done.returncode == 0, done.stdout + done.stderr
    python = tmp_path / "environments" / "one" / "bin" / "python"
    subprocess.run([python, "-c", "import cobblestone; assert cobblestone.laid"], check=True)
