"""Flags of an Unleash server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.module_runner import RunModule
from tests.unleash import ADMIN, CLIENT, Unleash

pytestmark = pytest.mark.integration


def _set(
    run_module: RunModule, unleash: Unleash, flags: dict[str, Any] | None, **options: Any
) -> dict[str, Any]:
    base = {"provider": "unleash", "url": unleash.url, "api_token": ADMIN}
    return run_module("feature_flag", {**base, "flags": flags, **options})


def test_unleash_flags_are_what_a_client_is_told_and_undo_brings_them_back(
    run_module: RunModule, unleash: Unleash
) -> None:
    wanted = {"checkout": False, "rate-limiting": "on", "search": True}

    result = _set(run_module, unleash, wanted, client_token=CLIENT)

    assert unleash.flags == {"checkout": False, "search": True, "rate-limiting": True}
    assert result["evaluated"] == {"checkout": False, "rate-limiting": True, "search": True}
    assert result["evaluated_by"] == "Unleash's client API"
    assert [name for name, _on in unleash.changes] == ["checkout", "rate-limiting"]

    undo = run_module("feature_flag", {**result["undo"]["args"], "api_token": ADMIN})
    assert undo["changed"]
    assert unleash.flags == {"checkout": True, "search": True, "rate-limiting": False}


def test_unleash_flags_that_are_as_asked_are_left_alone(
    run_module: RunModule, unleash: Unleash
) -> None:
    result = _set(run_module, unleash, {"checkout": True})

    assert not result["changed"]
    assert unleash.changes == []


def test_unleash_in_check_mode_switches_nothing(run_module: RunModule, unleash: Unleash) -> None:
    args = {"provider": "unleash", "url": unleash.url, "api_token": ADMIN}

    result = run_module("feature_flag", {**args, "flags": {"checkout": False}}, check=True)

    assert result["after"]["checkout"]["enabled"] is False
    assert unleash.changes == []


def test_unleash_that_refuses_the_second_flag_has_the_first_one_put_back(
    run_module: RunModule, unleash: Unleash
) -> None:
    unleash.refused.add("search")

    result = _set(run_module, unleash, {"checkout": False, "search": False})

    assert "403" in result["msg"]
    assert "Put back: checkout." in result["msg"]
    assert unleash.flags["checkout"] is True
