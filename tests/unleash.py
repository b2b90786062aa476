"""A server that speaks as much of Unleash's APIs as the module uses, as they are documented."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

ADMIN, CLIENT = "*:*.adm1n-t0ken", "default:production.cl1ent-t0ken"


@dataclass
class Unleash:
    """Flags of the project ``default``: by name, whether each is enabled in ``production``."""

    flags: dict[str, bool]
    url: str = ""
    #: Flags that the server refuses to switch.
    refused: set[str] = field(default_factory=set)
    changes: list[tuple[str, bool]] = field(default_factory=list)

    def answer(self, method: str, path: str, token: str) -> tuple[int, Any]:
        if path == "/api/client/features":
            features = [{"name": name, "enabled": on} for name, on in self.flags.items()]
            return (200, {"features": features}) if token == CLIENT else (401, {})
        if token != ADMIN:
            return 401, {"message": "no such token"}
        parts = path.removeprefix("/api/admin/projects/default/features/").split("/")
        if parts[0] not in self.flags:
            return 404, {"message": "no such flag"}
        return self._switch(parts) if method == "POST" else (200, self._described(parts[0]))

    def _described(self, name: str) -> dict[str, Any]:
        here = {"name": "production", "enabled": self.flags[name], "strategies": []}
        return {"name": name, "environments": [{"name": "staging", "enabled": True}, here]}

    def _switch(self, parts: list[str]) -> tuple[int, Any]:
        name, _environments, environment, switch = parts
        if environment != "production" or name in self.refused:
            return 403, {"message": "not allowed"}
        self.flags[name] = switch == "on"
        self.changes.append((name, switch == "on"))
        return 200, None


@pytest.fixture
def unleash() -> Iterator[Unleash]:
    """The server, with two flags that are on and one that is off."""
    state = Unleash({"checkout": True, "search": True, "rate-limiting": False})

    class Handler(http.server.BaseHTTPRequestHandler):
        def _reply(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("Authorization", "")
            status, content = state.answer(self.command, self.path, token)
            body = b"" if content is None else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _reply

        def log_message(self, format: str, *args: object) -> None:
            """Tests print what matters themselves."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
