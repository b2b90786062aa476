"""health_gate and metrics: Prometheus' API as it is documented, and real metrics pages."""

from __future__ import annotations

import json
import threading
import urllib.parse
from typing import Any

import prometheus_client
import pytest

from tests.gate_servers import Handler, HttpApp, ProbeOnce, app, probe_once, reply
from tests.module_runner import RunModule

__all__ = ["app", "probe_once"]

pytestmark = pytest.mark.integration


def _answer_query(request: Handler, data: Any) -> None:
    reply(request, 200, json.dumps({"status": "success", "data": data}))


def _vector(*values: str) -> dict[str, Any]:
    result = [{"metric": {"job": "shop"}, "value": [1e9, value]} for value in values]
    return {"resultType": "vector", "result": result}


def test_prometheus_is_asked_the_query_as_it_is_written(
    app: HttpApp, probe_once: ProbeOnce
) -> None:
    app.answer = lambda request: _answer_query(request, _vector("0.01"))
    query = 'sum(rate(errors_total{code=~"5.."}[2m])) / 2 > 0 or vector(0) # 50%'
    check = probe_once("prometheus", url=app.url("/prom/"), query=query, max=0.05)
    assert check["state"] == "passed", check["last_error"]
    path, _mark, asked = app.requests[0].path.partition("?")
    assert path == "/prom/api/v1/query"
    assert urllib.parse.parse_qs(asked) == {"query": [query]}


@pytest.mark.parametrize(
    ("data", "on_no_data", "state"),
    [
        (_vector("0.2"), "fail", "failed"),
        (_vector(), "fail", "failed"),
        (_vector(), "inconclusive", "inconclusive"),
        (_vector(), "pass", "passed"),
        (_vector("NaN"), "pass", "inconclusive"),
        (_vector("NaN"), "fail", "failed"),
        (_vector("+Inf"), "pass", "failed"),
        ({"resultType": "matrix", "result": []}, "pass", "inconclusive"),
        ({"resultType": "string", "result": [1, "0"]}, "pass", "inconclusive"),
    ],
)
def test_prometheus_answer_is_judged(
    app: HttpApp, probe_once: ProbeOnce, data: Any, on_no_data: str, state: str
) -> None:
    app.answer = lambda request: _answer_query(request, data)
    check = probe_once("prometheus", url=app.url(), query="q", max=0.1, on_no_data=on_no_data)
    assert check["state"] == state


def test_prometheus_that_refuses_the_query_is_inconclusive_in_its_words(
    app: HttpApp, probe_once: ProbeOnce
) -> None:
    refusal = {"status": "error", "errorType": "bad_data", "error": "1:2: parse error"}
    app.answer = lambda request: reply(request, 400, json.dumps(refusal))
    check = probe_once("prometheus", url=app.url(), query="((", max=1)
    assert check["state"] == "inconclusive"
    assert check["last_error"] == "Prometheus refused the query: 1:2: parse error"


def test_prometheus_that_hangs_is_inconclusive(app: HttpApp, probe_once: ProbeOnce) -> None:
    release = threading.Event()
    app.answer = lambda request: release.wait(30) and reply(request, 200)
    try:
        check = probe_once("prometheus", timeout=0.3, url=app.url(), query="up", max=1)
    finally:
        release.set()
    assert (check["state"], check["last_error"]) == ("inconclusive", "no answer within 0.3 s")


class Shop:
    """The metrics of a service, by the official client library."""

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        self.requests = prometheus_client.Counter(
            "shop_requests", "n", ["code"], registry=self.registry
        )
        self.seconds = prometheus_client.Histogram("shop_seconds", "s", registry=self.registry)
        self.memory = prometheus_client.Gauge("shop_memory_ratio", "m", registry=self.registry)

    def serve(self, *, good: int, bad: int, seconds: float) -> None:
        for _request in range(good + bad):
            self.seconds.observe(seconds)
        self.requests.labels("200").inc(good)
        self.requests.labels("503").inc(bad)

    def page(self) -> str:
        return prometheus_client.generate_latest(self.registry).decode()


