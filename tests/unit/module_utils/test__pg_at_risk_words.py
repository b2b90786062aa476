"""What a rollback costs, in words: nothing is guessed, and what is not known is named."""

from __future__ import annotations

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._pg_at_risk import (
    BY_KEY,
    BY_ROWS,
    UNKNOWN,
    Risk,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_at_risk_words import counted_result

_ORDERS = ("public", "orders")


def _risk(known: str, **figures: object) -> Risk:
    return Risk(_ORDERS, ("id",), known, **figures)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("risk", "words"),
    [
        pytest.param(
            _risk(BY_KEY, added=1284, removed=0),
            "restoring this backup loses 1,284 orders written since 02:00",
            id="new rows",
        ),
        pytest.param(
            _risk(BY_KEY, added=1, removed=3),
            "restoring this backup loses 1 row of orders written since 02:00 and brings back 3 "
            "orders deleted",
            id="new and deleted rows",
        ),
        pytest.param(
            _risk(BY_KEY, added=2, problem="not counted within 3 s"),
            "restoring this backup loses 2 orders written since 02:00; how many rows were deleted "
            "is not known of orders (not counted within 3 s)",
            id="deleted rows were not counted",
        ),
        pytest.param(
            _risk(BY_KEY, added=0, problem="not counted within 3 s"),
            "how many rows were deleted is not known of orders (not counted within 3 s)",
            id="no new rows, deleted ones were not counted",
        ),
        pytest.param(
            _risk(UNKNOWN, problem="somebody holds it locked"),
            "not known of orders (somebody holds it locked)",
            id="nothing was counted",
        ),
        pytest.param(
            _risk(BY_ROWS, added=0, removed=0),
            "restoring this backup loses no new row: none was written since 02:00",
            id="nothing was written",
        ),
    ],
)
def test_cost_is_one_sentence(risk: Risk, words: str) -> None:
    result = counted_result([risk], "since 02:00", "this backup is not staged")

    assert result["summary"] == words
    assert result["basis"].startswith("an estimate, because this backup is not staged: new rows ")


@pytest.mark.parametrize(
    ("risk", "total"),
    [
        pytest.param(_risk(BY_KEY, added=2, removed=0), 2, id="known"),
        pytest.param(_risk(UNKNOWN, problem="locked"), None, id="not known"),
    ],
)
def test_total_is_none_unless_every_figure_is_known(risk: Risk, total: int | None) -> None:
    other = Risk(("public", "audit"), (), BY_ROWS, added=0, changed=0, removed=0)

    result = counted_result([risk, other], "since 02:00", "this backup is not staged")

    assert result["total"]["added"] == total
    assert [each["table"] for each in result["tables"]] == ["public.orders"]
