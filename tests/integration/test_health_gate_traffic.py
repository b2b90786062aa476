"""health_gate under load, and users who must not see each other's answers."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.gate_servers import Handler, HttpApp, ProbeOnce, app, probe_once, reply

__all__ = ["app", "probe_once"]

pytestmark = pytest.mark.integration


def test_load_is_sent_completely_and_so_many_requests_at_once(
    app: HttpApp, probe_once: ProbeOnce
) -> None:
    together = threading.Barrier(4, timeout=10)

    def answer(request: Handler) -> None:
        together.wait()
        reply(request, 200)

    app.answer = answer
    check = probe_once("load", timeout=30, url=app.url(), requests=40, at_once=4, max_mean=20)
    assert check["state"] == "passed", check["last_error"]
    assert len(app.requests) == 40


def test_load_with_too_many_errors_says_how_many_and_which(
    app: HttpApp, probe_once: ProbeOnce
) -> None:
    lock = threading.Lock()
    count = 0

    def answer(request: Handler) -> None:
        nonlocal count
        with lock:
            count += 1
            bad = count % 5 == 0
        reply(request, 502 if bad else 200)

    app.answer = answer
    options = {"url": app.url(), "requests": 50, "at_once": 5}
    check = probe_once("load", timeout=30, **options)
    assert check["last_error"] == (
        "40 of 50 requests succeeded (80.0%), 95.0% must; "
        "most often (10 times): HTTP status 502, expected 200"
    )
    assert probe_once("load", timeout=30, **options, min_success=0.8)["state"] == "passed"


def test_load_request_that_hangs_is_one_failed_request(app: HttpApp, probe_once: ProbeOnce) -> None:
    release, lock = threading.Event(), threading.Lock()
    count = 0

    def answer(request: Handler) -> None:
        nonlocal count
        with lock:
            count += 1
            first = count == 1
        if first:
            release.wait(30)
        reply(request, 200)

    app.answer = answer
    options = {"url": app.url(), "requests": 20, "at_once": 2, "request_timeout": 3}
    try:
        check = probe_once("load", timeout=30, **options, min_success=1)
    finally:
        release.set()
    assert "19 of 20 requests succeeded" in check["last_error"]
    assert "(1 times): no answer within 3 s" in check["last_error"]


def test_load_that_does_not_end_in_time_is_a_failure(app: HttpApp, probe_once: ProbeOnce) -> None:
    release = threading.Event()
    app.answer = lambda request: release.wait(30) and reply(request, 200)
    try:
        check = probe_once("load", timeout=0.3, url=app.url(), requests=500)
    finally:
        release.set()
    assert check["last_error"] == "no answer within 0.3 s"


PEOPLE = {"Bearer token-of-alice": "alice@example", "Bearer token-of-bob": "bob@example"}


def _isolation(app: HttpApp, **options: Any) -> dict[str, Any]:
    users = [
        {"name": "Alice", "bearer_token": "token-of-alice", "marker": "alice@example"},
        {"name": "Bob", "bearer_token": "token-of-bob", "marker": "bob@example"},
    ]
    return {"url": app.url("/me"), "users": users, "rounds": 20, "at_once": 6, **options}


def test_isolation_of_a_service_that_keeps_users_apart_passes(
    app: HttpApp, probe_once: ProbeOnce
) -> None:
    app.answer = lambda request: reply(request, 200, PEOPLE[request.headers["Authorization"]])
    check = probe_once("isolation", timeout=30, **_isolation(app))
    assert check["state"] == "passed", check["last_error"]
    assert len(app.requests) == 40


def test_isolation_of_a_service_with_a_shared_variable_fails_without_showing_the_marker(
    app: HttpApp, probe_once: ProbeOnce
) -> None:
    state = {"user": ""}
    pair = threading.Barrier(2, timeout=10)

    def answer(request: Handler) -> None:
        state["user"] = PEOPLE[request.headers["Authorization"]]
        pair.wait()
        reply(request, 200, state["user"])

    app.answer = answer
    check = probe_once("isolation", timeout=30, **_isolation(app, at_once=2))
    assert check["state"] == "failed"
    assert "contains the marker of" in check["last_error"]
    assert "of 40 answers)" in check["last_error"]
    assert "@example" not in check["last_error"]


def test_isolation_finds_a_leak_in_an_error_page_too(app: HttpApp, probe_once: ProbeOnce) -> None:
    app.answer = lambda request: reply(request, 500, "Traceback: user alice@example")
    check = probe_once("isolation", timeout=30, **_isolation(app))
    assert check["last_error"].startswith("an answer to Bob contains the marker of Alice (20 of 40")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [(200, "hello", "lacks the user's own marker"), (401, "", "HTTP status 401, expected 200")],
)
def test_isolation_that_cannot_be_seen_is_a_failure(
    app: HttpApp, probe_once: ProbeOnce, status: int, body: str, error: str
) -> None:
    app.answer = lambda request: reply(request, status, body)
    check = probe_once("isolation", timeout=30, **_isolation(app))
    assert check["state"] == "failed"
    assert error in check["last_error"]
