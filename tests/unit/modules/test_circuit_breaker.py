"""circuit_breaker without a server: its options, and that its documentation tells all of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.sre.rollback.plugins.module_utils import _breaker_provider as core
from ansible_collections.sre.rollback.plugins.module_utils._breaker_change import Outcome
from ansible_collections.sre.rollback.plugins.module_utils._breaker_report import (
    read_wish,
    result_of,
    undo_of,
)
from ansible_collections.sre.rollback.plugins.modules import circuit_breaker


def _params(**params: Any) -> dict[str, Any]:
    spec = circuit_breaker.argument_spec()
    return {**{name: option.get("default") for name, option in spec.items()}, **params}


def test_examples_use_options_that_exist() -> None:
    spec = circuit_breaker.argument_spec()

    for task in yaml.safe_load(circuit_breaker.EXAMPLES):
        assert set(task["sre.rollback.circuit_breaker"]) <= set(spec)


def test_return_documents_every_value() -> None:
    outcome = Outcome(before=(), after=(), touched=(), foreign=(), reopened=())

    result = result_of(outcome, _params(state="open"), 0.1)

    assert set(result) - {"changed"} == set(yaml.safe_load(circuit_breaker.RETURN))


@pytest.mark.parametrize("provider", circuit_breaker.PROVIDERS)
def test_undo_says_where_the_breakers_are_and_nothing_secret(provider: str) -> None:
    breaker = core.Breaker("a", core.CLOSED)
    outcome = Outcome((breaker,), (breaker,), touched=("a",), foreign=(), reopened=())
    params = _params(
        provider=provider,
        state="open",
        instances=["http://h/actuator"],
        haproxy_socket="/s",
        login_password="secret",
        bearer_token="secret",
    )

    undo = undo_of(outcome, params)

    assert undo["args"]["state"] == "restored"
    assert set(undo["args"]["snapshot"]) == {"a"}
    assert "secret" not in str(undo)
    assert not any(name.startswith("login_") for name in undo["args"])


@pytest.mark.parametrize(
    "params",
    [
        {"state": "closed", "lease": 1.0},
        {"state": "open", "lease": float("nan")},
        {"state": "open", "lease": -1.0},
        {"state": "open", "settle": -1.0},
        {"state": "open", "holder": ""},
        {"state": "restored", "snapshot": {"a": "open"}},
    ],
)
def test_options_that_contradict_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(core.BreakerError, match="Nothing was changed"):
        read_wish(_params(**params))
