"""A Compose project as somebody else runs it, and what its users see."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollback_playbook.lab.prober import Sample, Seen, seen
from tests.compose.images import docker

#: Commands that are given an incident and not an inventory.
_ABOUT_INCIDENTS = frozenset({"continue", "incidents", "undo"})

#: After so long a user gives up.
_PATIENCE_SECONDS = 10.0

COMPOSE_FILE = """\
services:
  proxy:
    image: base/nginx:1
    command: ["/usr/sbin/nginx", "-p", "/run", "-c", "/etc/nginx/nginx.conf"]
    ports: ["127.0.0.1:${PORT}:80"]
    volumes:
      - ./nginx:/etc/nginx:ro
      - ./maintenance:/etc/maintenance:ro
    stop_grace_period: 2s
    depends_on: [web, api]
  web:
    image: shop/web:${WEB:-1.0.0}
    deploy: {replicas: 2}
    stop_grace_period: 5s
  api:
    image: shop/api:${API:-1.0.0}
    stop_grace_period: 5s
  worker:
    image: shop/worker:${WORKER:-1.0.0}
    stop_grace_period: 5s
  store:
    image: base/python:3
    command: ["/bin/busybox", "sleep", "86400"]
    stop_grace_period: 1s
    volumes: ["data:/data"]
volumes:
  data:
