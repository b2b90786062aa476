"""Resilience4j's actuator endpoint, answered at the wire: there is no Java here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote

import pytest

_RESULTS = {"CLOSE": "CLOSED", "FORCE_OPEN": "FORCED_OPEN", "DISABLE": "DISABLED"}


@dataclass
class Actuator:
    """The endpoint ``circuitbreakers`` of one Spring Boot application, as its source has it.

    ``refuses`` is the status that writing is answered with; ``posts`` are the names written.
    """

    states: dict[str, str]
    refuses: int | None = None
    token: str | None = None
    posts: list[str] = field(default_factory=list)
    url: str = ""

    def list(self) -> dict[str, Any]:
        rates = {"failureRate": "-1.0%", "bufferedCalls": 0, "notPermittedCalls": 0}
        return {"circuitBreakers": {n: {**rates, "state": s} for n, s in self.states.items()}}

    def update(self, name: str, update: str) -> dict[str, str]:
        self.posts.append(name)
        self.states[name] = _RESULTS[update]
        return {"circuitBreakerName": name, "currentState": self.states[name]}


def _handler(actuator: Actuator) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if actuator.token and self.headers["Authorization"] != f"Bearer {actuator.token}":
                self._answer(401, {})
            elif self.path == "/actuator/circuitbreakers":
                self._answer(200, actuator.list())
            else:
                self._answer(404, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if actuator.refuses:
                self._answer(actuator.refuses, {})
            else:
                name = unquote(self.path.rpartition("/")[2])
                self._answer(200, actuator.update(name, body["updateState"]))

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_arguments: object) -> None:
            pass

    return Handler


StartActuator = Callable[..., Actuator]


@pytest.fixture
def start_actuator() -> Iterator[StartActuator]:
    """``start_actuator({name: state}, **Actuator's fields)``."""
    servers = []

    def start(states: dict[str, str], **fields: Any) -> Actuator:
        actuator = Actuator(dict(states), **fields)
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(actuator))
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        actuator.url = f"http://127.0.0.1:{server.server_port}/actuator"
        return actuator

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
