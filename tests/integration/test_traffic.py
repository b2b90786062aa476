"""What users of a real nginx get while traffic is paused, resumed and switched."""

from __future__ import annotations

from typing import Any

import pytest

from tests.module_runner import RunModule, killed_at_many_moments
from tests.proxies import Proxy, bring, users

pytestmark = pytest.mark.integration


def test_traffic_paused_gives_users_503_with_retry_after(
    run_module: RunModule, proxy: Proxy
) -> None:
    result = bring(run_module, proxy, "paused", retry_after=7)
    answer = proxy.get()

    assert result["changed"]
    assert (result["before"]["status"], result["after"]["status"]) == (200, 503)
    assert (answer.status, answer.getheader("Retry-After")) == (503, "7")


def test_traffic_resumed_is_exactly_what_pause_found(run_module: RunModule, proxy: Proxy) -> None:
    before = proxy.maintenance.read_bytes()

    bring(run_module, proxy, "paused")
    result = bring(run_module, proxy, "resumed")

    assert result["after"]["status"] == 200
    assert proxy.maintenance.read_bytes() == before
    assert {path.name for path in proxy.root.iterdir() if "maintenance" in path.name} == {
        "maintenance.conf"
    }


@pytest.mark.parametrize("state", ["paused", "resumed"])
def test_traffic_that_is_as_asked_changes_nothing(
    run_module: RunModule, proxy: Proxy, state: str
) -> None:
    bring(run_module, proxy, state)

    again = bring(run_module, proxy, state)

    assert not again["changed"]
    assert again["undo"] is None


def test_traffic_paused_twice_still_resumes_to_what_the_first_pause_found(
    run_module: RunModule, proxy: Proxy
) -> None:
    before = proxy.maintenance.read_bytes()

    bring(run_module, proxy, "paused")
    bring(run_module, proxy, "paused", retry_after=99)
    bring(run_module, proxy, "resumed")

    assert proxy.maintenance.read_bytes() == before


def test_traffic_undo_lets_users_in_again(run_module: RunModule, proxy: Proxy) -> None:
    undo = bring(run_module, proxy, "paused")["undo"]

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

    result = bring(run_module, proxy, "paused")

    assert result["failed"]
    assert "nonsense" in result["msg"]
    assert proxy.maintenance.read_bytes() == before
    assert proxy.get().status == 200


def _upstream(proxy: Proxy, side: str) -> dict[str, Any]:
    return {
        "upstream_path": str(proxy.upstream),
        "upstream": f"upstream app {{ server {getattr(proxy.sides, side)}; }}\n",
        "expected_status": [200],
        "expected_text": f"X-Colour: {side}",
    }


def test_traffic_switched_sends_every_user_to_the_other_side(
    run_module: RunModule, proxy: Proxy
) -> None:
    assert proxy.seen() == (200, "green")

    result = bring(run_module, proxy, "switched", **_upstream(proxy, "blue"))

    assert result["changed"]
    assert proxy.sides.blue in result["after"]["upstream"]
    assert {proxy.seen() for _each in range(20)} == {(200, "blue")}


def test_traffic_undo_of_a_switch_brings_back_the_very_same_file(
    run_module: RunModule, proxy: Proxy
) -> None:
    before = proxy.upstream.read_bytes()

    undo = bring(run_module, proxy, "switched", **_upstream(proxy, "blue"))["undo"]
    again = bring(run_module, proxy, "switched", **_upstream(proxy, "blue"))
    run_module("traffic", undo["args"])

    assert not again["changed"]
    assert proxy.upstream.read_bytes() == before
    assert proxy.seen() == (200, "green")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        pytest.param({"upstream": "upstream app {"}, "nginx refuses", id="not nginx's language"),
        pytest.param(
            {"upstream": "upstream app { server 127.0.0.1:1; }"}, "502", id="nobody there"
        ),
        pytest.param({"expected_text": "X-Colour: red"}, "status 200", id="another side"),
        pytest.param({"upstream": None}, "needs upstream", id="no upstream"),
    ],
)
def test_traffic_switch_that_fails_leaves_users_where_they_were(
    run_module: RunModule, proxy: Proxy, options: dict[str, Any], complaint: str
) -> None:
    before = proxy.upstream.read_bytes()

    wanted = {**_upstream(proxy, "blue"), "timeout": 1, **options}
    result = bring(run_module, proxy, "switched", **wanted)

    assert result["failed"]
    assert complaint in result["msg"]
    assert proxy.upstream.read_bytes() == before
    assert {proxy.seen() for _each in range(20)} == {(200, "green")}


