"""What probes make of the answers of Prometheus, Docker, systemd, journald and loads."""

from __future__ import annotations

import json
import struct
import threading
from typing import Any

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._probes import container, load, systemd
from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Leash,
    ProbeFailedError,
    ProbeInconclusiveError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.crowd import run_all
from ansible_collections.sre.rollback.plugins.module_utils._probes.docker_api import unframed
from ansible_collections.sre.rollback.plugins.module_utils._probes.expectation import Bounds
from ansible_collections.sre.rollback.plugins.module_utils._probes.http_client import Answer
from ansible_collections.sre.rollback.plugins.module_utils._probes.log_container import (
    parse_lines,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.log_journal import (
    parse_journal,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.no_data import NoData
from ansible_collections.sre.rollback.plugins.module_utils._probes.prometheus import (
    judge,
    parse_answer,
)


def answer(document: Any, status: int = 200) -> Answer:
    text = document if isinstance(document, str) else json.dumps(document)
    return Answer(status, {}, text.encode(), True, 0.01)


def vector(*values: str) -> dict[str, Any]:
    series = [{"metric": {"i": str(n)}, "value": [1.0, v]} for n, v in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": series}}


def test_prometheus_series_within_bounds_pass() -> None:
    judge(parse_answer(answer(vector("0.1", "0.2"))), Bounds(0.0, 0.5), NoData("fail"))


def test_prometheus_one_series_out_of_bounds_fails_by_its_labels() -> None:
    with pytest.raises(ProbeFailedError, match=r"of \{i=1\} is 0.9, above 0.5"):
        judge(parse_answer(answer(vector("0.1", "0.9"))), Bounds(None, 0.5), NoData("pass"))


def test_prometheus_scalar_is_judged() -> None:
    scalar = {"status": "success", "data": {"resultType": "scalar", "result": [1.0, "3"]}}
    assert parse_answer(answer(scalar)) == [("", 3.0)]


def test_prometheus_empty_result_fails_by_default() -> None:
    with pytest.raises(ProbeFailedError, match="no data"):
        judge(parse_answer(answer(vector())), Bounds(0.0, None), NoData("fail"))


@pytest.mark.parametrize("means", ["fail", "pass", "inconclusive"])
def test_prometheus_nan_never_passes(means: str) -> None:
    with pytest.raises((ProbeFailedError, ProbeInconclusiveError)):
        judge(parse_answer(answer(vector("NaN"))), Bounds(0.0, None), NoData(means))


@pytest.mark.parametrize(
    "document",
    [
        "<html>",
        "",
        "[]",
        "{}",
        {"status": "success"},
        {"status": "error", "error": "parse error"},
        {"status": "success", "data": {"resultType": "matrix", "result": []}},
        {"status": "success", "data": {"resultType": "vector", "result": [{}]}},
        vector("many"),
    ],
)
def test_prometheus_answer_that_is_none_is_inconclusive(document: Any) -> None:
    with pytest.raises(ProbeInconclusiveError):
        parse_answer(answer(document, status=502))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"Status": "exited", "ExitCode": 137}, "ended with exit code 137"),
        ({"Status": "restarting"}, "web is restarting, expected running"),
        ({"Status": "running", "OOMKilled": True}, "ran out of memory"),
        ({}, "web is None"),
    ],
)
def test_container_that_does_not_run_fails(state: dict[str, Any], words: str) -> None:
    with pytest.raises(ProbeFailedError, match=words):
        container.require_running(state, "web")


@pytest.mark.parametrize(
    ("health", "demand", "error"),
    [
        ({"Status": "healthy"}, "required", None),
        ({"Status": "unhealthy", "FailingStreak": 3}, "if_defined", ProbeFailedError),
        ({"Status": "starting"}, "if_defined", ProbeInconclusiveError),
        ({"Status": "none"}, "required", ProbeInconclusiveError),
        (None, "required", ProbeInconclusiveError),
        (None, "if_defined", None),
    ],
)
def test_container_health_is_believed_only_when_it_says_healthy(
    health: dict[str, Any] | None, demand: str, error: type[Exception] | None
) -> None:
    if error is None:
        container.require_healthy(health, "web", demand)
    else:
        with pytest.raises(error):
            container.require_healthy(health, "web", demand)


SHOWN = """\
Id=a.service
LoadState=loaded
ActiveState=active
SubState=running
Result=success
NRestarts=0

Id=b.service
LoadState=not-found
ActiveState=inactive
SubState=dead
Result=success
"""


