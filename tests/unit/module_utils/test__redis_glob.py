"""Glob patterns of Redis, matched in Python. The server is asked in the integration tests."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.sre.rollback.plugins.module_utils._redis_glob import (
    GlobSet,
    example_key,
    parse_glob,
)

_PATTERNS = st.lists(
    st.sampled_from([b"*", b"?", b"[", b"]", b"^", b"-", b"\\", b"a", b"b", b"c", b"\xff"]),
    max_size=12,
).map(b"".join)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        pytest.param(b"a*c", [b"ac", b"abc", b"a\nc"], [b"a", b"acb", b"xac"], id="star"),
        pytest.param(b"a?c", [b"abc", b"a\xffc"], [b"ac", b"abbc"], id="any"),
        pytest.param(b"[a-c]x", [b"ax", b"cx"], [b"dx", b"x"], id="range"),
        pytest.param(b"[c-a]x", [b"ax", b"cx"], [b"dx"], id="swapped range"),
        pytest.param(b"[^a]x", [b"bx", b"^x"], [b"ax", b"x"], id="negated"),
        pytest.param(b"[ab", [b"a", b"b"], [b"[ab", b"c"], id="unclosed"),
        pytest.param(b"[]", [], [b"", b"]", b"[]"], id="empty class"),
        pytest.param(b"[^]", [b"a", b"]"], [b"", b"ab"], id="empty negated class"),
        pytest.param(b"[\\]]", [b"]"], [b"\\", b"a"], id="escape in class"),
        pytest.param(b"a\\*", [b"a*"], [b"ab", b"a"], id="escaped star"),
        pytest.param(b"a\\", [b"a\\"], [b"a"], id="trailing backslash"),
        pytest.param(b"", [b""], [b"a"], id="empty"),
        pytest.param(b"*", [b"", b"a"], [], id="everything"),
        pytest.param(b"**", [b"a"], [b""], id="two stars and an empty key"),
        pytest.param(b"**a**", [b"a", b"xax"], [b"x"], id="several stars"),
        pytest.param(b"a.c+", [b"a.c+"], [b"abc", b"abcc"], id="no regular expression"),
    ],
)
def test_glob_matches_as_the_server_does(
    pattern: bytes, matching: list[bytes], others: list[bytes]
) -> None:
    glob = parse_glob(pattern)

    assert [key for key in matching + others if glob.matches(key)] == matching


def test_glob_with_many_stars_answers_at_once() -> None:
    glob = parse_glob(b"*a" * 30 + b"*b")

    assert not glob.matches(b"a" * 20000)


@settings(derandomize=True, max_examples=300)
@given(_PATTERNS, st.binary(max_size=6), st.text("xyz", min_size=1, max_size=4))
def test_glob_literal_is_part_of_every_matching_key(
    pattern: bytes, key: bytes, filler: str
) -> None:
    glob = parse_glob(pattern)
    example = example_key(pattern, filler)

    # A class of no bytes matches nothing, so there is no example of it.
    if glob.matches(example):
        assert glob.literal in example
    if glob.matches(key):
        assert glob.literal in key


def test_glob_set_names_the_first_pattern_that_matches() -> None:
    globs = GlobSet([b"lock:*", b"*:lock", b"lock:*"])

    assert globs.first_match(b"lock:lock") == b"lock:*"
    assert globs.first_match(b"a:lock") == b"*:lock"
    assert globs.first_match(b"a:lock:b") is None
    assert len(globs.globs) == 2


def test_glob_set_looks_at_many_keys_at_once() -> None:
    globs = GlobSet([b"session:*", b"*:lock"])

    assert globs.may_match_within(b"page:1 page:2 session:3")
    assert not globs.may_match_within(b"page:1 page:2")
    assert not GlobSet([]).may_match_within(b"anything")