@pytest.fixture
def shop(app: HttpApp) -> Shop:
    metrics = Shop()
    app.answer = lambda request: reply(request, 200, metrics.page())
    return metrics


def _gate(app: HttpApp, **options: Any) -> dict[str, Any]:
    check = {"name": "m", "metrics": {"url": app.url("/metrics"), **options}}
    return {"checks": [check], "period": 0.05, "deadline": 20, "failure_threshold": 20}


def test_metrics_value_is_judged(app: HttpApp, shop: Shop, probe_once: ProbeOnce) -> None:
    shop.memory.set(0.65)
    at = {"url": app.url("/metrics"), "metric": "shop_memory_ratio"}
    assert probe_once("metrics", **at, max=0.7)["state"] == "passed"
    check = probe_once("metrics", **at, max=0.6)
    assert check["last_error"] == "the value of shop_memory_ratio is 0.65, above 0.6"


ERROR_RATE = {
    "metric": "shop_requests_total",
    "labels": {"code": "5.."},
    "function": "increase",
    "per": {"metric": "shop_requests_total"},
    "window": 0.3,
    "max": 0.01,
}


def test_metrics_error_rate_turns_green_when_the_errors_stop(
    app: HttpApp, shop: Shop, run_module: RunModule
) -> None:
    shop.serve(good=1000, bad=500, seconds=0.01)

    def serve_and_answer(request: Handler) -> None:
        shop.serve(good=10, bad=10 if len(app.requests) < 6 else 0, seconds=0.01)
        reply(request, 200, shop.page())

    app.answer = serve_and_answer
    result = run_module("health_gate", _gate(app, **ERROR_RATE))
    assert result["outcome"] == "passed", result["msg"]
    (check,) = result["checks"]
    assert "the increase of shop_requests_total is" in check["last_error"]
    outcomes = [sample["outcome"] for sample in check["samples"]]
    assert outcomes[0] != "passed"
    assert "failed" in outcomes


def test_metrics_error_rate_of_a_service_without_traffic_is_no_pass(
    app: HttpApp, shop: Shop, run_module: RunModule
) -> None:
    shop.serve(good=1000, bad=0, seconds=0.01)
    result = run_module("health_gate", _gate(app, **ERROR_RATE, on_no_data="inconclusive"))
    assert result["outcome"] == "inconclusive"
    assert "there was no shop_requests_total to divide by" in result["msg"]


def test_metrics_quantile_is_of_the_latest_requests(
    app: HttpApp, shop: Shop, run_module: RunModule
) -> None:
    shop.serve(good=10_000, bad=0, seconds=9.0)

    def serve_and_answer(request: Handler) -> None:
        shop.serve(good=10, bad=0, seconds=0.02)
        reply(request, 200, shop.page())

    app.answer = serve_and_answer
    options = {"metric": "shop_seconds", "function": "quantile", "max": 0.1, "window": 5}
    result = run_module("health_gate", _gate(app, **options))
    assert result["outcome"] == "passed", result["msg"]


def test_metrics_name_that_the_service_does_not_know_is_no_data(
    app: HttpApp, shop: Shop, probe_once: ProbeOnce
) -> None:
    shop.memory.set(0.5)
    check = probe_once("metrics", url=app.url("/metrics"), metric="shop_mem", max=1)
    assert check["state"] == "failed"
    assert check["last_error"] == "the page has no such series of shop_mem"


@pytest.mark.parametrize(
    ("status", "body"), [(500, "oops"), (200, "<html>login</html>"), (200, "")]
)
def test_metrics_page_that_cannot_be_read_is_inconclusive(
    app: HttpApp, probe_once: ProbeOnce, status: int, body: str
) -> None:
    app.answer = lambda request: reply(request, status, body)
    check = probe_once("metrics", url=app.url("/metrics"), metric="a", min=0, on_no_data="pass")
    assert check["state"] == "inconclusive"
