"""health_gate as a whole: decisions, secrets, many checks, and being ended from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.gate_servers import Handler, HttpApp, app, reply
from tests.module_runner import RunModule, start_module

__all__ = ["app"]

pytestmark = pytest.mark.integration

RESULT_KEYS = {
    "best_case",
    "changed",
    "checks",
    "elapsed",
    "gives_up_within",
    "green_since",
    "holds_broken",
    "msg",
    "outcome",
    "required",
    "worst_case",
}


def http_check(app: HttpApp, name: str = "app answers", **options: Any) -> dict[str, Any]:
    return {"name": name, "http": {"url": app.url(), **options}}


def quick(*checks: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"checks": list(checks), "period": 0.05, "timeout": 1, "deadline": 10, **options}


def test_health_gate_of_a_recovering_service_passes_after_three_good_answers(
    app: HttpApp, run_module: RunModule
) -> None:
    app.answer = lambda request: reply(request, 503 if len(app.requests) <= 4 else 200)
    result = run_module("health_gate", quick(http_check(app)))
    assert (result["outcome"], result["changed"]) == ("passed", False)
    (check,) = result["checks"]
    assert (check["attempts"], check["consecutive"], check["state"]) == (7, 3, "passed")
    assert check["last_error"] == "HTTP status 503, expected 200"
    assert len(app.requests) == 7


def test_health_gate_result_has_the_same_keys_when_it_passes_and_when_it_fails(
    app: HttpApp, run_module: RunModule
) -> None:
    passed = run_module("health_gate", quick(http_check(app)))
    failed = run_module("health_gate", quick(http_check(app, status=[204]), deadline=0.3))
    assert failed["failed"]
    assert set(passed) - {"invocation"} == RESULT_KEYS
    assert set(failed) - {"invocation", "failed"} == RESULT_KEYS


def test_health_gate_with_failure_threshold_gives_up_long_before_the_deadline(
    app: HttpApp, run_module: RunModule
) -> None:
    app.answer = lambda request: reply(request, 500)
    result = run_module("health_gate", quick(http_check(app), failure_threshold=3, deadline=9999))
    assert result["outcome"] == "failed"
    assert len(app.requests) == 3
    assert "'app answers' (http) is failing since" in result["msg"]
    assert "HTTP status 500, expected 200" in result["msg"]


def test_health_gate_in_check_mode_probes_nothing_and_tells_the_worst_case(
    app: HttpApp, run_module: RunModule
) -> None:
    result = run_module("health_gate", quick(http_check(app), hold=3), check=True)
    assert not result.get("failed")
    assert (result["outcome"], result["changed"]) == ("inconclusive", False)
    assert (result["best_case"], result["worst_case"]) == (pytest.approx(3.1), 10.0)
    assert app.requests == []


@pytest.mark.parametrize("check", [False, True])
def test_health_gate_that_could_never_pass_is_refused_before_the_first_probe(
    app: HttpApp, run_module: RunModule, check: bool
) -> None:
    args = quick(http_check(app), success_threshold=300)
    result = run_module("health_gate", args, check=check)
    assert result["failed"]
    assert result["msg"].startswith("The gate was refused, and nothing was probed: check 'app ans")
    assert "cannot be reached before its deadline of 10 s" in result["msg"]
    assert app.requests == []


@pytest.mark.parametrize("value", [False, 5, 1.5, "x", ["x"]])
def test_health_gate_with_a_kind_of_the_wrong_type_is_refused_in_words(
    run_module: RunModule, value: Any
) -> None:
    result = run_module("health_gate", {"checks": [{"name": "a", "metrics": {"per": value}}]})
    assert result["failed"]
    assert result["msg"].startswith("checks[0].metrics.per")
    assert "Traceback" not in json.dumps(result)


def test_health_gate_with_hold_starts_anew_after_one_red_and_then_passes(
    app: HttpApp, run_module: RunModule
) -> None:
    app.answer = lambda request: reply(request, 500 if len(app.requests) == 6 else 200)
    result = run_module("health_gate", quick(http_check(app), hold=0.4))
    assert (result["outcome"], result["holds_broken"]) == ("passed", 1)
    assert result["green_since"] is not None


def test_health_gate_requiring_one_of_two_passes_while_the_other_is_down(
    app: HttpApp, run_module: RunModule
) -> None:
    down = {"name": "spare", "tcp": {"host": "127.0.0.1", "port": 1}}
    result = run_module("health_gate", quick(down, http_check(app), require="any"))
    assert result["outcome"] == "passed"
    assert [check["state"] for check in result["checks"]] == ["failed", "passed"]


def test_health_gate_with_only_unknown_checks_is_inconclusive_and_fails_the_task(
    run_module: RunModule,
) -> None:
    check = {
        "name": "error rate",
        "prometheus": {"url": "http://127.0.0.1:1", "query": "up", "min": 1},
    }
    result = run_module("health_gate", quick(check, deadline=0.5))
    assert (result["failed"], result["outcome"]) == (True, "inconclusive")
    assert "INCONCLUSIVE, which is not a pass" in result["msg"]
    assert "Prometheus cannot be asked" in result["msg"]


def test_health_gate_with_a_name_server_that_hangs_ends_and_fails(
    app: HttpApp, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, really = threading.Event(), socket.getaddrinfo

    def hanging(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "hangs.invalid":
            release.wait()
        return really(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    stuck = {"name": "stuck", "timeout": 0.1, "tcp": {"host": "hangs.invalid", "port": 80}}
    try:
        result = run_module("health_gate", quick(stuck, http_check(app), deadline=1))
    finally:
        release.set()
    assert result["outcome"] == "failed"
    assert [check["state"] for check in result["checks"]] == ["failed", "passed"]
    assert result["checks"][0]["last_error"] == "the probe before this one still hangs"
    assert result["checks"][0]["latency"]["max"] is None


def test_health_gate_of_500_checks_passes_with_a_bounded_number_of_threads(
    app: HttpApp, run_module: RunModule
) -> None:
    most = 0

    def answer(request: Handler) -> None:
        nonlocal most
        probing = [each for each in threading.enumerate() if each.name == "probe"]
        most = max(most, len(probing))
        reply(request, 200)

    app.answer = answer
    checks = [http_check(app, name=f"endpoint {number}") for number in range(500)]
    result = run_module(
        "health_gate", {"checks": checks, "period": 0.5, "timeout": 30, "concurrency": 20}
    )
    assert result["outcome"] == "passed"
    assert len(result["checks"]) == 500
    assert all(check["attempts"] >= 3 for check in result["checks"])
    assert 1 < most <= 40


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def _wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_health_gate_that_is_terminated_leaves_no_command_behind(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 1000 & echo $$ $! >> {pids}; wait"
    process = start_module(
        "health_gate",
        quick({"name": "long", "timeout": 100, "command": {"argv": ["sh", "-c", script]}}),
    )
    _wait_until(lambda: pids.exists() and pids.read_text().endswith("\n"))
    process.send_signal(signal.SIGTERM)
    said, complained = process.communicate(timeout=30)
    result = json.loads(said)
    assert (result["failed"], result["outcome"], complained) == (True, "inconclusive", "")
    assert result["msg"].startswith("The gate was ended from outside by SIGTERM")
    _wait_until(lambda: not any(_alive(int(pid)) for pid in pids.read_text().split()))


SECRETS = {
    "url": "S1-in-url",
    "query": "S2-in-query",
    "header": "S3-in-header",
    "bearer": "S4-bearer",
    "password": "S5-url-password",
    "postgres": "S6-postgres",
    "connect": "S7-connect-params",
    "redis": "S8-redis",
    "environment": "S9-environment",
    "argument": "S10-argument",
    "user": "S11-user-token",
}


def _leaky_checks() -> list[dict[str, Any]]:
    s = SECRETS
    url = f"http://me:{s['url']}@127.0.0.1:1/?token={s['query']}"
    return [
        {"name": "http", "http": {"url": url, "headers": {"X-Api-Key": s["header"]}}},
        {"name": "prom", "prometheus": {"url": url, "query": "up", "min": 1}},
        {
            "name": "ws",
            "websocket": {"url": url.replace("http", "ws", 1), "bearer_token": s["bearer"]},
        },
        {
            "name": "load",
            "load": {"url": url, "url_username": "a", "url_password": s["password"]},
        },
        {"name": "pg", "postgres": {"login_port": 1, "login_password": s["postgres"]}},
        {
            "name": "pg2",
            "postgres": {
                "login_host": "127.0.0.1",
                "login_port": 1,
                "connect_params": {"password": s["connect"]},
            },
        },
        {"name": "redis", "redis": {"login_port": 1, "login_password": s["redis"]}},
        {
            "name": "command",
            "command": {
                "argv": [
                    "sh",
                    "-c",
                    'echo "$1 $MY_TOKEN" >&2; exit 1',
                    "sh",
                    f"--password={s['argument']}",
                ],
                "environment": {"MY_TOKEN": s["environment"]},
            },
        },
        {
            "name": "isolation",
            "isolation": {
                "url": url,
                "users": [
                    {"name": "a", "marker": "ma", "bearer_token": s["user"]},
                    {"name": "b", "marker": "mb", "headers": {"Cookie": s["user"]}},
                ],
            },
        },
    ]


def test_health_gate_shows_no_secret_at_vvv(tmp_path: Path) -> None:
    task = {"sre.rollback.health_gate": {"checks": _leaky_checks(), "deadline": 1, "period": 0.2}}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]
    playbook = tmp_path / "play.yml"
    playbook.write_text(json.dumps(play))
    environment = {k: v for k, v in os.environ.items() if k != "ANSIBLE_CONFIG"}
    binary = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [binary, "-i", "localhost,", "-c", "local", "-vvv", playbook],
        capture_output=True,
        text=True,
        env={**environment, "ANSIBLE_PYTHON_INTERPRETER": sys.executable},
        timeout=100,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 2, output
    assert "9 of 9 checks are not proved healthy" in output
    assert [secret for secret in SECRETS.values() if secret in output] == []


def test_health_gate_refused_for_another_reason_shows_no_secret_either(
    run_module: RunModule,
) -> None:
    for extra in ({"period": -1}, {"no_such_option": 1}):
        result = run_module("health_gate", {"checks": _leaky_checks(), **extra})
        assert result["failed"]
        text = json.dumps(result)
        assert [secret for secret in SECRETS.values() if secret in text] == []
