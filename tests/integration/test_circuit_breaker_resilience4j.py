"""circuit_breaker with Resilience4j: every instance of a service, as its actuator has it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.actuator import Actuator, StartActuator
from tests.module_runner import RunModule
from tests.real_servers import free_port

pytestmark = pytest.mark.integration


def _resilience4j(*actuators: Actuator, **options: Any) -> dict[str, Any]:
    urls = [actuator.url for actuator in actuators]
    return {"provider": "resilience4j", "instances": urls, "breakers": ["search"], **options}


def test_resilience4j_opens_and_closes_on_every_instance(
    start_actuator: StartActuator, run_module: RunModule
) -> None:
    one, two = (start_actuator({"search": "CLOSED", "mail": "CLOSED"}) for _each in range(2))

    opened = run_module("circuit_breaker", _resilience4j(one, two, state="open"))
    states = [dict(each.states) for each in (one, two)]
    again = run_module("circuit_breaker", _resilience4j(one, two, state="open"))
    closed = run_module("circuit_breaker", _resilience4j(one, two, state="closed"))

    assert states == [{"search": "FORCED_OPEN", "mail": "CLOSED"}] * 2
    assert (opened["changed"], again["changed"], closed["changed"]) == (True, False, True)
    assert opened["after"]["search"]["held"]
    assert one.states["search"] == two.states["search"] == "CLOSED"


def test_resilience4j_never_creates_an_unknown_breaker(
    start_actuator: StartActuator, run_module: RunModule
) -> None:
    actuator = start_actuator({"search": "CLOSED"})

    result = run_module("circuit_breaker", _resilience4j(actuator, breakers=["x"], state="open"))

    assert "Unknown breakers: 'x'. Nothing was changed. Known are: search" in result["msg"]
    assert actuator.posts == []


def test_resilience4j_opens_where_it_can_and_fails_for_an_instance_without_the_breaker(
    start_actuator: StartActuator, run_module: RunModule
) -> None:
    one, two = start_actuator({"search": "CLOSED"}), start_actuator({"mail": "CLOSED"})

    result = run_module("circuit_breaker", _resilience4j(one, two, state="open"))

    assert result["failed"]
    assert f"{two.url}/circuitbreakers does not have it yet" in result["msg"]
    assert one.states["search"] == "FORCED_OPEN"
    assert two.posts == []


def test_resilience4j_opens_where_it_can_and_fails_for_an_instance_that_is_down(
    start_actuator: StartActuator, run_module: RunModule
) -> None:
    up = start_actuator({"search": "CLOSED"})
    down = Actuator({}, url=f"http://127.0.0.1:{free_port()}/actuator")

    result = run_module("circuit_breaker", _resilience4j(up, down, state="open"))

    assert result["failed"]
    assert "refused" in result["msg"]
    assert up.states["search"] == "FORCED_OPEN"


def test_resilience4j_that_refuses_to_write_fails_with_the_reason(
    start_actuator: StartActuator, run_module: RunModule
) -> None:
    actuator = start_actuator({"search": "CLOSED"}, refuses=403)

    result = run_module("circuit_breaker", _resilience4j(actuator, state="open"))

    assert "HTTP status 403" in result["msg"]
    assert result["after"]["search"]["state"] == "closed"


def test_resilience4j_undo_closes_what_was_closed_and_disables_what_was_disabled(
    start_actuator: StartActuator, run_module: RunModule
) -> None:
    before = {"a/b": "CLOSED", "c": "DISABLED", "d": "OPEN", "e": "FORCED_OPEN"}
    actuator = start_actuator(before)

    opened = run_module("circuit_breaker", _resilience4j(actuator, breakers=["all"], state="open"))
    run_module("circuit_breaker", opened["undo"]["args"])

    assert actuator.states == {**before, "d": "CLOSED"}
    assert "e" not in opened["undo"]["args"]["snapshot"]


def test_resilience4j_sends_the_token_and_never_shows_it(
    start_actuator: StartActuator, run_module: RunModule
) -> None:
    actuator = start_actuator({"search": "CLOSED"}, token="tok-4711")

    without = run_module("circuit_breaker", _resilience4j(actuator, state="open"))
    with_token = run_module(
        "circuit_breaker", _resilience4j(actuator, state="open", bearer_token="tok-4711")
    )

    assert "HTTP status 401" in without["msg"]
    assert with_token["changed"]
    assert "tok-4711" not in json.dumps(with_token)


def test_resilience4j_check_mode_writes_nothing(
    start_actuator: StartActuator, run_module: RunModule
) -> None:
    actuator = start_actuator({"search": "CLOSED"})

    result = run_module("circuit_breaker", _resilience4j(actuator, state="open"), check=True)

    assert result["changed"]
    assert result["after"]["search"]["state"] == "open"
    assert actuator.posts == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"state": "open", "lease": 5}, "neither half_open nor a lease", id="lease"),
        pytest.param(
            {"state": "open", "instances": ["http://me:pw@h/actuator"]}, "without a user", id="url"
        ),
        pytest.param({"state": "open", "instances": ["ftp://h/"]}, "not http(s)", id="scheme"),
    ],
)
def test_resilience4j_with_bad_input_says_so(
    start_actuator: StartActuator, run_module: RunModule, options: dict[str, Any], words: str
) -> None:
    actuator = start_actuator({"search": "CLOSED"})

    result = run_module("circuit_breaker", {**_resilience4j(actuator), **options})

    assert words in result["msg"]
    assert "pw" not in result["msg"]
    assert actuator.posts == []
