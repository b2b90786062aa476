"""An inventory for a project, and the command line on it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.compose.stack import Stack

#: Commands that are given an incident and not an inventory.
_ABOUT_INCIDENTS = frozenset({"continue", "incidents", "undo"})


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    code: int
    output: str

    @property
    def incident(self) -> str:
        """The id that the last line of a run ends with."""
        return re.findall(r"record: \S*/(\S+)", self.output)[-1]


def web_is_healthy(stack: Stack) -> dict[str, Any]:
    """A check that needs no proxy."""
    service = {"project": stack.project, "service": "web"}
    return {
        "name": "web is healthy",
        "container": {
            "labels": {f"com.docker.compose.{key}": value for key, value in service.items()},
            "at_least": 2,
            "docker_host": os.environ.get("DOCKER_HOST", ""),
        },
    }


@dataclass(frozen=True)
class Environment:
    """An inventory for a stack, and the command line on it."""

    stack: Stack
    folder: Path
    variables: dict[str, Any]
    #: Hosts and their own variables; without any it is this machine.
    hosts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: Groups that are declared without hosts.
    lacks: Sequence[str] = ()
    #: Groups besides those of every project.
    has: Sequence[str] = ()
    #: What begins a command of somebody who sits elsewhere.
    within: Sequence[str] = ()

    @property
    def state(self) -> Path:
        """Where the host keeps what is ours."""
        return self.folder / "host"

    @property
    def override(self) -> Path:
        return self.state / "releases" / f"{self.stack.project}.override.yml"

    def write(self) -> None:
        group = self.folder / "shop-prod" / "group_vars" / "all"
        group.mkdir(parents=True, exist_ok=True)
        hosts = self.hosts or {"compose1": {"ansible_connection": "local"}}
        groups = {name: {"hosts": dict.fromkeys(hosts)} for name in ("proxy", "cache", *self.has)}
        groups |= {name: {"hosts": {}} for name in self.lacks}
        inventory = {
            "all": {
                "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
                "children": {"app": {"hosts": hosts}, **groups},
            }
        }
        (self.folder / "shop-prod" / "hosts.yml").write_text(json.dumps(inventory))
        (group / "all.yml").write_text(json.dumps({**self._defaults(), **self.variables}))

    def _defaults(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.stack.port}/orders"
        answers = {"name": "users see orders", "http": {"url": url, "status": [200]}}
        return {
            "rollback_environment": "shop",
            "rollback_protected": False,
            "rollback_restore_points": str(self.state / "restore-points"),
            "incident_lock_path": str(self.state / "locks"),
            "release_backend": "compose",
            "release_project_src": str(self.stack.folder),
            "release_state_dir": str(self.state / "releases"),
            "release_compose_timeout": 40,
            "traffic_provider": "none",
            # How it would be told to keep users out.
            "traffic_command": ["docker", "exec", f"{self.stack.project}-proxy-1"],
            "traffic_binary": "/usr/sbin/nginx",
            "traffic_prefix": "/run",
            "traffic_url": url,
            "traffic_maintenance_path": str(self.stack.folder / "maintenance" / "maintenance.conf"),
            "cache_mode": "none",
            "verify_checks": [
                answers,
                web_is_healthy(self.stack),
            ],
            "verify_confirm_checks": [answers],
            "verify_period": 0.2,
            "verify_timeout": 2,
            "verify_deadline": 20,
            "verify_hold": 1,
        }

    def events_of(self, run: Run, kind: str) -> list[dict[str, Any]]:
        """What the record says of each event of this kind."""
        record = self.folder / "state" / "incidents" / run.incident / "events.jsonl"
        events = map(json.loads, record.read_text().splitlines())
        return [each["data"] for each in events if each["type"] == kind]

    def undo_of(self, run: Run, module: str) -> dict[str, Any]:
        """The arguments that take back what a module has done, as the record has them."""
        (args,) = (
            each["args"]
            for each in self.events_of(run, "undo.recorded")
            if each["module"].endswith(f".{module}") and not each.get("predicted")
        )
        return dict(args)

    def has_begun(self, phase: str) -> bool:
        """Whether the newest run is in this phase: itself, not the look ahead."""
        records = sorted((self.folder / "state" / "incidents").glob("*/events.jsonl"))
        text = records[-1].read_text(errors="replace") if records else ""
        _, _, run = text.partition('"type":"approval.granted"')
        return f'"name":"{phase}","pattern"' in run

    def run(self, *arguments: str, seconds: float = 400) -> Run:
        """``rollback-playbook ARGUMENTS -i …``, or without ``-i`` what names an incident."""
        process = self.start(*arguments)
        try:
            output, _ = process.communicate(timeout=seconds)
        finally:
            process.kill()
        return Run(process.returncode, output)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, in a session of its own, while it goes on."""
        program = str(Path(sys.executable).with_name("rollback-playbook"))
        where = [] if arguments[0] in _ABOUT_INCIDENTS else ["-i", str(self.folder / "shop-prod")]
        return subprocess.Popen(
            [*self.within, program, *arguments, *where],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "ROLLBACK_PLAYBOOK_STATE_DIR": str(self.folder / "state")},
            cwd=self.folder,
        )
