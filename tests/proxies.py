"""Real proxies before two sides of an application, blue and green: nginx and HAProxy."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.lab.configuration import nginx_binary
from tests.module_runner import ModuleResult, RunModule
from tests.real_servers import free_port, stop
from tests.redis_topologies import wait_until

_NGINX = """\
{user}daemon off;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  include {root}/upstream.conf;
  server {{
    listen 127.0.0.1:{port};
    include {root}/maintenance.conf;
    location / {{ proxy_pass http://app; }}
  }}
}}
"""

_HAPROXY = """\
global
  stats socket {root}/admin.sock level admin
  server-state-file {root}/server-state
defaults
  mode http
  load-server-state-from-file global
  timeout connect 2s
  timeout client 5s
  timeout server 5s
frontend users
  bind 127.0.0.1:{port}
  default_backend app
backend app
  server blue {blue} check inter 100
  server green {green} check inter 100
"""


@dataclass(frozen=True)
class Sides:
    """The addresses of two servers that say which they are."""

    blue: str
    green: str


def bring(run_module: RunModule, proxy: Proxy, state: str, **options: Any) -> ModuleResult:
    """What ``traffic`` says of bringing the proxy to this state."""
    return run_module("traffic", {**proxy.options, "state": state, **options})


@contextlib.contextmanager
def users(proxy: Proxy) -> Iterator[set[int | str]]:
    """Ten users who ask again a millisecond after each answer: the statuses and errors they get."""
    seen: set[int | str] = set()
    gone = threading.Event()

    def ask() -> None:
        while not gone.is_set():
            try:
                seen.add(proxy.get().status)
            except (OSError, http.client.HTTPException) as exc:
                seen.add(repr(exc))
            time.sleep(0.001)

    asking = [threading.Thread(target=ask) for _each in range(10)]
    for user in asking:
        user.start()
    try:
        yield seen
    finally:
        gone.set()
        for user in asking:
            user.join()


@dataclass(frozen=True)
class Proxy:
    """A running proxy in a folder of its own, and the module's options for it."""

    root: Path
    port: int
    sides: Sides
    own_options: dict[str, Any]

    @property
    def maintenance(self) -> Path:
        """The file that nginx includes."""
        return self.root / "maintenance.conf"

    @property
    def upstream(self) -> Path:
        """The other file that nginx includes."""
        return self.root / "upstream.conf"

    @property
    def options(self) -> dict[str, Any]:
        return {**self.own_options, "url": f"http://127.0.0.1:{self.port}/", "timeout": 20}

    def get(self) -> http.client.HTTPResponse:
        """What a user gets; its body is in ``colour``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("GET", "/", headers={"Connection": "close"})
        response = connection.getresponse()
        response.read()
        connection.close()
        return response

    def seen(self) -> tuple[int, str]:
        """The status a user gets, and the side that answered."""
        response = self.get()
        return response.status, response.getheader("X-Colour", "")


def _server(colour: str) -> http.server.ThreadingHTTPServer:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(0.02)
            self.send_response(200)
            self.send_header("X-Colour", colour)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:
            """Tests print what matters themselves."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def sides() -> Iterator[Sides]:
    """Blue and green."""
    servers = [_server("blue"), _server("green")]
    yield Sides(*(f"127.0.0.1:{server.server_port}" for server in servers))
    for server in servers:
        server.shutdown()
        server.server_close()


def _answers(proxy: Proxy) -> bool:
    try:
        return proxy.get().status == 200
    except OSError:
        return False


@pytest.fixture
def proxy(tmp_path: Path, sides: Sides) -> Iterator[Proxy]:
    """nginx, with users on green."""
    config = tmp_path / "nginx.conf"
    options = {
        "binary": str(nginx_binary()),
        "config": str(config),
        "prefix": str(tmp_path),
        "maintenance_path": str(tmp_path / "maintenance.conf"),
    }
    found = Proxy(tmp_path, free_port(), sides, options)
    user = "user root;\n" if os.geteuid() == 0 else ""
    config.write_text(_NGINX.format(root=tmp_path, port=found.port, user=user), encoding="ascii")
    found.maintenance.write_text("# nothing here\n", encoding="ascii")
    found.upstream.write_text(f"upstream app {{ server {sides.green}; }}\n", encoding="ascii")
    process = subprocess.Popen([str(nginx_binary()), "-p", str(tmp_path), "-c", str(config)])
    wait_until(lambda: _answers(found))
    yield found
    process.terminate()
    process.wait(timeout=30)


def start_haproxy(root: Path, *more: str) -> subprocess.Popen[bytes]:
    """HAProxy with the configuration in ``root``; skips where there is none."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("haproxy is not installed: apt-get install haproxy")
    argv = [program, "-db", "-f", str(root / "haproxy.cfg"), *more]
    return subprocess.Popen(argv, stderr=subprocess.DEVNULL)


@pytest.fixture
def haproxy_proxy(tmp_path: Path, sides: Sides) -> Iterator[Proxy]:
    """HAProxy, with users on both sides."""
    options = {
        "provider": "haproxy",
        "haproxy_socket": str(tmp_path / "admin.sock"),
        "server_state_path": str(tmp_path / "server-state"),
        "backend": "app",
    }
    found = Proxy(tmp_path, free_port(), sides, options)
    text = _HAPROXY.format(root=tmp_path, port=found.port, blue=sides.blue, green=sides.green)
    (tmp_path / "haproxy.cfg").write_text(text, encoding="ascii")
    process = start_haproxy(tmp_path)
    wait_until(lambda: _answers(found))
    yield found
    stop(process)
