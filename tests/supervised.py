"""Programs under a real supervisor, and the command line on the hosts that they belong to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Supervised:
    """Programs, each a shell script, in a folder of their own; they run from the beginning."""

    def __init__(self, folder: Path, programs: Mapping[str, str], *, startsecs: float = 0) -> None:
        self.folder = folder
        self._conf = folder / "supervisord.conf"
        socket = folder / "supervisor.sock"
        text = (
            f"[supervisord]\nlogfile={folder}/s.log\npidfile={folder}/s.pid\n"
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory="
            "supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[unix_http_server]\nfile={socket}\n[supervisorctl]\nserverurl=unix://{socket}\n"
        )
        for name, script in programs.items():
            program = folder / f"{name}.sh"
            program.write_text(f"#!/bin/sh\ncd {folder}\n{script}\n")
            program.chmod(0o755)
            text += f"[program:{name}]\ncommand={program}\nstartsecs={startsecs}\n"
        self._conf.write_text(text)
        self._supervisor = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self._conf)],
            stdout=subprocess.DEVNULL,
        )

    def control(self, *argv: str) -> str:
        """What supervisorctl says."""
        done = subprocess.run(
            [self.variables["services_supervisor_bin"], "-c", str(self._conf), *argv],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    def stop(self) -> None:
        self._supervisor.terminate()
        self._supervisor.wait(timeout=30)

    @property
    def variables(self) -> dict[str, Any]:
        """How a host of an inventory reaches them."""
        program = str(Path(sys.executable).with_name("supervisorctl"))
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            **{f"{role}_supervisor_config": str(self._conf) for role in ("release", "services")},
            **{f"{role}_supervisor_bin": program for role in ("release", "services")},
        }

    def write_inventory(
        self, groups: Mapping[str, Mapping[str, Mapping[str, Any]]], **variables: Any
    ) -> None:
        """``groups`` has the hosts of each with their own variables."""
        about = {
            **self.variables,
            "rollback_environment": "shop",
            "rollback_protected": False,
            "rollback_restore_points": str(self.folder / "restore-points"),
            "incident_lock_path": str(self.folder / "locks"),
            "traffic_provider": "none",
            "cache_mode": "none",
            "verify_period": 0.2,
            "verify_deadline": 15,
            "verify_hold": 0.5,
            **variables,
        }
        children = {name: {"hosts": dict(hosts)} for name, hosts in groups.items()}
        inventory = {"all": {"vars": about, "children": children}}
        (self.folder / "hosts.yml").write_text(json.dumps(inventory))

    def types(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """``rollback-playbook ARGV``, on the inventory where it is not about an incident."""
        where = ("-i", str(self.folder / "hosts.yml")) if argv[0] != "undo" else ()
        return subprocess.run(
            [sys.executable, "-m", "rollback_playbook", *argv, *where],
            env={**os.environ, "ROLLBACK_PLAYBOOK_STATE_DIR": str(self.folder / "state")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def wait_for_lines(path: Path, count: int) -> list[str]:
    """The lines of a file, when it has as many."""
    until = time.monotonic() + 30
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert time.monotonic() < until, path
        time.sleep(0.05)
    return path.read_text().splitlines()
