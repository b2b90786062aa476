"""What a drill says at its end about the orders that no backup has."""

from __future__ import annotations

from typing import Any

import pytest

from rollback_playbook.cli.drill_verdict import at_risk, outage, stayed
from rollback_playbook.drill.prober import Outage, Seen

_COUNTED = {"orders": 60, "counted": 60, "said": "…", "right": True}
_KEPT = {"orders": 60, "missing": 0, "in": "/salvage/1"}
_MERGED = {"orders": 60, "wrong": {"orders": 0, "order_lines": 0}, "healthy": True}


def test_orders_that_were_counted_kept_and_merged_back_are_three_good_lines() -> None:
    lines = list(at_risk(_COUNTED, _KEPT, _MERGED))

    assert [good for good, _ in lines] == [True, True, True]
    assert "the decision said that 60 orders were written" in lines[0][1]
    assert "these 60 orders stand in /salvage/1" in lines[1][1]
    assert "merged back: these 60 orders are live again" in lines[2][1]


@pytest.mark.parametrize(
    ("counted", "kept", "merged", "words"),
    [
        pytest.param(
            {**_COUNTED, "counted": None, "right": False}, {}, {}, "said nothing of them",
            id="not counted",
        ),
        pytest.param(
            {**_COUNTED, "counted": 59, "right": False}, {}, {}, "the decision said 59",
            id="counted wrongly",
        ),
        pytest.param({}, {**_KEPT, "missing": 2}, {}, "NOT kept: 2 of 60", id="not kept"),
        pytest.param(
            {}, {}, {**_MERGED, "wrong": {"orders": 1, "order_lines": 2}}, "3 rows are missing",
            id="merged wrongly",
        ),
        pytest.param({}, {}, {"healthy": False}, "NOT merged back", id="merge refused"),
    ],
)  # fmt: skip
def test_what_was_not_proved_is_a_bad_line(
    counted: dict[str, Any], kept: dict[str, Any], merged: dict[str, Any], words: str
) -> None:
    (line,) = at_risk(counted, kept, merged)

    assert line[0] is False
    assert words in line[1]


def test_drill_without_a_restore_says_nothing_of_orders() -> None:
    assert list(at_risk({}, {}, {})) == []


def _seen(*outages: tuple[float, float]) -> Seen:
    windows = tuple(Outage(began, ended) for began, ended in outages)
    return Seen(requests=100, failed=10, wrong=0, first_fault=None, outages=windows)


def test_an_outage_that_the_rollback_causes_is_held_against_the_target() -> None:
    during = _seen((12.0, 17.0))

    good, text = next(
        iter(outage(_seen((12.0, 17.0)), during, broken=5.0, rollback=10.0, target=3.0))
    )

    assert not good
    assert "5.00 s without service during the rollback" in text


def test_wrong_answers_are_the_faults_and_not_the_rollbacks() -> None:
    wrong = Outage(12.0, 24.0, wrong_only=True)
    during = Seen(
        requests=100, failed=60, wrong=50, first_fault=9.0, outages=(wrong, Outage(25.0, 26.0))
    )

    good, text = next(iter(outage(during, during, broken=5.0, rollback=10.0, target=3.0)))

    assert good
    assert "1.00 s without service during the rollback" in text
    assert "for 12.00 s they were answered wrongly, until the data were right" in text


def test_users_who_had_no_service_before_the_rollback_are_not_its_fault() -> None:
    lines = outage(_seen((6.0, 40.0)), _seen((10.0, 40.0)), broken=5.0, rollback=10.0, target=3.0)

    good, text = next(iter(lines))

    assert good
    assert "no service when the rollback began" in text


def test_users_who_are_kept_out_to_protect_them_are_not_held_against_the_target() -> None:
    during = _seen((11.0, 29.0))

    good, text = next(
        iter(outage(during, during, broken=5.0, rollback=10.0, target=3.0, protected=True))
    )

    assert good
    assert text.startswith("users were kept out on purpose, 18.00 s of the rollback")


def test_orders_that_a_scenario_had_no_business_with_are_untouched_or_named() -> None:
    (good,) = stayed({"orders": 60, "wrong": {"orders": 0, "order_lines": 0}})
    (bad,) = stayed({"orders": 60, "wrong": {"orders": 2, "order_lines": 1}})

    assert good == (True, "untouched: 60 orders placed since the backup are as they were placed")
    assert bad[0] is False
    assert "3 rows" in bad[1]
