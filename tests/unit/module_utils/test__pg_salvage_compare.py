"""Joining two ordered streams of rows."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_compare import (
    ADDED,
    CHANGED,
    REMOVED,
    Row,
    join_rows,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_sql import buckets_for

_KEYS = st.integers(0, 12).map(lambda number: b"%02d" % number)
_CONTENTS = st.sampled_from([b"x", b"y", b"z"])


def rows(side: dict[bytes, bytes]) -> list[Row]:
    """A stream of one row a key; the payload is the key and the content."""
    return [(key, content, key + content) for key, content in sorted(side.items())]


@settings(max_examples=300, derandomize=True)
@given(st.dictionaries(_KEYS, _CONTENTS), st.dictionaries(_KEYS, _CONTENTS))
def test_join_rows_finds_exactly_what_differs(
    ours: dict[bytes, bytes], theirs: dict[bytes, bytes]
) -> None:
    found = list(join_rows(iter(rows(ours)), iter(rows(theirs))))

    added = [(ADDED, key + ours[key], b"") for key in ours.keys() - theirs.keys()]
    removed = [(REMOVED, b"", key + theirs[key]) for key in theirs.keys() - ours.keys()]
    changed = [
        (CHANGED, key + ours[key], key + theirs[key])
        for key in ours.keys() & theirs.keys()
        if ours[key] != theirs[key]
    ]
    assert sorted(found) == sorted(added + removed + changed)


@settings(max_examples=200, derandomize=True)
@given(st.lists(_CONTENTS, max_size=8), st.lists(_CONTENTS, max_size=8))
def test_join_rows_without_a_key_compares_bags(ours: list[bytes], theirs: list[bytes]) -> None:
    left: list[Row] = [(content, content, content) for content in sorted(ours)]
    right: list[Row] = [(content, content, content) for content in sorted(theirs)]

    found = list(join_rows(iter(left), iter(right)))

    mine, other = Counter(ours), Counter(theirs)
    assert Counter(row for change, row, _ in found if change == ADDED) == mine - other
    assert Counter(row for change, _, row in found if change == REMOVED) == other - mine
    assert not [change for change, _, _ in found if change == CHANGED]


@settings(derandomize=True)
@given(st.integers(0, 1 << 50))
def test_buckets_for_is_a_power_of_two_within_bounds(size: int) -> None:
    buckets = buckets_for(size)

    assert 1 <= buckets <= 1 << 18
    assert buckets & (buckets - 1) == 0
