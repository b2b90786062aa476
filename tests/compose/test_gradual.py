"""``gradual`` on Compose: one service after the other, stopped at the first that is red."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compose.conftest import MakeEnvironment
from tests.compose.load import Load
from tests.compose.stack import Stack

pytestmark = pytest.mark.compose


def answers(stack: Stack, path: str) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{stack.port}{path}"
    return [{"name": f"{path} answers", "http": {"url": url, "status": [200]}}]


def test_services_go_back_one_after_the_other_and_users_stay_on_the_system(
    stack: Stack, environment: MakeEnvironment
) -> None:
    shop = environment(
        stack,
        release_services=["web", "api", "worker"],
        release_compose_strategy="overlap",
        release_compose_trial=False,
        release_order=["api", "web"],
        release_checks={"web": answers(stack, "/orders"), "api": answers(stack, "/api/")},
        release_pause=1,
        release_gate_period=0.2,
    )
    assert shop.run("mark-good", "--yes").code == 0
    stack.deploy(web="1.1.0", api="1.1.0")
    stack.wait_for(200)
    others = stack.containers("proxy", "worker", "store")

    with Load(stack) as load:
        done = shop.run("gradual", "--reason", "it is slow", "--yes")

    assert done.code == 0, done.output
    assert stack.images("web") == {"shop/web:1.0.0"}
    assert stack.images("api") == {"shop/api:1.0.0"}
    assert stack.containers("proxy", "worker", "store") == others
    assert load.seen().requests > 50
    assert load.faults == [], stack.compose("logs", "--timestamps", "proxy")


def test_it_stops_at_the_first_red_service_and_says_what_runs_where(
    stack: Stack, environment: MakeEnvironment
) -> None:
    shop = environment(
        stack,
        release_services=["web", "api", "worker"],
        release_compose_trial=False,
        release_order=["api", "web", "worker"],
        release_checks={"api": answers(stack, "/api/"), "web": answers(stack, "/orders")},
        release_pause=0,
        release_gate_period=0.2,
        release_gate_deadline=20,
    )
    stack.deploy(web="1.1.0", api="1.1.0", worker="1.1.0")
    stack.wait_for(200)
    worker = stack.containers("worker")

    # This release answers on /api/, and not on /orders.
    red = shop.run("gradual", "--to", "2.1.0", "--reason", "a try", "--yes")

    assert red.code == 4, red.output
    assert "web is red: The health gate FAILED" in red.output
    assert "nothing after it was touched" in red.output
    assert "api: on 2.1.0, healthy; web: red; worker: still on shop/worker:1.1.0." in red.output
    assert stack.containers("worker") == worker
    assert "rollback-playbook undo" in red.output

    undone = shop.run("undo", "last", "--yes")
    assert undone.code == 0, undone.output
    assert stack.images("api") == {"shop/api:1.1.0"}
    assert stack.images("web") == {"shop/web:1.1.0"}
