"""Glob patterns: what Python matches, and what the servers match."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ansible_collections.sre.rollback.plugins.module_utils._redis_glob import parse_glob
from tests.real_servers import RedisServer

pytestmark = pytest.mark.integration

_PIECES = [b"*", b"?", b"[", b"]", b"^", b"-", b"\\", b"a", b"b", b"c", b"[a-c]", b"[^b]", b"\xff"]
_BYTES = [b"a", b"b", b"c", b"-", b"]", b"[", b"^", b"\\", b"*", b"\xff", b"\n"]


@settings(
    derandomize=True,
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(st.sampled_from(_PIECES), max_size=8).map(b"".join),
    st.lists(st.sampled_from(_BYTES), max_size=6).map(b"".join),
)
@example(b"**", b"")
@example(b"*", b"")
@example(b"", b"")
@example(b"[^]*", b"")
@example(b"[a-", b"a")
@example(b"[^", b"a")
@example(b"[a\\", b"\\")
@example(b"[a\\", b"a")
@example(b"*[", b"a")
@example(b"[-a]", b"-")
@example(b"[a-]]", b"]")
@example(b"[]a]", b"a")
def test_glob_matches_exactly_what_the_server_matches(
    any_server: RedisServer, pattern: bytes, key: bytes
) -> None:
    with contextlib.closing(any_server.client()) as client:
        client.set(key, "1")
        matched = client.scan(0, match=pattern, count=100)[1] == [key]
        client.delete(key)

    assert parse_glob(pattern).matches(key) == matched