def test_systemctl_show_is_read_unit_by_unit() -> None:
    first, second = systemd.parse_show(SHOWN)
    assert (first["Id"], first["NRestarts"]) == ("a.service", "0")
    assert second["LoadState"] == "not-found"
    systemd.require_state("a", first, "active")
    systemd.require_state("b", second, "inactive")
    with pytest.raises(ProbeFailedError, match="b is not-found"):
        systemd.require_state("b", second, "active")


def test_unit_that_failed_says_with_which_result() -> None:
    known = {
        "LoadState": "loaded",
        "ActiveState": "failed",
        "SubState": "failed",
        "Result": "oom-kill",
    }
    with pytest.raises(ProbeFailedError, match=r"failed \(failed, result oom-kill\), expected"):
        systemd.require_state("a", known, "active")


def test_journal_entries_carry_their_times_and_the_cursor_is_kept() -> None:
    text = "1700000000.25 host app[1]: boom\n  at line 3\n-- cursor: s=abc;i=1\n"
    lines, cursor = parse_journal(text)
    assert [(line.at, line.text) for line in lines] == [
        (1700000000.25, "host app[1]: boom"),
        (1700000000.25, "  at line 3"),
    ]
    assert cursor == "s=abc;i=1"
    assert parse_journal("") == ([], None)


def framed(*payloads: bytes, stream: int = 1) -> bytes:
    return b"".join(struct.pack("!BxxxI", stream, len(each)) + each for each in payloads)


def test_docker_frames_are_joined_and_lines_carry_their_times() -> None:
    raw = framed(b"2026-11-22T03:57:50.5Z he", b"llo\n", b"2026-11-22T03:57:51.25Z world\r\n")
    lines = list(parse_lines(b"".join(unframed(raw)).decode()))
    assert [(round(at % 60, 2), text) for _stamp, at, text in lines] == [
        (50.5, "hello"),
        (51.25, "world"),
    ]
    assert lines[0][0] < lines[1][0]


@pytest.mark.parametrize("raw", [b"short", b"plain text is no frame", b"\x07\0\0\0\0\0\0\0"])
def test_docker_output_that_is_not_framed_is_inconclusive(raw: bytes) -> None:
    with pytest.raises(ProbeInconclusiveError):
        list(unframed(raw))


LOAD = {"min_success": 0.95, "max_mean": None, "max_p95": None}


@pytest.mark.parametrize(
    ("outcomes", "options", "words"),
    [
        ([0.1] * 95 + [ProbeFailedError("HTTP status 500")] * 5, {}, None),
        (
            [0.1] * 94 + [ProbeFailedError("HTTP status 500")] * 6,
            {},
            r"94 of 100 .*\(6 times\): HTTP status 500",
        ),
        ([ProbeFailedError("refused")] * 3, {}, "0 of 3 requests succeeded"),
        ([0.1] * 94 + [9.0] * 6, {"max_p95": 1.0}, "95th percentile of the latency is 9.000 s"),
        ([0.1] * 95 + [9.0] * 5, {"max_p95": 1.0}, None),
        ([0.1] * 50 + [9.0] * 50, {"max_mean": 2.0}, "mean of the latency is 4.550 s"),
    ],
)
def test_load_is_judged_by_share_mean_and_percentile(
    outcomes: list[Any], options: dict[str, Any], words: str | None
) -> None:
    if words is None:
        load.judge(outcomes, {**LOAD, **options})
    else:
        with pytest.raises(ProbeFailedError, match=words):
            load.judge(outcomes, {**LOAD, **options})


def test_crowd_returns_results_in_order_and_errors_as_outcomes() -> None:
    def task(number: int) -> Any:
        def run(_leash: Leash) -> int:
            if number == 2:
                raise ValueError(number)
            return number

        return run

    outcomes = run_all([task(n) for n in range(5)], at_once=3, patience=5, leash=Leash(30))
    assert [str(each) for each in outcomes] == ["0", "1", "2", "3", "4"]
    assert isinstance(outcomes[2], ValueError)


def test_crowd_ends_a_task_that_takes_too_long_and_goes_on() -> None:
    def slow(leash: Leash) -> str:
        ended = threading.Event()
        with leash.on_expiry(ended.set):
            ended.wait()
        return "late"

    outcomes = run_all([slow, lambda _leash: "ok"], at_once=1, patience=0.1, leash=Leash(30))
    assert str(outcomes[0]) == "no answer within 0.1 s"
    assert outcomes[1] == "ok"