def test_traffic_switched_while_paused_is_what_users_get_when_it_is_resumed(
    run_module: RunModule, proxy: Proxy
) -> None:
    bring(run_module, proxy, "paused")
    result = bring(run_module, proxy, "switched", **_upstream(proxy, "blue"))
    bring(run_module, proxy, "resumed")

    assert result["after"]["paused"] is True
    assert proxy.seen() == (200, "blue")


def test_traffic_pause_that_was_killed_before_its_proof_is_proved_by_the_next_one(
    run_module: RunModule, proxy: Proxy
) -> None:
    bring(run_module, proxy, "paused")
    (proxy.root / ".maintenance.conf.unproved").touch()

    result = bring(run_module, proxy, "paused")

    assert result["changed"]
    assert not list(proxy.root.glob(".*unproved"))


def test_traffic_resumed_removes_a_file_that_was_not_there_before_the_pause(
    run_module: RunModule, proxy: Proxy
) -> None:
    config = proxy.root / "nginx.conf"
    config.write_text(config.read_text().replace("maintenance.conf", "maintenance.con[f]"))
    proxy.maintenance.unlink()

    bring(run_module, proxy, "paused")
    assert proxy.seen() == (503, "")
    bring(run_module, proxy, "resumed")

    assert proxy.seen() == (200, "green")
    assert not proxy.maintenance.exists()


def test_traffic_whose_server_block_does_not_include_the_file_is_not_called_paused(
    run_module: RunModule, proxy: Proxy
) -> None:
    result = bring(
        run_module, proxy, "paused", maintenance_path=str(proxy.root / "other.conf"), timeout=1
    )

    assert result["failed"]
    assert "still gives status 200" in result["msg"]
    assert proxy.get().status == 200
    assert list(proxy.root.glob(".*")) == []


def test_traffic_resumed_after_a_pause_that_failed_keeps_what_was_written_since(
    run_module: RunModule, proxy: Proxy
) -> None:
    config = proxy.root / "nginx.conf"
    good = config.read_text(encoding="ascii")
    config.write_text("nonsense;", encoding="ascii")
    bring(run_module, proxy, "paused")
    config.write_text(good, encoding="ascii")
    proxy.maintenance.write_text("add_header X-Newer 1;\n", encoding="ascii")

    resumed = bring(run_module, proxy, "resumed")

    assert not resumed["changed"]
    assert proxy.maintenance.read_text(encoding="ascii") == "add_header X-Newer 1;\n"


def test_traffic_pause_and_resume_give_every_request_an_answer(
    run_module: RunModule, proxy: Proxy
) -> None:
    with users(proxy) as seen:
        for state in ("paused", "resumed", "paused", "resumed"):
            bring(run_module, proxy, state)

    assert seen == {200, 503}


@pytest.mark.attack
@pytest.mark.parametrize("state", ["paused", "resumed"])
def test_traffic_killed_at_any_moment_is_put_right_by_the_next_run(
    run_module: RunModule, proxy: Proxy, state: str
) -> None:
    other = "resumed" if state == "paused" else "paused"
    found = proxy.maintenance.read_bytes()
    bring(run_module, proxy, other)
    options = {**proxy.options, "state": state}
    for _turn in killed_at_many_moments("traffic", lambda _turn: options, turns=30):
        assert proxy.get().status in (200, 503)
        bring(run_module, proxy, state)
        assert {proxy.get().status for _each in range(5)} == {503 if state == "paused" else 200}
        bring(run_module, proxy, other)
    bring(run_module, proxy, "resumed")
    assert proxy.maintenance.read_bytes() == found