"""

NGINX = """\
daemon off;
pid /tmp/nginx.pid;
error_log stderr warn;
worker_processes 1;
events { worker_connections 256; }
http {
  access_log off;
  resolver 127.0.0.11 valid=1s;
  client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c;
  uwsgi_temp_path /tmp/d; scgi_temp_path /tmp/e;
  upstream web { zone web 64k; server web:8000 resolve; }
  upstream api { zone api 64k; server api:8000 resolve; }
  server {
    listen 80;
    proxy_connect_timeout 1s;
    include /etc/maintenance/*.conf;
    location / { proxy_pass http://web; }
    location /api/ { proxy_pass http://api; }
  }
}
"""


_FILES = frozenset({".env", "docker-compose.yml", "maintenance", "nginx"})


@dataclass
class Stack:
    """One project in a folder of its own, reached on a port of loopback."""

    folder: Path
    port: int
    compose_file: str = COMPOSE_FILE
    #: Further files of the project, and other content for those that it has.
    files: Mapping[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def write(self) -> None:
        for name, text in {
            "docker-compose.yml": self.compose_file,
            "nginx/nginx.conf": NGINX,
            "maintenance/maintenance.conf": "",
            **self.files,
        }.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self._write_variables()

    def _write_variables(self) -> None:
        lines = {"PORT": str(self.port), **self.variables}
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        (self.folder / ".env").write_text(text)

    def deploy(self, **versions: str) -> None:
        """What the owner does: write the version down, bring it up. ``deploy(web="2.0.0")``."""
        self.variables.update({name.upper(): version for name, version in versions.items()})
        self._write_variables()
        self.compose("up", "--detach", "--quiet-pull", "--remove-orphans")

    def reset(self) -> None:
        """As its owner has written it in the beginning, running and answering."""
        self.compose_file = COMPOSE_FILE
        self.variables.clear()
        self.write()
        shutil.rmtree(self.host, ignore_errors=True)
        for path in self.folder.iterdir():
            if path.name not in _FILES:
                shutil.rmtree(path)
        left = set(self.everything()) - set(docker("ps", "--quiet", "--no-trunc").split())
        if left:
            docker("rm", "--force", *left)
        self.deploy()
        self.wait_for(200)

    def compose(self, *arguments: str) -> str:
        return docker("compose", "--project-directory", str(self.folder), *arguments)

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "1")

    @property
    def project(self) -> str:
        return self.folder.name

    @property
    def host(self) -> Path:
        """Where modules that are run by themselves keep what is ours."""
        return self.folder.parent / "host"

    def containers(self, *services: str) -> dict[str, list[str]]:
        """Ids of the running containers by service."""
        text = docker(
            "ps", "--no-trunc", "--filter", f"label=com.docker.compose.project={self.project}",
            "--format", '{{.Label "com.docker.compose.service"}} {{.ID}}',
        )  # fmt: skip
        found: dict[str, list[str]] = {}
        for line in sorted(text.splitlines()):
            service, container = line.split()
            if not services or service in services:
                found.setdefault(service, []).append(container)
        return found

    def images(self, service: str) -> set[str]:
        """What the running containers of a service were made from."""
        ids = self.containers(service).get(service, [])
        return (
            set(docker("inspect", "--format", "{{.Config.Image}}", *ids).split()) if ids else set()
        )

    def mend(self, service: str) -> None:
        """Whatever is wrong with what runs of a service is wrong no more."""
        for container in self.containers(service)[service]:
            docker("exec", container, "/bin/busybox", "touch", "/tmp/mended")

    def everything(self) -> list[str]:
        """Every container of the project, running or not, one-off or not."""
        mine = f"label=com.docker.compose.project={self.project}"
        return docker("ps", "--all", "--quiet", "--no-trunc", "--filter", mine).split()

    def digest(self) -> dict[str, str]:
        """The user's files, by content."""
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }

    def get(self, path: str = "/orders") -> tuple[int, str]:
        """What a user gets: status, and the version that answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_SECONDS)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read()
            version = json.loads(body)["version"] if answer.status in (200, 500) else ""
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return 0, ""
        finally:
            connection.close()
        return answer.status, version

    def wait_for(self, status: int, path: str = "/orders", *, seconds: float = 60) -> None:
        """Until a user gets this status."""
        deadline = time.monotonic() + seconds
        while self.get(path)[0] != status:
            assert time.monotonic() < deadline, f"{path} gives {self.get(path)}, not {status}"
            time.sleep(0.1)


class Load:
    """Users who ask all the time, one after the other, each on a connection of its own."""

    def __init__(self, stack: Stack, path: str = "/orders", *, users: int = 4) -> None:
        self._stack, self._path = stack, path
        self._stop = threading.Event()
        self._samples: list[Sample] = []
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(users)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._stop.wait(0.05):
            at, clock = time.time(), time.monotonic()
            status, _version = self._stack.get(self._path)
            self._samples.append(Sample(at, time.monotonic() - clock, self._path, status))

    @property
    def statuses(self) -> set[int]:
        """What they were answered; 0 is no answer within a second, as on a machine that is busy."""
        return {each.status for each in self._samples}

    def samples(self) -> list[Sample]:
        """Every request, in the order in which they ended."""
        return sorted(self._samples, key=lambda each: each.ended)

    def seen(self, *, since: float = 0) -> Seen:
        """What they saw."""
        return seen(self.samples(), since=since)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    code: int
    output: str

    @property
    def incident(self) -> str:
        """The id that the last line of a run ends with."""
        return re.findall(r"record: \S*/(\S+)", self.output)[-1]


@dataclass(frozen=True)
class Environment:
    """An inventory for a stack, and the command line on it."""

    stack: Stack
    folder: Path
    variables: dict[str, Any]
    #: Hosts and their own variables; without any it is this machine.
    hosts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

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
        groups = {name: {"hosts": dict.fromkeys(hosts)} for name in ("proxy", "cache")}
        inventory = {
            "all": {
                "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
                "children": {"app": {"hosts": hosts}, **groups},
            }
        }
        (self.folder / "shop-prod" / "hosts.yml").write_text(json.dumps(inventory))
        (group / "all.yml").write_text(json.dumps({**self._defaults(), **self.variables}))

    def _defaults(self) -> dict[str, Any]:
        project = {"com.docker.compose.project": self.stack.project}
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
            "cache_mode": "none",
            "verify_checks": [
                answers,
                {
                    "name": "web is healthy",
                    "container": {
                        "labels": {**project, "com.docker.compose.service": "web"},
                        "at_least": 2,
                        "docker_host": os.environ.get("DOCKER_HOST", ""),
                    },
                },
            ],
            "verify_confirm_checks": [answers],
            "verify_period": 0.2,
            "verify_timeout": 2,
            "verify_deadline": 20,
            "verify_hold": 1,
        }

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
            [program, *arguments, *where],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "ROLLBACK_PLAYBOOK_STATE_DIR": str(self.folder / "state")},
            cwd=self.folder,
        )
