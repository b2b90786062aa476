"""health_gate asks Docker, which is replaced at the wire: a server with the Engine's answers."""

from __future__ import annotations

import json
import struct
import time
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.gate_servers import Handler, HttpApp, ProbeOnce, http_app, probe_once, reply
from tests.module_runner import RunModule

__all__ = ["probe_once"]

pytestmark = pytest.mark.integration


def container(
    name: str, health: str | None = "healthy", *, started: str = "2026-11-22T03:00:00Z"
) -> dict[str, Any]:
    """What ``GET /containers/{id}/json`` of the Engine API 1.41 says, as far as it matters."""
    state: dict[str, Any] = {
        "Status": "running",
        "Running": True,
        "Restarting": False,
        "OOMKilled": False,
        "ExitCode": 0,
        "StartedAt": started,
    }
    if health is not None:
        state["Health"] = {"Status": health, "FailingStreak": 4, "Log": []}
    check = {} if health is None else {"Healthcheck": {"Test": ["CMD-SHELL", "curl localhost"]}}
    config = {"Tty": False, **check}
    return {"Id": f"id-of-{name}", "Name": f"/{name}", "State": state, "Config": config}


class Docker:
    """The Engine's answers, by container."""

    def __init__(self, app: HttpApp, socket: Path) -> None:
        self.app = app
        self.docker_host = f"unix://{socket}"
        self.known: dict[str, dict[str, Any]] = {}
        self.logs = b""
        self.executed: list[list[str]] = []
        self.exit_code, self.output = 0, b""
        app.answer = self.answer

    def run(self, *containers: dict[str, Any]) -> None:
        self.known = {each["Name"][1:]: each for each in containers}

    def answer(self, request: Handler) -> None:
        path, _mark, query = request.path.partition("?")
        if request.command == "POST" or path.startswith("/exec/"):
            self._execute(request, path)
            return
        asked = dict(urllib.parse.parse_qsl(query))
        if path == "/containers/json":
            assert asked["all"] == "true"
            self.labels = json.loads(asked["filters"])["label"]
            reply(request, 200, json.dumps([{"Id": name} for name in self.known]))
            return
        _containers, name, action = path.strip("/").split("/")
        if name not in self.known:
            reply(request, 404, '{"message": "No such container"}')
        elif action == "logs":
            request.send_response(200)
            request.send_header("Content-Length", str(len(self.logs)))
            request.end_headers()
            request.wfile.write(self.logs)
        else:
            reply(request, 200, json.dumps(self.known[name]))

    def _execute(self, request: Handler, path: str) -> None:
        order = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if path == "/containers/id-of-web/exec":
            self.executed.append(json.loads(order)["Cmd"])
            reply(request, 201, '{"Id": "e1"}')
        elif path == "/exec/e1/json":
            reply(request, 200, json.dumps({"Running": False, "ExitCode": self.exit_code}))
        else:
            # As the Engine does it: no length, the end of the connection is the end.
            assert path == "/exec/e1/start"
            request.send_response(200)
            request.send_header("Content-Type", "application/vnd.docker.raw-stream")
            request.send_header("Connection", "close")
            request.end_headers()
            request.wfile.write(struct.pack("!BxxxI", 1, len(self.output)) + self.output)


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Docker]:
    socket = tmp_path / "docker.sock"
    with http_app(unix_socket=socket) as app:
        yield Docker(app, socket)


@pytest.mark.parametrize(
    ("known", "options", "state", "error"),
    [
        pytest.param([container("web")], {"names": ["web"]}, "passed", None, id="healthy"),
        pytest.param(
            [container("web", "unhealthy")],
            {"names": ["web"]},
            "failed",
            "web is unhealthy: its health check failed 4 times in a row",
            id="unhealthy",
        ),
        pytest.param(
            [container("web", "starting")],
            {"names": ["web"], "early_health_check": False},
            "inconclusive",
            "web is still in the start period of its health check",
            id="starting",
        ),
        pytest.param(
            [container("web", None)],
            {"names": ["web"]},
            "inconclusive",
            "web runs, but has no health check that could tell more",
            id="no health check",
        ),
        pytest.param(
            [container("web", None)],
            {"names": ["web"], "health_check": "if_defined"},
            "passed",
            None,
            id="no health check needed",
        ),
        pytest.param(
            [container("web")],
            {"names": ["web", "db"]},
            "failed",
            "db: there is no such container",
            id="missing",
        ),
        pytest.param(
            [container("a"), container("b")],
            {"labels": {"com.docker.compose.project": "shop"}, "at_least": 2},
            "passed",
            None,
            id="by label",
        ),
        pytest.param(
            [container("a")],
            {"labels": {"com.docker.compose.project": "shop"}, "at_least": 2},
            "failed",
            "1 containers carry the labels, at least 2 must",
            id="too few",
        ),
    ],
)
def test_container_is_judged(
    docker: Docker,
    probe_once: ProbeOnce,
    known: list[dict[str, Any]],
    options: dict[str, Any],
    state: str,
    error: str | None,
) -> None:
    docker.run(*known)
    check = probe_once("container", docker_host=docker.docker_host, **options)
    assert (check["state"], check["last_error"]) == (state, error)
    if "labels" in options:
        assert docker.labels == ["com.docker.compose.project=shop"]


