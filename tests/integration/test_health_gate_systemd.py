"""health_gate asks systemd and journald, which are replaced at the wire: by their programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.gate_servers import ProbeOnce, probe_once
from tests.module_runner import RunModule

__all__ = ["probe_once"]

pytestmark = pytest.mark.integration


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a program of a given name and script first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def install(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return install


def _unit(active: str, sub: str, *, restarts: str = "0", load: str = "loaded") -> str:
    return (
        f"Id=x\\nLoadState={load}\\nActiveState={active}\\nSubState={sub}\\n"
        f"Result=success\\nNRestarts={restarts}\\n"
    )


@pytest.mark.parametrize(
    ("shown", "options", "state", "error"),
    [
        pytest.param(
            [_unit("active", "running")], {"units": ["shop"]}, "passed", None, id="active"
        ),
        pytest.param(
            [_unit("active", "running"), _unit("activating", "auto-restart")],
            {"units": ["shop", "worker"]},
            "failed",
            "worker is activating (auto-restart), expected active",
            id="one is restarting",
        ),
        pytest.param(
            [_unit("inactive", "dead", load="not-found")],
            {"units": ["shop"]},
            "failed",
            "shop is not-found",
            id="not there",
        ),
        pytest.param(
            [_unit("inactive", "dead")],
            {"units": ["old"], "state": "inactive"},
            "passed",
            None,
            id="stopped as wanted",
        ),
        pytest.param(
            [_unit("active", "running")],
            {"units": ["a", "b"]},
            "inconclusive",
            "systemctl did not describe every unit",
            id="no answer about one",
        ),
    ],
)
def test_systemd_units_are_judged(
    program: Any,
    probe_once: ProbeOnce,
    shown: list[str],
    options: dict[str, Any],
    state: str,
    error: str | None,
) -> None:
    program("systemctl", "printf '" + "\\n".join(shown) + "'")
    check = probe_once("systemd", **options)
    assert (check["state"], check["last_error"]) == (state, error)


def test_systemd_is_asked_for_the_units_and_nothing_else(
    program: Any, probe_once: ProbeOnce, tmp_path: Path
) -> None:
    program("systemctl", f'echo "$@" > {tmp_path}/asked; printf "{_unit("active", "running")}"')
    probe_once("systemd", units=["shop@1.service"], scope="user")
    assert (tmp_path / "asked").read_text().split() == [
        "--user",
        "show",
        "--property=Id,LoadState,ActiveState,SubState,Result,NRestarts",
        "--",
        "shop@1.service",
    ]


def test_systemd_that_does_not_run_here_is_inconclusive(probe_once: ProbeOnce) -> None:
    # The real systemctl, in a container without systemd as its first process.
    if Path("/run/systemd/system").exists():
        pytest.skip("systemd runs here")
    check = probe_once("systemd", units=["shop"])
    assert check["state"] == "inconclusive"
    assert check["last_error"].startswith("systemd cannot be asked: ")


def test_systemd_unit_that_is_restarted_between_two_looks_is_not_green(
    program: Any, run_module: RunModule, tmp_path: Path
) -> None:
    shown = _unit("active", "running", restarts="$(wc -l < count)")
    program("systemctl", f'cd {tmp_path}; echo >> count; printf "{shown}"')
    check = {"name": "shop", "systemd": {"units": ["shop"]}}
    args = {"checks": [check], "period": 0.02, "success_threshold": 2, "failure_threshold": 4}
    result = run_module("health_gate", args)
    assert result["outcome"] == "failed"
    assert result["checks"][0]["last_error"] == "shop was restarted by systemd since the last look"


JOURNALCTL = """
case "$*" in
  *--lines=1*) test -e known && echo "an entry";;
  *--since=@*) test -e quiet && exit 1;;
esac
case "$*" in
  *--lines=1*) ;;
  *--after-cursor=c1*) echo "1700000001.5 host app[1]: ERROR two"; echo "-- cursor: c2";;
  *--after-cursor=c2*) ;;
  *--since=@*) echo "1700000000.5 host app[1]: ERROR one"; echo "-- cursor: c1";;
esac
"""


def test_log_in_the_journal_is_read_from_where_it_was_left(
    program: Any, run_module: RunModule, tmp_path: Path
) -> None:
    program("journalctl", f"cd {tmp_path}\n{JOURNALCTL}")
    (tmp_path / "known").touch()
    log = {"unit": "shop.service", "pattern": r"app\[1\]: ERROR", "max_matches": 2}
    args = {"checks": [{"name": "l", "log": log}], "period": 0.02, "failure_threshold": 1}
    assert run_module("health_gate", args)["outcome"] == "passed"
    log["max_matches"] = 1
    result = run_module("health_gate", args)
    assert result["checks"][0]["last_error"] == "2 matching lines, at most 1 are allowed"


def test_log_in_the_journal_without_a_new_entry_passes(
    program: Any, probe_once: ProbeOnce, tmp_path: Path
) -> None:
    program("journalctl", f"cd {tmp_path}\n{JOURNALCTL}")
    (tmp_path / "known").touch()
    (tmp_path / "quiet").touch()
    check = probe_once("log", unit="shop.service", pattern="ERROR")
    assert check["state"] == "passed", check["last_error"]


def test_log_in_the_journal_of_an_unknown_unit_is_inconclusive(
    program: Any, probe_once: ProbeOnce, tmp_path: Path
) -> None:
    program("journalctl", f"cd {tmp_path}\n{JOURNALCTL}")
    check = probe_once("log", unit="shop.service", pattern="ERROR")
    assert check["state"] == "inconclusive"
    assert check["last_error"] == "the journal has no entry of shop.service"


def test_log_in_a_journal_that_must_not_be_read_is_inconclusive(
    program: Any, probe_once: ProbeOnce
) -> None:
    program("journalctl", "echo 'No journal files were opened: permission denied' >&2")
    check = probe_once("log", unit="shop.service", pattern="ERROR")
    assert check["state"] == "inconclusive"
    assert "permission denied" in check["last_error"]
