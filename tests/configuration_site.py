"""A site whose configuration is backed up and restored, and the service that reads it."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule, start_module


@dataclass(frozen=True)
class Site:
    """A configuration file, a key that only its owner may read, and a service that reloads."""

    folder: Path
    run: RunModule

    @property
    def config(self) -> Path:
        return self.folder / "site.conf"

    @property
    def key(self) -> Path:
        return self.folder / "site.key"

    @property
    def reloads(self) -> int:
        """How often the service was told to read its files."""
        path = self.folder / "reloads"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def args(self, **changed: Any) -> dict[str, Any]:
        note = [sys.executable, "-c", f"open({str(self.folder / 'reloads')!r}, 'a').write('x\\n')"]
        return {
            "paths": [str(self.config), str(self.key)],
            "backup_dir": str(self.folder / "backups"),
            "reload": [note],
            **changed,
        }

    def back_up(self, **changed: Any) -> dict[str, Any]:
        arguments = {**self.args(**changed), "state": "backed_up"}
        del arguments["reload"]
        return self.run("configuration_files", arguments)

    def restore(self, *, check: bool = False, diff: bool = False, **changed: Any) -> dict[str, Any]:
        return self.run("configuration_files", self.args(**changed), check=check, diff=diff)

    def restore_killed(self, **changed: Any) -> None:
        """A restore that is killed when the files are written and not yet read by the service."""
        kill = [sys.executable, "-c", "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"]
        process = start_module("configuration_files", self.args(validate=[kill], **changed))
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL

    @property
    def notes(self) -> int:
        """How many restores are known to be unfinished."""
        return len(list((self.folder / "backups").glob(".unfinished*")))

    def damage(self) -> None:
        self.config.write_text("worker_processes 0;\n")
        self.key.write_text("PRIVATE KEY of somebody else\n")


@pytest.fixture
def site(tmp_path: Path, run_module: RunModule) -> Site:
    found = Site(tmp_path, run_module)
    found.config.write_text("worker_processes 4;\n")
    found.key.write_text("PRIVATE KEY of the site\n")
    found.key.chmod(0o600)
    return found
