"""health_gate on the target itself: programs and log files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.gate_servers import ProbeOnce, probe_once
from tests.module_runner import RunModule

__all__ = ["probe_once"]

pytestmark = pytest.mark.integration


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        pytest.param({"argv": ["true"]}, None, id="exit 0"),
        pytest.param({"argv": sh("exit 3"), "rc": [0, 3]}, None, id="allowed exit code"),
        pytest.param({"argv": sh("echo out; echo err >&2; exit 3")}, "exit code 3: err", id="3"),
        pytest.param({"argv": sh("echo only out; exit 4")}, "exit code 4: only out", id="4"),
        pytest.param({"argv": sh("kill -9 $$")}, "ended by signal 9", id="killed"),
        pytest.param({"argv": sh("echo order accepted"), "stdout": "accepted$"}, None, id="output"),
        pytest.param(
            {"argv": ["echo", "no"], "stdout": "yes"}, "the output does not match 'yes'", id="no"
        ),
        pytest.param(
            {"argv": ["no-such-program"]},
            "no-such-program cannot be started: No such file or directory",
            id="no program",
        ),
        pytest.param(
            {"argv": sh('test "$GREETING $(pwd)" = "hi /"'), "environment": {"GREETING": "hi"}}
            | {"chdir": "/"},
            None,
            id="environment and folder",
        ),
        pytest.param({"argv": sh("read x; test -z $x")}, None, id="no input"),
        pytest.param({"argv": sh("yes | head -c 9000000")}, None, id="much output"),
        pytest.param({"argv": sh("exec >&- 2>&-; sleep 0.1")}, None, id="closed outputs"),
    ],
)
def test_command_is_judged(
    probe_once: ProbeOnce, options: dict[str, Any], error: str | None
) -> None:
    check = probe_once("command", timeout=20, **options)
    assert check["last_error"] == error


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param("sleep 1000 & echo $! > {pids}; exit 0", None, id="ends at once"),
        pytest.param(
            "sleep 1000 & echo $! $$ > {pids}; wait", "no answer within 0.5 s", id="waits for it"
        ),
        pytest.param(
            "trap '' TERM INT HUP; sleep 1000 & echo $! $$ > {pids}; wait; sleep 1000",
            "no answer within 0.5 s",
            id="ignores signals",
        ),
        pytest.param(
            "echo $$ > {pids}; while :; do echo x; done", "no answer within 0.5 s", id="talks on"
        ),
    ],
)
def test_command_leaves_no_child_behind_that_holds_its_pipes(
    tmp_path: Path, probe_once: ProbeOnce, script: str, error: str | None
) -> None:
    pids = tmp_path / "pids"
    check = probe_once("command", timeout=0.5, argv=sh(script.format(pids=pids)))
    assert check["last_error"] == error
    _wait_until(lambda: all(_gone(int(pid)) for pid in pids.read_text().split()))


def test_command_from_which_a_daemon_has_escaped_does_not_wait_for_it(
    tmp_path: Path, probe_once: ProbeOnce
) -> None:
    pid = tmp_path / "pid"
    script = f"setsid sleep 1000 & echo $! > {pid}; echo fine"
    check = probe_once("command", timeout=20, argv=sh(script), stdout="fine")
    try:
        assert check["state"] == "passed", check["last_error"]
    finally:
        os.kill(int(pid.read_text()), 9)


Lines = Callable[..., dict[str, Any]]


@pytest.fixture
def log_gate(run_module: RunModule, tmp_path: Path) -> Lines:
    """A gate of one ``log`` check, beside a program that writes to the log while it runs."""

    def gate(script: str, **options: Any) -> dict[str, Any]:
        log = {"path": str(tmp_path / "app.log"), "pattern": "ERROR", **options}
        # Until it ends the gate cannot pass, so the log is looked at after the last line, too.
        writer = {"argv": sh(f"{script}; sleep 0.2"), "chdir": str(tmp_path)}
        checks = [
            {"name": "writer", "command": writer, "success_threshold": 1, "period": 1000},
            {"name": "log", "log": log, "failure_threshold": 12},
        ]
        args = {"checks": checks, "period": 0.05, "deadline": 20}
        result = run_module("health_gate", args)
        found: dict[str, Any] = result["checks"][1]
        return found

    return gate


def _write(path: Path, *lines: str) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def test_log_with_old_errors_only_passes(tmp_path: Path, log_gate: Lines) -> None:
    _write(tmp_path / "app.log", "ERROR of yesterday")
    assert log_gate("echo fine >> app.log")["state"] == "passed"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("echo ERROR 1 >> app.log", id="appended"),
        pytest.param("printf 'ERR' >> app.log; sleep 0.2; echo 'OR' >> app.log", id="in two parts"),
        pytest.param("mv app.log app.log.1; echo ERROR > app.log", id="in the new file"),
        pytest.param("mv app.log app.log.1; echo ERROR >> app.log.1; : > app.log", id="in the old"),
        pytest.param(": > app.log; sleep 0.3; echo ERROR >> app.log", id="after it was cut"),
        pytest.param("rm app.log; sleep 0.3; echo ERROR > app.log", id="after it was gone"),
    ],
)
def test_log_with_a_new_error_fails_however_it_was_rotated(
    tmp_path: Path, log_gate: Lines, script: str
) -> None:
    _write(tmp_path / "app.log", *["a fine line of some length"] * 10)
    check = log_gate(script, max_matches=0)
    assert (check["state"], check["last_error"]) == (
        "failed",
        "1 matching lines, at most 0 are allowed",
    )


def test_log_that_is_missing_is_inconclusive(log_gate: Lines) -> None:
    check = log_gate("true")
    assert check["state"] == "inconclusive"
    assert check["last_error"].endswith("app.log cannot be read: No such file or directory")


def test_log_that_must_say_something_passes_when_it_has(log_gate: Lines) -> None:
    script = "echo Starting > app.log; sleep 0.3; echo Ready to serve >> app.log"
    check = log_gate(script, pattern="^Ready", min_matches=1)
    assert check["state"] == "passed"
    assert check["attempts"] > 3


def test_log_window_forgets_errors_that_are_old_enough(tmp_path: Path, log_gate: Lines) -> None:
    _write(tmp_path / "app.log")
    check = log_gate("echo ERROR >> app.log", window=0.4)
    assert check["state"] == "passed"
    assert check["last_error"] == "1 matching lines in the last 0.4 s, at most 0 are allowed"


def _stamped(age: float, text: str) -> str:
    moment = datetime.fromtimestamp(time.time() - age, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z {text}"


@pytest.mark.parametrize(
    ("lines", "since", "state"),
    [
        pytest.param([(500, "ERROR old"), (10, "fine")], 60, "passed", id="older"),
        pytest.param([(500, "fine"), (10, "ERROR new")], 60, "failed", id="younger"),
        pytest.param([(10, "Traceback\n  ERROR in line 3")], 60, "failed", id="second line"),
        pytest.param([(500, "Traceback\n  ERROR"), (10, "fine")], 60, "passed", id="old second"),
        pytest.param([], 60, "passed", id="empty"),
    ],
)
def test_log_since_counts_what_was_written_before_the_gate_started(
    tmp_path: Path, probe_once: ProbeOnce, lines: list[tuple[float, str]], since: float, state: str
) -> None:
    path = tmp_path / "app.log"
    _write(path, *(_stamped(age, text) for age, text in lines))
    check = probe_once("log", path=str(path), pattern="ERROR", since=since)
    assert check["state"] == state, check["last_error"]


def test_log_since_with_lines_that_carry_no_time_is_inconclusive(
    tmp_path: Path, probe_once: ProbeOnce
) -> None:
    _write(tmp_path / "app.log", "fine", "fine")
    check = probe_once("log", path=str(tmp_path / "app.log"), pattern="ERROR", since=60)
    assert check["state"] == "inconclusive"
    assert "carry no time that can be read" in check["last_error"]


def test_log_since_of_a_backlog_too_long_to_read_is_inconclusive(
    tmp_path: Path, probe_once: ProbeOnce
) -> None:
    line = _stamped(10, "x" * 1000) + "\n"
    (tmp_path / "app.log").write_text(line * 17_000)
    check = probe_once("log", path=str(tmp_path / "app.log"), pattern="ERROR", since=60)
    assert check["state"] == "inconclusive"
    assert "more than 16 MiB were logged since then" in check["last_error"]


def test_log_with_a_pattern_that_would_take_years_is_inconclusive_in_time(
    tmp_path: Path, probe_once: ProbeOnce
) -> None:
    path = tmp_path / "app.log"
    _write(path, _stamped(5, "a" * 60 + "b"))
    check = probe_once("log", timeout=0.5, path=str(path), pattern=r"(a|aa)+$", since=60)
    assert check["state"] == "inconclusive"
    assert check["last_error"] == "no answer within 0.5 s"
