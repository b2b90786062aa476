"""A playbook of a few lines, run as people run theirs: what a role does in Ansible itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rollback_playbook.catalogue.collection import collections_root
from rollback_playbook.execution.ansible_environment import ansible_environment


def run_playbook(
    folder: Path, playbook: str, inventory: Mapping[str, Any], *options: str
) -> subprocess.CompletedProcess[str]:
    """``playbook`` on ``inventory``, both written to ``folder``, with the collection in place.

    ``options`` are those of ``ansible-playbook``.
    """
    (folder / "hosts.json").write_text(json.dumps(inventory), encoding="ascii")
    (folder / "play.yml").write_text(playbook, encoding="ascii")
    return subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            *("-i", str(folder / "hosts.json"), str(folder / "play.yml"), *options),
        ],
        env=ansible_environment({**os.environ, "LC_ALL": "C.UTF-8"}, collections_root()),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def plays_of(scenario: str, phase: str) -> str:
    """The plays that a scenario has for ``phase`` in its own file."""
    playbooks = collections_root() / "ansible_collections/sre/rollback/playbooks"
    plays = yaml.safe_load((playbooks / f"{scenario}.yml").read_text(encoding="utf-8"))
    own = [play for play in plays if play["name"] == phase and "hosts" in play]
    return yaml.safe_dump(own, sort_keys=False)
