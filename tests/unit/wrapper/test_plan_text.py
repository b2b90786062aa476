"""The plan that an operator reads before they agree."""

from __future__ import annotations

from typing import Any

import pytest

from rollback_playbook.cli.plan_text import risk_text

_SUMMARY = "restoring this backup loses 1,284 orders written since 02:00 UTC"


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        pytest.param(
            {"exact": True, "basis": "every row was compared"}, _SUMMARY, id="every row compared"
        ),
        pytest.param(
            {"exact": False, "basis": "an estimate, because this backup is not staged"},
            f"{_SUMMARY} (an estimate, because this backup is not staged)",
            id="estimated",
        ),
        pytest.param({"exact": False, "basis": ""}, _SUMMARY, id="not known"),
    ],
)
def test_plan_says_of_an_estimate_that_it_is_one(figures: dict[str, Any], words: str) -> None:
    assert risk_text({"summary": _SUMMARY, **figures}) == words


def test_plan_without_a_decision_says_nothing_of_data() -> None:
    assert risk_text(None) == ""