def test_health_check_that_the_engine_has_not_got_round_to_is_run_at_once(
    docker: Docker, probe_once: ProbeOnce
) -> None:
    docker.run(container("web", "starting"))
    check = probe_once("container", docker_host=docker.docker_host, names=["web"])
    assert (check["state"], check["last_error"]) == ("passed", None)
    assert docker.executed == [["/bin/sh", "-c", "curl localhost"]]


def test_health_check_that_is_run_early_and_fails_says_nothing_yet(
    docker: Docker, probe_once: ProbeOnce
) -> None:
    docker.run(container("web", "starting"))
    docker.exit_code, docker.output = 7, b"asking\ncurl: (7) Failed to connect\n"
    check = probe_once("container", docker_host=docker.docker_host, names=["web"])
    assert (check["state"], check["last_error"]) == (
        "inconclusive",
        "web is still in the start period of its health check, which ended with exit code 7 just "
        "now and said: curl: (7) Failed to connect",
    )


@pytest.mark.parametrize("health", ["healthy", "unhealthy", None])
def test_nothing_is_run_in_a_container_that_the_engine_has_judged(
    docker: Docker, probe_once: ProbeOnce, health: str | None
) -> None:
    docker.run(container("web", health))
    probe_once("container", docker_host=docker.docker_host, names=["web"])
    assert docker.executed == []


def test_container_in_a_restart_loop_never_gets_green(
    docker: Docker, run_module: RunModule
) -> None:
    def answer(request: Handler) -> None:
        docker.run(container("web", started=f"2026-11-22T03:00:{len(docker.app.requests):02}Z"))
        docker.answer(request)

    docker.app.answer = answer
    check = {"name": "web", "container": {"names": ["web"], "docker_host": docker.docker_host}}
    args = {"checks": [check], "period": 0.02, "success_threshold": 2, "failure_threshold": 5}
    result = run_module("health_gate", args)
    assert result["outcome"] == "failed"
    assert result["checks"][0]["last_error"] == "web was restarted since the last look"


def test_container_without_docker_is_inconclusive(tmp_path: Path, probe_once: ProbeOnce) -> None:
    docker_host = f"unix://{tmp_path}/none.sock"
    check = probe_once("container", names=["web"], docker_host=docker_host)
    assert check["state"] == "inconclusive"
    assert check["last_error"].startswith("Docker cannot be asked: ")


def _frame(age: float, text: str) -> bytes:
    moment = datetime.fromtimestamp(time.time() - age, UTC)
    payload = f"{moment:%Y-%m-%dT%H:%M:%S.%f}000Z {text}\n".encode()
    return struct.pack("!BxxxI", 2, len(payload)) + payload


def test_log_of_a_container_counts_each_line_once(docker: Docker, run_module: RunModule) -> None:
    docker.run(container("web"))
    docker.logs = _frame(1, "ERROR one") + _frame(0.5, "ERROR two")
    log = {
        "container": "web",
        "docker_host": docker.docker_host,
        "pattern": "ERROR",
        "since": 60,
        "max_matches": 2,
    }
    args = {"checks": [{"name": "l", "log": log}], "period": 0.02, "failure_threshold": 1}
    assert run_module("health_gate", args)["outcome"] == "passed"
    log["max_matches"] = 1
    result = run_module("health_gate", args)
    assert result["checks"][0]["last_error"] == "2 matching lines, at most 1 are allowed"


def test_log_of_a_container_that_is_not_there_is_inconclusive(
    docker: Docker, probe_once: ProbeOnce
) -> None:
    options = {"container": "web", "docker_host": docker.docker_host, "pattern": "ERROR"}
    check = probe_once("log", **options)
    assert check["state"] == "inconclusive"
    assert check["last_error"] == "web: there is no such container"
