# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Walking through the keys of one database: counting, removing, sparing.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import time
import typing as t
from collections import Counter, deque
from dataclasses import dataclass, field

from ansible_collections.sre.rollback.plugins.module_utils._redis_errors import RedisCommandError
from ansible_collections.sre.rollback.plugins.module_utils._redis_glob import GlobSet
from ansible_collections.sre.rollback.plugins.module_utils._redis_wire import (
    FIRST_CURSOR,
    Answer,
    decode_keys,
    encode_keys,
    encode_removal,
    encode_scan,
    key_slot,
)

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._redis_pace import Pace
    from ansible_collections.sre.rollback.plugins.module_utils._redis_wire import Wire

# A cluster answers so when a key has moved to another node, or is just moving.
_MOVED = ("MOVED", "ASK", "TRYAGAIN")


@dataclass
class Tally:
    """What a walk has met so far. ``moved`` are keys that a cluster holds elsewhere by now."""

    matched: int = 0
    removed: int = 0
    excluded: int = 0
    spared: Counter[str] = field(default_factory=Counter)
    moved: list[bytes] = field(default_factory=list)

    @property
    def staying(self) -> int:
        """Keys that match and are not to be removed."""
        return self.excluded + sum(self.spared.values())


@dataclass(frozen=True)
class Selection:
    """Which keys a walk is about.

    ``pattern`` None means every key. Keys that match ``counted`` belong to another walk, those of
    ``exclude`` stay because the task says so, those of ``protect`` stay and are reported.
    """

    pattern: bytes | None
    counted: GlobSet
    exclude: GlobSet
    protect: GlobSet

    def choose(self, answer: Answer, tally: Tally) -> tuple[bytes, int]:
        """The keys of an answer to act on, encoded, and their number."""
        sets = [each for each in (self.counted, self.exclude, self.protect) if each]
        if not any(each.may_match_within(answer.encoded) for each in sets):
            tally.matched += answer.number
            return answer.encoded, answer.number
        chosen = [key for key in decode_keys(answer.encoded) if self._is_chosen(key, tally)]
        return encode_keys(chosen), len(chosen)

    def _is_chosen(self, key: bytes, tally: Tally) -> bool:
        if self.counted.first_match(key) is not None:
            return False
        tally.matched += 1
        rule = self.protect.first_match(key)
        if rule is not None:
            tally.spared[rule.decode("utf-8", "backslashreplace")] += 1
            return False
        if self.exclude.first_match(key) is not None:
            tally.excluded += 1
            return False
        return True


class Remover:
    """What is done with chosen keys: the requests to send, and what their answers mean.

    ``unsettled`` counts values that may have changed between being kept and being removed, and
    ``longest`` is the longest time in seconds that it kept the server busy by itself.
    """

    unsettled = 0
    longest = 0.0

    def requests(self, encoded: bytes, number: int) -> list[bytes]:
        raise NotImplementedError

    def settle(self, answers: t.Sequence[int | str], tally: Tally) -> None:
        raise NotImplementedError


class CountOnly(Remover):
    """Removes nothing."""

    def requests(self, encoded: bytes, number: int) -> list[bytes]:  # noqa: ARG002
        return []

    def settle(self, answers: t.Sequence[int | str], tally: Tally) -> None:
        pass


class RemoveTogether(Remover):
    """One command for all keys of a batch."""

    def __init__(self, verb: bytes) -> None:
        self._verb = verb

    def requests(self, encoded: bytes, number: int) -> list[bytes]:
        return [encode_removal(self._verb, encoded, number)] if number else []

    def settle(self, answers: t.Sequence[int | str], tally: Tally) -> None:
        for answer in answers:
            if isinstance(answer, str):
                raise refused_removal(answer, tally.removed)
            tally.removed += answer


class RemoveBySlot(Remover):
    """One command for the keys of each slot of a batch: a cluster takes no other."""

    def __init__(self, verb: bytes) -> None:
        self._verb = verb
        self._under_way: deque[list[bytes]] = deque()

    def requests(self, encoded: bytes, number: int) -> list[bytes]:  # noqa: ARG002
        by_slot: dict[int, list[bytes]] = {}
        for key in decode_keys(encoded):
            by_slot.setdefault(key_slot(key), []).append(key)
        self._under_way.extend(by_slot.values())
        return [
            encode_removal(self._verb, encode_keys(keys), len(keys)) for keys in by_slot.values()
        ]

    def settle(self, answers: t.Sequence[int | str], tally: Tally) -> None:
        for answer in answers:
            keys = self._under_way.popleft()
            if not isinstance(answer, str):
                tally.removed += answer
            elif answer.startswith(_MOVED):
                tally.moved += keys
            else:
                raise refused_removal(answer, tally.removed)


def refused_removal(answer: str, removed: int) -> RedisCommandError:
    """The error for a removal in the middle of the work."""
    return RedisCommandError(
        f"Redis refused to remove keys: {answer}. {removed} keys were removed before that. "
        "Running the task again continues.",
        removed=removed,
    )


def walk(
    wire: Wire, selection: Selection, pace: Pace, remover: Remover, tally: Tally | None = None
) -> Tally:
    """Meet every key that exists from the beginning to the end of the walk, at least once.

    While the server removes the keys of one answer, the next one is read and chosen from.
    """
    tally = Tally() if tally is None else tally
    removals: list[bytes] = []
    cursor = FIRST_CURSOR
    while True:
        request = encode_scan(cursor, selection.pattern, pace.size)
        started = time.monotonic()
        answer = wire.scan(request, removals)
        pace.record(time.monotonic() - started)
        remover.settle(answer.removals, tally)
        removals = remover.requests(*selection.choose(answer, tally))
        cursor = answer.cursor
        if cursor == FIRST_CURSOR:
            break
    remover.settle(wire.settled(), tally)
    wire.send(removals)
    remover.settle(wire.settled(), tally)
    return tally


def holds_any(wire: Wire, protect: GlobSet, pace: Pace) -> bool:
    """Whether the database has a key that is protected: the first one ends the search."""
    cursor = FIRST_CURSOR
    while protect:
        started = time.monotonic()
        answer = wire.scan(encode_scan(cursor, None, pace.size))
        pace.record(time.monotonic() - started)
        if protect.may_match_within(answer.encoded):
            keys = decode_keys(answer.encoded)
            if any(protect.first_match(key) is not None for key in keys):
                return True
        cursor = answer.cursor
        if cursor == FIRST_CURSOR:
            break
    return False
