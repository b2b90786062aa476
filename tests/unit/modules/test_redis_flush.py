"""redis_flush without a server: its options, and that its documentation tells all of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.sre.rollback.plugins.module_utils._redis_flush_report import (
    FlushError,
    Report,
    flush_result,
    read_order,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_glob import GlobSet
from ansible_collections.sre.rollback.plugins.modules import redis_flush


def _params(**params: Any) -> dict[str, Any]:
    spec = redis_flush.argument_spec()
    return {**{name: option.get("default") for name, option in spec.items()}, **params}


def test_examples_use_options_that_exist() -> None:
    spec = redis_flush.argument_spec()

    for task in yaml.safe_load(redis_flush.EXAMPLES):
        assert set(task["sre.rollback.redis_flush"]) <= set(spec)


def test_return_documents_every_value() -> None:
    documented = yaml.safe_load(redis_flush.RETURN)
    report = Report()
    report.tally("*").removed = 1

    result = flush_result(report, "/path", point=None)

    assert {*result, "elapsed"} - {"changed"} <= set(documented)
    assert set(result["counts"][0]) == set(documented["counts"]["contains"])


@pytest.mark.parametrize(
    "key",
    [
        "payments:pybreaker:state",
        "pybreaker:state",
        "a:b:pybreaker:opened_at",
        "payments:rollback:hold",
        "rollback:hold",
        "rollback:lock:prod",
        "lock:cart",
        "cart:42:lock",
        "session:abc",
        "spring:session:sessions:abc",
        ":1:django.contrib.sessions.cachex",
    ],
)
def test_well_known_keys_are_protected_by_default(key: str) -> None:
    order = read_order(_params(patterns=["*"]))

    assert GlobSet(each.encode() for each in order.protect).first_match(key.encode())


@pytest.mark.parametrize("key", ["page:1", "block:1", "clock", "user:1", "possession:1"])
def test_other_keys_are_not_protected(key: str) -> None:
    order = read_order(_params(patterns=["*"]))

    assert not GlobSet(each.encode() for each in order.protect).first_match(key.encode())


def test_protect_adds_to_what_is_spared() -> None:
    order = read_order(_params(mode="db", spare=["breakers"], protect=["cart:*", "*pybreaker:*"]))

    assert order.protect == ("*pybreaker:*", "*:rollback:hold", "rollback:hold", "cart:*")


@pytest.mark.parametrize(
    "params",
    [
        {"mode": "pattern"},
        {"mode": "all", "patterns": ["a"]},
        {"patterns": ["a"], "protect": [""]},
        {"patterns": ["a"], "max_stall_ms": 0},
    ],
)
def test_options_that_contradict_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(FlushError, match="Nothing was changed"):
        read_order(_params(**params))
