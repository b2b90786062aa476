"""What metrics and processes were like is kept on the host, before a restart takes it away."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from tests.gate_servers import Handler, HttpApp, app, reply
from tests.module_runner import RunModule

__all__ = ["app"]

pytestmark = pytest.mark.integration

_PAGE = "shop_orders_total 42\n"
_RANGE = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": []}})


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "restore-points" / "evidence"


def serve(request: Handler) -> None:
    """A service with a metrics page, and Prometheus beside it."""
    reply(request, 200, _RANGE if "query_range" in request.path else _PAGE)


def orders(url: str, name: str = "orders come in", **more: Any) -> dict[str, Any]:
    return {"name": name, "metrics": {"url": url, "metric": "shop_orders_total", "min": 1, **more}}


def index(dest: Path) -> list[dict[str, Any]]:
    pages: list[dict[str, Any]] = json.loads((dest / "metrics.json").read_text())["pages"]
    return pages


def test_pages_that_the_gate_asks_are_kept_for_their_owner_alone_each_once(
    run_module: RunModule, app: HttpApp, dest: Path
) -> None:
    app.answer = serve
    query = 'rate(errors_total{code=~"5.."}[2m])'
    checks = [
        orders(app.url("/metrics")),
        orders(app.url("/metrics"), "orders are many", min=100),
        {"name": "few errors", "prometheus": {"url": app.url("/prom"), "query": query, "max": 1}},
        {"name": "answers", "http": {"url": app.url("/")}},
    ]

    result = run_module("metrics_evidence", {"checks": checks, "dest": str(dest)})

    assert result["changed"]
    assert result["missing"] == []
    assert set(result["files"]) == {
        "metrics.json", "processes.txt", "metrics-1.txt", "metrics-2.json",
    }  # fmt: skip
    assert (dest / "metrics-1.txt").read_text() == _PAGE
    assert (dest / "metrics-2.json").read_text() == _RANGE
    assert [page["checks"] for page in index(dest)] == [
        ["orders come in", "orders are many"],
        ["few errors"],
    ]
    assert dest.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in dest.iterdir()} == {0o600}
    assert len(app.requests) == 2


def test_prometheus_is_asked_for_the_last_hour_of_the_query(
    run_module: RunModule, app: HttpApp, dest: Path
) -> None:
    app.answer = serve
    check = {"name": "few errors", "prometheus": {"url": app.url(), "query": "a or b", "max": 1}}

    run_module("metrics_evidence", {"checks": [check], "dest": str(dest)})

    path, _mark, asked = app.requests[0].path.partition("?")
    found = {name: values[0] for name, values in urllib.parse.parse_qs(asked).items()}
    assert path == "/api/v1/query_range"
    assert found["query"] == "a or b"
    assert int(found["end"]) - int(found["start"]) == 3600
    assert abs(int(found["end"]) - time.time()) < 120


def test_processes_are_kept_with_their_memory(run_module: RunModule, dest: Path) -> None:
    run_module("metrics_evidence", {"dest": str(dest)})

    lines = (dest / "processes.txt").read_text().splitlines()
    assert lines[0].split() == ["PID", "PPID", "USER", "RSS", "%CPU", "ELAPSED", "COMMAND"]
    (own,) = (line.split() for line in lines[1:] if line.split()[0] == str(os.getpid()))
    assert int(own[3]) > 1000


def test_host_without_ps_keeps_its_metrics_all_the_same(
    run_module: RunModule, app: HttpApp, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.answer = serve
    monkeypatch.setenv("PATH", "/nowhere")

    result = run_module(
        "metrics_evidence", {"checks": [orders(app.url("/metrics"))], "dest": str(dest)}
    )

    assert "metrics-1.txt" in result["files"]
    assert "ps" in (dest / "processes.txt").read_text()


def test_pages_that_hang_cost_the_timeout_once_and_are_said(
    run_module: RunModule, app: HttpApp, dest: Path
) -> None:
    release = threading.Event()
    app.answer = lambda request: release.wait(120) and reply(request, 200)
    checks = [orders(app.url(f"/{number}"), f"check {number}") for number in range(8)]
    args = {"checks": checks, "dest": str(dest), "timeout": 1.5}
    try:
        result = run_module("metrics_evidence", args)
        # Each was asked, and had all of the time: they were asked beside each other.
        asked = {request.path for request in app.requests}
    finally:
        release.set()
    assert asked == {f"/{number}" for number in range(8)}
    assert len(result["missing"]) == 8
    # Two clocks run: that of the connection, and that of the whole page.
    told = {"no answer within 1.5 s", f"127.0.0.1:{app.port} did not answer in time"}
    assert {page["error"] for page in result["missing"]} <= told
    assert {page["error"] for page in index(dest)} <= told
    assert not list(dest.glob("metrics-*"))


def test_service_that_is_down_or_red_is_no_failure(
    run_module: RunModule, app: HttpApp, dest: Path
) -> None:
    app.answer = lambda request: reply(request, 503, "overloaded")
    checks = [orders(app.url("/metrics")), orders("http://127.0.0.1:9/metrics", "nobody")]

    result = run_module("metrics_evidence", {"checks": checks, "dest": str(dest)})

    assert not result.get("failed")
    assert [page["checks"] for page in result["missing"]] == [["orders come in"], ["nobody"]]
    assert "HTTP status 503" in result["missing"][0]["error"]
    assert "refuses connections" in result["missing"][1]["error"]


def test_what_an_earlier_attempt_has_kept_is_left_as_it_is(
    run_module: RunModule, app: HttpApp, dest: Path
) -> None:
    app.answer = serve
    args = {"checks": [orders(app.url("/metrics"))], "dest": str(dest)}
    run_module("metrics_evidence", args)
    (dest / "metrics-1.txt").write_text("the first attempt")

    result = run_module("metrics_evidence", args)

    assert not result["changed"]
    assert result["files"] == []
    assert (dest / "metrics-1.txt").read_text() == "the first attempt"


def test_check_mode_asks_nobody_and_writes_nothing(
    run_module: RunModule, app: HttpApp, dest: Path
) -> None:
    app.answer = serve
    args = {"checks": [orders(app.url("/metrics"))], "dest": str(dest)}

    assert run_module("metrics_evidence", args, check=True)["changed"]
    assert not dest.exists()
    assert app.requests == []


def test_check_that_cannot_be_read_is_refused_by_its_name(
    run_module: RunModule, dest: Path
) -> None:
    check = {"name": "no address", "metrics": {"metric": "a", "min": 1}}

    result = run_module("metrics_evidence", {"checks": [check], "dest": str(dest)})

    assert result["failed"]
    assert "check 'no address': missing required arguments: url" in result["msg"]
    assert not dest.exists()


def test_no_credential_is_kept_or_returned(run_module: RunModule, app: HttpApp, dest: Path) -> None:
    app.answer = lambda request: reply(request, 403, "no")
    url = app.url("/metrics").replace("http://", "http://scraper:of-the-shop@")
    checks = [
        orders(url),
        orders(app.url("/other"), headers={"Authorization": "Bearer of-the-operator"}),
    ]

    result = run_module("metrics_evidence", {"checks": checks, "dest": str(dest)})

    text = json.dumps(result) + (dest / "metrics.json").read_text()
    assert "of-the-shop" not in text
    assert "of-the-operator" not in text
    assert {request.headers["Authorization"][:6] for request in app.requests} == {
        "Basic ", "Bearer",
    }  # fmt: skip
