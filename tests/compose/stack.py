"""A Compose project as somebody else runs it."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.compose.images import docker
from tests.compose.proxy import nginx

#: After so long a user gives up; a machine with other work may need some of it for any answer.
_PATIENCE_SECONDS = 30.0

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

NGINX = nginx(
    """
    upstream web { zone web 64k; server web:8000 resolve max_fails=0; }
    upstream api { zone api 64k; server api:8000 resolve max_fails=0; }
    server {
      listen 80;
      proxy_connect_timeout 1s;
      include /etc/maintenance/*.conf;
      location / { proxy_pass http://web; }
      location /api/ { proxy_pass http://api; }
    }
    """
)


@dataclass
class Stack:
    """One project in a folder of its own, reached on a port of loopback."""

    folder: Path
    port: int
    compose_file: str = COMPOSE_FILE
    #: Further files of the project, and other content for those that it has.
    files: Mapping[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    #: What its owner has put into its servers, before users can be answered.
    fill: Callable[[Stack], None] = lambda _: None

    def __post_init__(self) -> None:
        self._first = (self.compose_file, dict(self.variables))

    def write(self) -> None:
        for name, text in self._content().items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self._write_variables()

    def _content(self) -> dict[str, str]:
        return {
            "docker-compose.yml": self.compose_file,
            "nginx/nginx.conf": NGINX,
            "maintenance/maintenance.conf": "",
            **self.files,
        }

    def _write_variables(self) -> None:
        lines = {"PORT": str(self.port), **self.variables}
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        (self.folder / ".env").write_text(text)

    def deploy(self, **versions: str) -> None:
        """What the owner does: write the version down, bring it up. ``deploy(web="2.0.0")``."""
        self.variables.update({name.upper(): version for name, version in versions.items()})
        self._write_variables()
        self.compose("up", "--detach", "--quiet-pull", "--remove-orphans")

    def change(self, service: str, about: Mapping[str, Any]) -> None:
        """What the owner writes into the Compose file of one service; nothing runs of it yet."""
        model = yaml.safe_load(self.compose_file)
        model["services"][service].update(about)
        self.compose_file = yaml.safe_dump(model)
        self.write()

    def reset(self) -> None:
        """As its owner has written it in the beginning, running and answering."""
        self.compose_file, self.variables = self._first[0], dict(self._first[1])
        shutil.rmtree(self.host, ignore_errors=True)
        self._remove_what_others_left()
        self.write()
        self._lead_nobody_away()
        left = set(self.everything()) - set(docker("ps", "--quiet", "--no-trunc").split())
        if left:
            docker("rm", "--force", *left)
        self.deploy()
        if self.containers("proxy"):
            self.reload_proxy()
        self.fill(self)
        self.wait_for(200, seconds=180)

    def _remove_what_others_left(self) -> None:
        """Folders that are its own stay: containers have them mounted."""
        own = {self.folder / name for name in (".env", *self._content())}
        folders = {parent for path in own for parent in path.parents}
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and path not in own:
                path.unlink()
            elif path.is_dir() and path not in folders:
                shutil.rmtree(path)

    def _lead_nobody_away(self) -> None:
        """A container that gets the address of one of another test is to be reached."""
        for pid in filter(int, self.pids(*self.containers()) if self.containers() else ()):
            try:
                rules = filtered(pid, "OUTPUT", "nat")
            except subprocess.CalledProcessError:
                # One that crashes has ended meanwhile, and its network with it.
                if Path("/proc", pid).exists():
                    raise
                continue
            for line in rules:
                if "rollback-playbook" in line:
                    rule = line.partition(" ")[2].split()
                    argv = ["nsenter", f"--net=/proc/{pid}/ns/net", "iptables", "-t", "nat", "-D"]
                    subprocess.run([*argv, *rule], check=True)

    def reload_proxy(self) -> None:
        """Its nginx reads its files again."""
        self.compose(
            "exec", "-T", "proxy",
            "/usr/sbin/nginx", "-p", "/run", "-c", "/etc/nginx/nginx.conf", "-s", "reload",
        )  # fmt: skip

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

    def environment(self, service: str) -> list[str]:
        """What the first of its containers was given."""
        wanted = "{{range .Config.Env}}{{println .}}{{end}}"
        container = self.containers(service)[service][0]
        return docker("inspect", "--format", wanted, container).splitlines()

    def led_away(self, *services: str) -> list[str]:
        """Where services are led to other containers; the proxy and the store, which stay."""
        pids = self.pids(*(services or ("proxy", "store")))
        lines = [each for pid in pids for each in filtered(pid, "OUTPUT", "nat")]
        return [line for line in lines if "rollback-playbook" in line]

    def addresses(self, service: str) -> list[str]:
        """Of each of its containers."""
        wanted = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return docker("inspect", "--format", wanted, *self.containers(service)[service]).split()

    def asked_from(self, service: str, url: str) -> str:
        """What a program in a container gets that asks nobody else; empty when it gets nothing."""
        container = self.containers(service)[service][0]
        argv = ["docker", "exec", container, "/bin/busybox", "wget", "-q", "-O", "-", url]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout

    def health(self, service: str) -> list[str]:
        """What the Engine calls each of its containers."""
        ids = self.containers(service)[service]
        return docker("inspect", "--format", "{{.State.Health.Status}}", *ids).split()

    def pids(self, *services: str) -> list[str]:
        """The first process of each of their containers."""
        containers = [each for ids in self.containers(*services).values() for each in ids]
        return docker("inspect", "--format", "{{.State.Pid}}", *containers).split()

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
        """What a user gets: status, and the version that answered; 0, and why there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_SECONDS)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read()
            version = json.loads(body)["version"] if answer.status in (200, 500) else ""
        except (OSError, http.client.HTTPException, ValueError, KeyError) as exc:
            return 0, repr(exc)
        finally:
            connection.close()
        return answer.status, version

    def wait_for(self, status: int, path: str = "/orders", *, seconds: float = 60) -> None:
        """Until a user gets this status."""
        deadline = time.monotonic() + seconds
        while self.get(path)[0] != status:
            assert time.monotonic() < deadline, f"{path} gives {self.get(path)}, not {status}"
            time.sleep(0.1)


def filtered(pid: str, chain: str, table: str = "filter") -> list[str]:
    """The rules of a packet filter, in the network of a process."""
    argv = ["nsenter", f"--net=/proc/{pid}/ns/net", "iptables", "-t", table, "-S", chain]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
