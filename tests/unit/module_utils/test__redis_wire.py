"""Requests and answers of Redis as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot as slot_of_redis_py

from ansible_collections.sre.rollback.plugins.module_utils._redis_errors import (
    RedisCommandError,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_wire import (
    decode_keys,
    encode_command,
    encode_keys,
    encode_removal,
    encode_scan,
    key_slot,
    parse_answer,
    parse_replies,
)

_KEYS = st.lists(st.binary(max_size=12) | st.sampled_from([b"\r\n", b"$1\r\na\r\n", b""]))


@settings(derandomize=True)
@given(_KEYS)
def test_decode_keys_reads_back_what_encode_keys_wrote(keys: list[bytes]) -> None:
    assert decode_keys(encode_keys(keys)) == keys


@settings(derandomize=True)
@given(_KEYS, st.integers(min_value=0, max_value=2**64 - 1), st.integers(0, 10**6))
def test_parse_answer_finds_removals_cursor_and_keys(
    keys: list[bytes], cursor: int, removed: int
) -> None:
    scan = b"*2\r\n" + encode_keys([b"%d" % cursor]) + b"*%d\r\n" % len(keys) + encode_keys(keys)
    data = b":%d\r\n-MOVED 1 a:1\r\n%s" % (removed, scan)

    answer = parse_answer(data, removals=2)

    assert answer.removals == (removed, "MOVED 1 a:1")
    assert answer.cursor == b"%d" % cursor
    assert (answer.number, decode_keys(answer.encoded)) == (len(keys), keys)


def test_parse_answer_of_a_refused_scan_raises() -> None:
    with pytest.raises(RedisCommandError, match="NOPERM no"):
        parse_answer(b":1\r\n-NOPERM no\r\n", removals=1)


def test_encode_removal_takes_keys_as_they_came() -> None:
    keys = [b"a", b"b\r\n"]

    assert encode_removal(b"UNLINK", encode_keys(keys), 2) == encode_command(b"UNLINK", *keys)


def test_encode_scan_leaves_out_the_pattern_of_everything() -> None:
    assert encode_scan(b"7", None, 10) == encode_command(b"SCAN", b"7", b"COUNT", b"10")
    assert b"MATCH" in encode_scan(b"0", b"a*", 10)


@settings(derandomize=True)
@given(st.binary(max_size=20) | st.lists(st.sampled_from([b"{", b"}", b"a", b"b"])).map(b"".join))
def test_key_slot_is_that_of_a_cluster(key: bytes) -> None:
    assert key_slot(key) == slot_of_redis_py(key)


def test_parse_replies_reads_every_kind() -> None:
    data = (
        b"+OK\r\n:-2\r\n$-1\r\n$4\r\na\r\nb\r\n*-1\r\n*2\r\n:1\r\n*1\r\n$0\r\n\r\n-ERR no\r\n:9\r\n"
    )

    *replies, error, last = parse_replies(data, 8)

    assert replies == [b"OK", -2, None, b"a\r\nb", None, [1, [b""]]]
    assert (str(error), last) == ("ERR no", 9)
