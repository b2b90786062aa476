"""circuit_breaker with servers behind a real HAProxy: what its clients get."""

from __future__ import annotations

import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.actuator import StartActuator
from tests.module_runner import RunModule
from tests.real_servers import free_port, stop
from tests.redis_topologies import wait_until

pytestmark = pytest.mark.integration

_HAPROXY = """
global
  stats socket {socket} level {level}
defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
frontend shop
  bind 127.0.0.1:{port}
  default_backend shop
backend shop
  server blue {blue}
  server green {green} disabled
"""


@dataclass(frozen=True)
class HaproxyServer:
    """A running HAProxy before two servers."""

    socket: str
    port: int

    @property
    def options(self) -> dict[str, Any]:
        return {"provider": "haproxy", "haproxy_socket": self.socket}

    def status(self) -> int:
        """What a client gets."""
        try:
            url = f"http://127.0.0.1:{self.port}/actuator/circuitbreakers"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as exc:
            with exc:
                return int(exc.code)


@pytest.fixture(params=["admin"])
def haproxy(
    tmp_path: Path, start_actuator: StartActuator, request: pytest.FixtureRequest
) -> Iterator[HaproxyServer]:
    """HAProxy from the system's package. The parameter is the level of its socket."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("haproxy is not installed: apt-get install haproxy")
    blue, green = (start_actuator({}).url.split("/")[2] for _each in range(2))
    server = HaproxyServer(str(tmp_path / "admin.sock"), free_port())
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(
        _HAPROXY.format(
            socket=server.socket, level=request.param, port=server.port, blue=blue, green=green
        )
    )
    process = subprocess.Popen(
        [program, "-db", "-f", str(configuration)], stderr=subprocess.DEVNULL
    )
    wait_until(lambda: Path(server.socket).exists())
    yield server
    stop(process)


def test_haproxy_refuses_requests_while_open_and_is_restored_as_it_was(
    haproxy: HaproxyServer, run_module: RunModule
) -> None:
    before = haproxy.status()

    opened = run_module(
        "circuit_breaker", {**haproxy.options, "breakers": ["shop"], "state": "open"}
    )
    refused = haproxy.status()
    undone = run_module("circuit_breaker", opened["undo"]["args"])

    assert (before, refused, haproxy.status()) == (200, 503, 200)
    assert opened["before"]["shop"]["state"] == "mixed"
    assert undone["after"] == opened["before"]


def test_haproxy_closes_a_server_that_the_configuration_disables(
    haproxy: HaproxyServer, run_module: RunModule
) -> None:
    options = {**haproxy.options, "breakers": ["shop/green"], "state": "closed"}

    closed, again = (run_module("circuit_breaker", options) for _each in range(2))
    run_module("circuit_breaker", {**options, "breakers": ["shop/blue"], "state": "open"})

    assert (closed["changed"], again["changed"]) == (True, False)
    assert haproxy.status() == 200


@pytest.mark.parametrize("haproxy", ["operator"], indirect=True)
def test_haproxy_whose_socket_may_not_change_servers_fails_with_the_reason(
    haproxy: HaproxyServer, run_module: RunModule
) -> None:
    given = {**haproxy.options, "breakers": ["shop"], "state": "open"}

    result = run_module("circuit_breaker", given)

    assert "level admin" in result["msg"]
    assert haproxy.status() == 200
