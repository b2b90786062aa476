"""Which keys of an answer are chosen, and what the answers to their removal mean."""

from __future__ import annotations

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._redis_errors import (
    RedisCommandError,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_glob import GlobSet
from ansible_collections.sre.rollback.plugins.module_utils._redis_sweep import (
    RemoveBySlot,
    RemoveTogether,
    Selection,
    Tally,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_wire import (
    Answer,
    decode_keys,
    encode_command,
    encode_keys,
    key_slot,
)


def _answer(*keys: bytes) -> Answer:
    return Answer((), b"0", len(keys), encode_keys(keys))


def _selection(counted: list[bytes], exclude: list[bytes], protect: list[bytes]) -> Selection:
    return Selection(b"*", GlobSet(counted), GlobSet(exclude), GlobSet(protect))


def test_selection_sorts_every_key_into_one_kind() -> None:
    tally = Tally()
    selection = _selection([b"old:*"], [b"*:top"], [b"lock:*"])

    encoded, number = selection.choose(
        _answer(b"a", b"old:lock:1", b"lock:top", b"b:top", b"c"), tally
    )

    assert (decode_keys(encoded), number) == ([b"a", b"c"], 2)
    assert (tally.matched, tally.excluded, tally.spared) == (4, 1, {"lock:*": 1})
    assert tally.staying == 2


def test_selection_passes_an_answer_on_as_it_came_when_nothing_can_match() -> None:
    tally = Tally()
    answer = _answer(b"a", b"b")

    encoded, number = _selection([], [], [b"lock:*"]).choose(answer, tally)

    assert encoded is answer.encoded
    assert (number, tally.matched) == (2, 2)


def test_remove_together_counts_what_the_server_removed() -> None:
    remover, tally = RemoveTogether(b"UNLINK"), Tally()

    requests = remover.requests(encode_keys([b"a", b"b"]), 2)
    remover.settle([1], tally)

    assert requests == [encode_command(b"UNLINK", b"a", b"b")]
    assert remover.requests(b"", 0) == []
    assert tally.removed == 1


def test_remove_together_that_is_refused_says_how_much_is_gone() -> None:
    with pytest.raises(RedisCommandError, match=r"READONLY.* 41 keys were removed before"):
        RemoveTogether(b"UNLINK").settle(["READONLY no"], Tally(removed=41))


def test_remove_by_slot_sends_one_command_for_each_slot_and_notes_moved_keys() -> None:
    remover, tally = RemoveBySlot(b"UNLINK"), Tally()
    keys = [b"{a}1", b"{b}1", b"{a}2"]
    assert key_slot(b"{a}1") == key_slot(b"{a}2") != key_slot(b"{b}1")

    requests = remover.requests(encode_keys(keys), 3)
    remover.settle([2, "MOVED 3300 127.0.0.1:7001"], tally)

    assert requests == [
        encode_command(b"UNLINK", b"{a}1", b"{a}2"),
        encode_command(b"UNLINK", b"{b}1"),
    ]
    assert (tally.removed, tally.moved) == (2, [b"{b}1"])


def test_remove_by_slot_that_is_refused_raises() -> None:
    remover = RemoveBySlot(b"UNLINK")
    remover.requests(encode_keys([b"a"]), 1)

    with pytest.raises(RedisCommandError, match="NOPERM"):
        remover.settle(["NOPERM no"], Tally())
