"""How far sequences have to go."""

from __future__ import annotations

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_sequences import (
    Advance,
    Sequence,
    advances,
)

_NAME = ("public", "ids")
_ORDERS = ("public", "orders")


def sequence(
    last: int | None, *, increment: int = 1, cycles: bool = False
) -> dict[tuple[str, str], Sequence]:
    """The sequences of a database: one, drawn from by orders."""
    return {_NAME: Sequence(_NAME, increment, cycles, last, frozenset({_ORDERS}))}


@pytest.mark.parametrize(
    ("database", "reference", "expected"),
    [
        pytest.param(sequence(9), sequence(5), [Advance(_NAME, 5, 9)], id="behind"),
        pytest.param(sequence(9), sequence(None), [Advance(_NAME, None, 9)], id="never used"),
        pytest.param(sequence(5), sequence(9), [], id="ahead"),
        pytest.param(sequence(None), sequence(9), [], id="the database's was never used"),
        pytest.param(
            sequence(-9, increment=-1),
            sequence(-5, increment=-1),
            [Advance(_NAME, -5, -9)],
            id="counting down",
        ),
        pytest.param(
            sequence(9, cycles=True), sequence(5, cycles=True), [], id="one that cycles has no end"
        ),
        pytest.param(sequence(9), {}, [], id="only one database has it"),
    ],
)
def test_advances_moves_what_is_behind(
    database: dict[tuple[str, str], Sequence],
    reference: dict[tuple[str, str], Sequence],
    expected: list[Advance],
) -> None:
    assert advances(database, reference, left_out=lambda _table: False) == expected


def test_advances_leaves_the_sequences_of_tables_that_are_left_out() -> None:
    found = advances(sequence(9), sequence(5), left_out=lambda table: table == _ORDERS)

    assert found == []


def test_advances_moves_a_sequence_that_only_the_application_draws_from() -> None:
    free = Sequence(_NAME, 1, False, 5, frozenset())

    found = advances(sequence(9), {_NAME: free}, left_out=lambda _table: True)

    assert found == [Advance(_NAME, 5, 9)]
