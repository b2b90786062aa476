"""Where things are: scenarios, inventories, incidents, keys, the lab."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from rollback_playbook.catalogue.collection import bundled_playbooks, collections_root
from rollback_playbook.catalogue.environments import Environment, resolve
from rollback_playbook.catalogue.scenarios import scenario_files
from rollback_playbook.lab.places import lab_directory

_STATE = "ROLLBACK_PLAYBOOK_STATE_DIR"
_PLAYBOOKS = "ROLLBACK_PLAYBOOK_DIRS"
_INVENTORIES = "ROLLBACK_PLAYBOOK_INVENTORIES"


@dataclass(frozen=True)
class Settings:
    """What the command line was told and what the environment says; made once per call."""

    state_dir: Path
    playbook_dirs: tuple[Path, ...]
    inventory_path: tuple[Path, ...]
    #: What Ansible opens vaults with, instead of what it is configured with.
    vault_password_file: Path | None = None
    vault_password: str | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls, *, playbook_dirs: Sequence[str], state_dir: str | None) -> Settings:
        """Options first, then the environment, then the platform's own places."""
        configured = [Path(each) for each in os.environ.get(_PLAYBOOKS, "").split(":") if each]
        inventories = [Path(each) for each in os.environ.get(_INVENTORIES, "").split(":") if each]
        return cls(
            state_dir=Path(state_dir or os.environ.get(_STATE) or _platform_state_dir()),
            playbook_dirs=(*map(Path, playbook_dirs), *configured, bundled_playbooks()),
            inventory_path=(
                Path("inventories"),
                *inventories,
                lab_directory() / "inventories",
            ),
        )

    @cached_property
    def ansible_environment(self) -> dict[str, str]:
        """The environment of every Ansible process."""
        from rollback_playbook.execution.ansible_environment import (
            ansible_environment,
            held_in_memory,
        )

        environment = ansible_environment(os.environ, collections_root())
        password = self.vault_password_file
        if self.vault_password is not None:
            password = held_in_memory(self.vault_password)
        if password is not None:
            environment["ANSIBLE_VAULT_PASSWORD_FILE"] = str(password)
        return environment

    @property
    def incidents_dir(self) -> Path:
        """One folder per incident."""
        return self.state_dir / "incidents"

    @property
    def keys_dir(self) -> Path:
        """The keys of the records: never inside an incident's folder."""
        return self.state_dir / "keys"

    def scenario_files(self) -> dict[str, Path]:
        """Every scenario's file by name."""
        return scenario_files(self.playbook_dirs)

    def environment(self, name: str) -> Environment:
        """The environment that ``-i name`` means."""
        return resolve(name, self.inventory_path)


def _platform_state_dir() -> Path:
    import platformdirs

    return platformdirs.user_state_path("rollback-playbook")
