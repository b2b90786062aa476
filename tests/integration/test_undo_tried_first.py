"""An undo tries every step before it changes anything, so that none is done where one cannot be."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollback_playbook.plan.undo_playbook import plan_undo, undo_plays
from rollback_playbook.record.undo import UndoStep
from tests.role_runner import run_playbook

pytestmark = pytest.mark.integration


def _step(sequence: int, module: str, task: str, **args: Any) -> UndoStep:
    return UndoStep(sequence, f"sre.rollback.{module}", args, "app1", task, "Switch", certain=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Releases under a supervisor that writes down what it was told."""
    made = tmp_path / "shop"
    for version in ("1.0.0", "1.1.0"):
        (made / "releases" / version).mkdir(parents=True)
    (made / "current").symlink_to("releases/1.0.0")
    control = made / "supervisorctl"
    control.write_text(f'#!/bin/sh\necho "$*" >>{made}/told\n', encoding="ascii")
    control.chmod(0o755)
    return made


def _undo(root: Path, *steps: UndoStep) -> tuple[int, str]:
    """Assess and Switch of the undo, as it is written; its return code and what it said."""
    about: dict[str, Any] = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "release_backend": "supervisor",
        "release_root": str(root),
        "release_programs": ["web"],
        "release_supervisor_bin": str(root / "supervisorctl"),
        "release_supervisor_config": str(root / "supervisord.conf"),
    }
    plays = undo_plays(
        plan_undo(steps), incident="x", restore_id="x", gate_hosts="app", target_seconds=60
    )
    wanted = [play for play in plays if play["name"] in ("Assess", "Switch")]
    inventory = {"all": {"vars": about}, "app": {"hosts": {"app1": {}}}}
    done = run_playbook(root, yaml.safe_dump(wanted, sort_keys=False), inventory)
    return done.returncode, done.stdout


def test_release_stays_where_another_step_cannot_be_taken_back(root: Path) -> None:
    release = _step(20, "release_link", "Target release runs", root=str(root), version="1.1.0")
    lost = _step(
        10, "configuration_files", "Configuration is the one that was kept",
        state="restored", backup_dir=str(root / "backups"), backup="lost",
    )  # fmt: skip

    code, said = _undo(root, release, lost)

    assert code != 0
    assert "Taken back - Configuration is the one that was kept" in said
    assert (root / "current").readlink() == Path("releases/1.0.0")
    assert not (root / "told").exists()

    code, said = _undo(root, release)

    assert code == 0, said
    assert (root / "current").readlink() == Path("releases/1.1.0")
    assert (root / "told").read_text().splitlines() == [f"-c {root}/supervisord.conf restart web"]
