"""What users of a real nginx get while traffic is paused and resumed."""

from __future__ import annotations

import http.client
import http.server
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.lab.configuration import nginx_binary
from tests.module_runner import RunModule, start_module
from tests.real_servers import free_port

pytestmark = pytest.mark.integration

_CONFIG = """\
{user}daemon off;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  server {{
    listen 127.0.0.1:{port};
    include {root}/maintenance.conf;
    location / {{ proxy_pass http://127.0.0.1:{backend}; }}
  }}
}}
"""


@dataclass(frozen=True)
class Proxy:
    """A running nginx and the module's options for it."""

    root: Path
    port: int

    @property
    def maintenance(self) -> Path:
        return self.root / "maintenance.conf"

    @property
    def options(self) -> dict[str, Any]:
        return {
            "binary": str(nginx_binary()),
            "config": str(self.root / "nginx.conf"),
            "prefix": str(self.root),
            "maintenance_path": str(self.maintenance),
            "url": f"http://127.0.0.1:{self.port}/",
            "timeout": 5,
        }

    def get(self) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("GET", "/", headers={"Connection": "close"})
        response = connection.getresponse()
        response.read()
        return response


class _Backend(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        time.sleep(0.02)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        """Tests print what matters themselves."""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    backend = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Backend)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    found = Proxy(tmp_path, free_port())
    user = "user root;\n" if os.geteuid() == 0 else ""
    text = _CONFIG.format(root=tmp_path, port=found.port, backend=backend.server_port, user=user)
    (tmp_path / "nginx.conf").write_text(text, encoding="ascii")
    found.maintenance.write_text("# nothing here\n", encoding="ascii")
    process = subprocess.Popen(
        [str(nginx_binary()), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    )
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            found.get()
            break
        except OSError:
            time.sleep(0.02)
    yield found
    process.terminate()
    process.wait(timeout=10)
    backend.shutdown()
    backend.server_close()


def _bring(run_module: RunModule, proxy: Proxy, state: str, **options: Any) -> dict[str, Any]:
    return run_module("traffic", {**proxy.options, "state": state, **options})


def test_traffic_paused_gives_users_503_with_retry_after(
    run_module: RunModule, proxy: Proxy
) -> None:
    result = _bring(run_module, proxy, "paused", retry_after=7)
    answer = proxy.get()

    assert result["changed"]
    assert (result["before"]["status"], result["after"]["status"]) == (200, 503)
    assert (answer.status, answer.getheader("Retry-After")) == (503, "7")


def test_traffic_resumed_is_exactly_what_pause_found(run_module: RunModule, proxy: Proxy) -> None:
    before = proxy.maintenance.read_bytes()

    _bring(run_module, proxy, "paused")
    result = _bring(run_module, proxy, "resumed")

    assert result["after"]["status"] == 200
    assert proxy.maintenance.read_bytes() == before
    assert {path.name for path in proxy.root.glob("maintenance*")} == {"maintenance.conf"}


@pytest.mark.parametrize("state", ["paused", "resumed"])
def test_traffic_that_is_as_asked_changes_nothing(
    run_module: RunModule, proxy: Proxy, state: str
) -> None:
    _bring(run_module, proxy, state)

    again = _bring(run_module, proxy, state)

    assert not again["changed"]
    assert again["undo"] is None


def test_traffic_paused_twice_still_resumes_to_what_the_first_pause_found(
    run_module: RunModule, proxy: Proxy
) -> None:
    before = proxy.maintenance.read_bytes()

    _bring(run_module, proxy, "paused")
    _bring(run_module, proxy, "paused", retry_after=99)
    _bring(run_module, proxy, "resumed")

    assert proxy.maintenance.read_bytes() == before


def test_traffic_undo_lets_users_in_again(run_module: RunModule, proxy: Proxy) -> None:
    undo = _bring(run_module, proxy, "paused")["undo"]

    run_module("traffic", undo["args"])

    assert proxy.get().status == 200


def test_traffic_in_check_mode_predicts_and_touches_nothing(
    run_module: RunModule, proxy: Proxy
) -> None:
    result = run_module("traffic", {**proxy.options, "state": "paused"}, check=True, diff=True)

    assert result["changed"]
    assert result["diff"]["after"]["paused"] is True
    assert proxy.get().status == 200


def test_traffic_configuration_that_nginx_refuses_is_put_back_before_a_reload(
    run_module: RunModule, proxy: Proxy
) -> None:
    (proxy.root / "nginx.conf").write_text("nonsense;", encoding="ascii")
    before = proxy.maintenance.read_bytes()

    result = _bring(run_module, proxy, "paused")

    assert result["failed"]
    assert "nonsense" in result["msg"]
    assert proxy.maintenance.read_bytes() == before
    assert proxy.get().status == 200


def test_traffic_whose_server_block_does_not_include_the_file_is_not_called_paused(
    run_module: RunModule, proxy: Proxy
) -> None:
    result = _bring(
        run_module, proxy, "paused", maintenance_path=str(proxy.root / "other.conf"), timeout=1
    )

    assert result["failed"]
    assert "still gives status 200" in result["msg"]
    assert proxy.get().status == 200


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        pytest.param({"url": "nowhere"}, "is not a URL", id="no URL"),
        pytest.param({"binary": "/no/nginx"}, "cannot be run", id="no program"),
        pytest.param({"timeout": -1}, "must not be negative", id="negative timeout"),
    ],
)
def test_traffic_bad_input_is_refused_and_users_notice_nothing(
    run_module: RunModule, proxy: Proxy, options: dict[str, Any], complaint: str
) -> None:
    result = _bring(run_module, proxy, "paused", **options)

    assert complaint in result["msg"]
    assert proxy.get().status == 200


def test_traffic_pause_and_resume_give_every_request_an_answer(
    run_module: RunModule, proxy: Proxy
) -> None:
    seen: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            seen.append(proxy.get().status)
            time.sleep(0.001)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for state in ("paused", "resumed", "paused", "resumed"):
        _bring(run_module, proxy, state)
    stop.set()
    for asker in askers:
        asker.join()

    assert set(seen) == {200, 503}


@pytest.mark.attack
@pytest.mark.parametrize("state", ["paused", "resumed"])
def test_traffic_killed_at_any_moment_is_put_right_by_the_next_run(
    run_module: RunModule, proxy: Proxy, state: str
) -> None:
    other = "resumed" if state == "paused" else "paused"
    found = proxy.maintenance.read_bytes()
    for number in range(25):
        _bring(run_module, proxy, other)
        process = start_module("traffic", {**proxy.options, "state": state})
        time.sleep(0.15 + number * 0.01)
        process.kill()
        process.communicate()

        assert proxy.get().status in (200, 503)
        _bring(run_module, proxy, state)
        assert proxy.get().status == (503 if state == "paused" else 200)
    _bring(run_module, proxy, "resumed")
    assert proxy.maintenance.read_bytes() == found
