"""Breakers that recover one after the other, each watched by a gate before the next."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule
from tests.real_servers import RedisServer
from tests.role_runner import run_playbook

pytestmark = pytest.mark.integration

_BREAKERS = ["payments", "search", "mail"]
_PLAYBOOK = """
- name: Confirm
  hosts: app
  gather_facts: false
  any_errors_fatal: true
  max_fail_percentage: 0
  tasks:
    - name: Breakers and flags
      ansible.builtin.include_role: {name: sre.rollback.protect, tasks_from: "{{ entry }}"}
"""
_FLAGS = {
    "flags": {
        "checkout": {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "on",
        }
    }
}


class App:
    """Healthy, but while the breaker of a service is closed that is down."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self.down: set[str] = set()
        self.url = ""

    def states(self) -> dict[str, str]:
        """The state of each breaker as pybreaker's storage has it."""
        client = self._server.client()
        found = {name: client.get(f"{name}:pybreaker:state") for name in _BREAKERS}
        client.close()
        return {name: (state or b"").decode() for name, state in found.items()}

    @property
    def status(self) -> int:
        states = self.states()
        return 503 if any(states[name] == "closed" for name in self.down) else 200


@pytest.fixture
def app(valkey_server: RedisServer) -> Iterator[App]:
    state = App(valkey_server)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(state.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Tests print what matters themselves."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}/"
    yield state
    server.shutdown()
    server.server_close()


def _protect(
    folder: Path, app: App, server: RedisServer, entry: str, **variables: Any
) -> subprocess.CompletedProcess[str]:
    inventory = {
        "app": {
            "hosts": {"web1": None, "web2": None},
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "rollback_environment": "lab",
                "incident_reason": "a test",
                "entry": entry,
                "protect_breakers": _BREAKERS if entry == "open" else ["all"],
                "protect_flags": {"checkout": "off"},
                "protect_flag_path": str(folder / "flags.json"),
                "protect_restore_points": str(folder / "points"),
                "protect_breaker_connection": server.login,
                "protect_recovery_checks": [{"name": "users are served", "http": {"url": app.url}}],
                "protect_recovery_watch": 0.5,
                "protect_recovery_period": 0.1,
                **variables,
            },
        }
    }
    return run_playbook(folder, _PLAYBOOK, inventory)


def _variant(folder: Path) -> str:
    document = json.loads((folder / "flags.json").read_text(encoding="ascii"))
    return str(document["flags"]["checkout"]["defaultVariant"])


def test_breakers_recover_up_to_the_one_with_which_the_system_turns_red(
    tmp_path: Path, app: App, valkey_server: RedisServer
) -> None:
    (tmp_path / "flags.json").write_text(json.dumps(_FLAGS), encoding="ascii")
    done = _protect(tmp_path, app, valkey_server, "open")
    assert done.returncode == 0, done.stdout
    assert set(app.states().values()) == {"open"}
    assert _variant(tmp_path) == "off"

    app.down = {"payments"}
    done = _protect(tmp_path, app, valkey_server, "recover")

    # By name: mail is closed, payments opened again, and search was never tried.
    assert done.returncode != 0
    assert app.states() == {"mail": "closed", "payments": "open", "search": "open"}
    assert "Breaker payments was closed and is open again" in done.stdout
    assert "HTTP status 503" in done.stdout
    assert _variant(tmp_path) == "off"

    app.down = set()
    done = _protect(tmp_path, app, valkey_server, "recover")
    assert done.returncode == 0, done.stdout
    assert set(app.states().values()) == {"closed"}
    assert _variant(tmp_path) == "on"


@pytest.mark.parametrize(
    ("named", "more", "closed"),
    [
        pytest.param([], ["payments"], {"payments"}, id="none but further ones"),
        pytest.param(["search"], ["payments", "search"], {"payments", "search"}, id="both"),
        pytest.param(["all"], ["payments"], set(_BREAKERS), id="all, and one of them by name"),
    ],
)
def test_breakers_that_no_rollback_opens_recover_with_the_others(
    tmp_path: Path,
    app: App,
    valkey_server: RedisServer,
    named: list[str],
    more: list[str],
    closed: set[str],
) -> None:
    (tmp_path / "flags.json").write_text(json.dumps(_FLAGS), encoding="ascii")
    done = _protect(tmp_path, app, valkey_server, "open")
    assert done.returncode == 0, done.stdout

    done = _protect(
        tmp_path, app, valkey_server, "recover", protect_breakers=named, protect_more_breakers=more
    )

    assert done.returncode == 0, done.stdout
    assert {name for name, state in app.states().items() if state == "closed"} == closed


def test_breakers_and_flags_are_undone_from_what_the_record_has_of_them(
    tmp_path: Path, app: App, valkey_server: RedisServer, run_module: RunModule
) -> None:
    flags = tmp_path / "flags.json"
    flags.write_text(json.dumps(_FLAGS), encoding="ascii")
    client = valkey_server.client()
    client.mset({"payments:pybreaker:state": "closed", "mail:pybreaker:state": "half-open"})
    found = {key: client.get(key) for key in client.scan_iter()}
    opened = run_module(
        "circuit_breaker",
        {
            **valkey_server.login,
            "breakers": _BREAKERS,
            "state": "open",
            "holder": "rollback of lab",
            "settle": 0,
        },
    )
    switched = run_module("feature_flag", {"path": str(flags), "flags": {"checkout": "off"}})
    assert set(app.states().values()) == {"open"}

    for step in (opened, switched):
        done = _protect(tmp_path, app, valkey_server, "undo", protect_undo=step["undo"])
        assert done.returncode == 0, done.stdout

    assert {key: client.get(key) for key in client.scan_iter()} == found
    assert json.loads(flags.read_text(encoding="ascii")) == _FLAGS
