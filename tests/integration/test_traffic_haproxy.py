"""What users of a real HAProxy get while traffic is paused, resumed and switched."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.module_runner import RunModule, killed_at_many_moments
from tests.proxies import Proxy, bring, start_haproxy, users
from tests.real_servers import stop
from tests.redis_topologies import wait_until

pytestmark = pytest.mark.integration


def _colours(proxy: Proxy) -> set[tuple[int, str]]:
    return {proxy.seen() for _each in range(12)}


@pytest.mark.parametrize("pause_with", ["maint", "drain"])
def test_haproxy_paused_gives_users_503_and_resumed_what_they_had(
    run_module: RunModule, haproxy_proxy: Proxy, pause_with: str
) -> None:
    paused = bring(run_module, haproxy_proxy, "paused", pause_with=pause_with)
    assert paused["after"]["servers"] == {"blue": pause_with, "green": pause_with}
    assert _colours(haproxy_proxy) == {(503, "")}

    resumed = bring(run_module, haproxy_proxy, "resumed")
    assert resumed["after"]["servers"] == paused["before"]["servers"]
    assert _colours(haproxy_proxy) == {(200, "blue"), (200, "green")}


def test_haproxy_resumed_leaves_out_what_the_pause_found_out(
    run_module: RunModule, haproxy_proxy: Proxy
) -> None:
    bring(run_module, haproxy_proxy, "switched", servers={"green": "maint"})

    bring(run_module, haproxy_proxy, "paused")
    bring(run_module, haproxy_proxy, "paused", pause_with="drain")
    resumed = bring(run_module, haproxy_proxy, "resumed")

    assert resumed["after"]["servers"] == {"blue": "ready", "green": "maint"}
    assert _colours(haproxy_proxy) == {(200, "blue")}
    assert not bring(run_module, haproxy_proxy, "resumed")["changed"]


def test_haproxy_pause_that_failed_is_not_what_a_later_pause_found(
    run_module: RunModule, haproxy_proxy: Proxy
) -> None:
    failed = bring(run_module, haproxy_proxy, "paused", expected_status=[404], timeout=0.5)
    bring(run_module, haproxy_proxy, "switched", servers={"green": "maint"})

    bring(run_module, haproxy_proxy, "paused")
    resumed = bring(run_module, haproxy_proxy, "resumed")

    assert "gives status 503" in failed["msg"]
    assert resumed["after"]["servers"] == {"blue": "ready", "green": "maint"}


def test_haproxy_switch_can_be_undone(run_module: RunModule, haproxy_proxy: Proxy) -> None:
    wanted = {
        "servers": {"blue": "ready", "green": "drain"},
        "expected_status": [200],
        "expected_text": "X-Colour: blue",
    }
    switched = bring(run_module, haproxy_proxy, "switched", **wanted)
    assert not switched.get("failed"), switched
    assert _colours(haproxy_proxy) == {(200, "blue")}
    assert not bring(run_module, haproxy_proxy, "switched", **wanted)["changed"]

    run_module("traffic", switched["undo"]["args"])
    assert _colours(haproxy_proxy) == {(200, "blue"), (200, "green")}


def test_haproxy_pause_is_kept_across_a_reload(run_module: RunModule, haproxy_proxy: Proxy) -> None:
    bring(run_module, haproxy_proxy, "paused")

    # A reload: a new process takes over the sockets and the old one ends.
    pids = subprocess.run(
        ["pgrep", "-f", str(haproxy_proxy.root / "haproxy.cfg")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    process = start_haproxy(haproxy_proxy.root, "-sf", *pids)
    try:
        wait_until(lambda: process.poll() is None and _colours(haproxy_proxy) == {(503, "")})
        bring(run_module, haproxy_proxy, "resumed")
        assert _colours(haproxy_proxy) == {(200, "blue"), (200, "green")}
    finally:
        stop(process)


def test_haproxy_in_check_mode_predicts_and_touches_nothing(
    run_module: RunModule, haproxy_proxy: Proxy
) -> None:
    options = {**haproxy_proxy.options, "state": "paused"}
    result = run_module("traffic", options, check=True, diff=True)

    assert result["changed"]
    assert result["diff"]["after"]["servers"] == {"blue": "maint", "green": "maint"}
    assert haproxy_proxy.get().status == 200
    assert not (haproxy_proxy.root / "server-state").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        pytest.param({"servers": {"red": "maint"}}, "no server 'red'", id="server"),
        pytest.param({"servers": None}, "needs servers", id="no servers"),
        pytest.param(
            {"servers": {"blue": "maint"}, "expected_text": "X-Colour: red", "timeout": 0.5},
            "gives status 200",
            id="not what was expected",
        ),
    ],
)
def test_haproxy_bad_input_is_refused_and_users_notice_nothing(
    run_module: RunModule, haproxy_proxy: Proxy, options: dict[str, Any], complaint: str
) -> None:
    wanted = {"servers": {"blue": "ready"}, **options}
    result = bring(run_module, haproxy_proxy, "switched", **wanted)

    assert result["failed"]
    assert complaint in result["msg"]
    assert _colours(haproxy_proxy) == {(200, "blue"), (200, "green")}


def test_haproxy_pause_and_resume_give_every_request_an_answer(
    run_module: RunModule, haproxy_proxy: Proxy
) -> None:
    with users(haproxy_proxy) as seen:
        for state in ("paused", "resumed", "paused", "resumed"):
            bring(run_module, haproxy_proxy, state)

    assert seen == {200, 503}


@pytest.mark.attack
def test_haproxy_killed_at_any_moment_is_put_right_by_the_next_run(
    run_module: RunModule, haproxy_proxy: Proxy
) -> None:
    bring(run_module, haproxy_proxy, "switched", servers={"green": "drain"})
    options = {**haproxy_proxy.options, "state": "paused"}
    for _turn in killed_at_many_moments("traffic", lambda _turn: options, turns=25):
        bring(run_module, haproxy_proxy, "paused")
        assert haproxy_proxy.get().status == 503
        resumed = bring(run_module, haproxy_proxy, "resumed")
        assert resumed["after"]["servers"] == {"blue": "ready", "green": "drain"}
