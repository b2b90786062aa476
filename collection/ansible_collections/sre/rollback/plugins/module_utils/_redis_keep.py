# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys on their way out and back: kept in a restore point before removal, restored from it.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import itertools
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._redis import connect, is_cluster
from ansible_collections.sre.rollback.plugins.module_utils._redis_errors import (
    RedisCommandError,
    command_errors,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_restore_point import (
    KeptKey,
    RestorePoint,
    RestorePointError,
    RestorePointWriter,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_sweep import (
    CountOnly,
    Remover,
    Tally,
    refused_removal,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_wire import (
    Wire,
    decode_keys,
    encode_command,
)

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._redis_pace import Pace
    from ansible_collections.sre.rollback.plugins.module_utils._redis_servers import Database

# Values that change between being kept and being removed are kept again, so many times.
_ATTEMPTS = 5
_RESTORED_TOGETHER = 200

_MEASURED, _MEASURED_TOGETHER = 500, 20
_LONGER_EXPIRY = len(str(10**12))


class KeepAndRemove(Remover):
    """Keeps every batch on the disk before it is removed.

    On one server a batch is removed only when none of its values has changed since it was kept.
    A cluster has no transaction over slots: what changes in the milliseconds between the two is
    kept as it was before the change. ``unsettled`` counts the keys for which that may be so.
    """

    def __init__(
        self, wire: Wire, writer: RestorePointWriter, database: Database, *, verb: str, pace: Pace
    ) -> None:
        self._wire = wire
        self._writer = writer
        self._database = database
        self._verb = verb
        self._pace = pace
        self._removed = 0
        self._removed_before = 0
        self.unsettled = 0

    @property
    def longest(self) -> float:  # type: ignore[override]
        return self._pace.longest

    def requests(self, encoded: bytes, number: int) -> list[bytes]:  # noqa: ARG002
        keys = decode_keys(encoded)
        while keys:
            batch, keys = keys[: self._pace.size], keys[self._pace.size :]
            self._keep_and_remove(batch)
        return []

    def settle(self, answers: t.Sequence[int | str], tally: Tally) -> None:  # noqa: ARG002
        tally.removed += self._removed
        self._removed_before += self._removed
        self._removed = 0

    def _keep_and_remove(self, batch: t.Sequence[bytes]) -> None:
        for attempt in range(_ATTEMPTS):
            watch = not self._database.clustered and attempt < _ATTEMPTS - 1
            start = self._writer.position()
            kept = self._dump(batch, watch=watch)
            self._keep(kept)
            removed = self._remove([each.key for each in kept], transaction=watch)
            if removed is not None:
                self._removed += removed
                self.unsettled += 0 if watch else len(kept)
                return
            self._writer.forget(start, len(kept))
        raise AssertionError("the last attempt always removes")

    def _dump(self, batch: t.Sequence[bytes], *, watch: bool) -> list[KeptKey]:
        commands = [encode_command(b"TIME")]
        commands += [encode_command(b"WATCH", *batch)] if watch else []
        for key in batch:
            commands += [encode_command(b"PTTL", key), encode_command(b"DUMP", key)]
        started = time.monotonic()
        now, *answers = self._wire.exchange_encoded(commands)
        self._pace.record(time.monotonic() - started)
        self._raise_first_error([now, *answers])
        answers = answers[1:] if watch else answers
        milliseconds = int(now[0]) * 1000 + int(now[1]) // 1000
        return [
            KeptKey(
                db=self._database.number,
                key=key,
                dump=dump,
                expires_at=milliseconds + left if left >= 0 else None,
            )
            for key, left, dump in zip(batch, answers[::2], answers[1::2])
            if dump is not None
        ]

    def _keep(self, kept: t.Sequence[KeptKey]) -> None:
        try:
            self._writer.keep(kept)
        except RestorePointError as exc:
            raise RestorePointError(
                f"{exc} {self._writer.keys} keys were removed before that, and are in it. Nothing "
                "was removed that is not. Restore them with state=restored, or continue without "
                "restore_point or with another one.",
                restore_point=self._writer.path,
            ) from exc

    def _remove(self, keys: t.Sequence[bytes], *, transaction: bool) -> int | None:
        """The number of removed keys; None when a value has changed and nothing was removed."""
        if not keys:
            return 0
        if not transaction:
            verb = self._verb.encode()
            removals = self._wire.exchange_encoded([encode_command(verb, key) for key in keys])
            self._raise_first_error(removals)
            return sum(removals)
        removal = encode_command(self._verb.encode(), *keys)
        *queued, done = self._wire.exchange_encoded(
            [encode_command(b"MULTI"), removal, encode_command(b"EXEC")]
        )
        self._raise_first_error([*queued, done])
        return None if done is None else int(done[0])

    def _raise_first_error(self, answers: t.Sequence[t.Any]) -> None:
        for answer in answers:
            if isinstance(answer, Exception):
                raise refused_removal(str(answer), self._removed_before + self._removed)


class MeasureSize(CountOnly):
    """Removes nothing, and measures what a restore point of the keys would need."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._number = 0
        self._sizes: list[int] = []

    def requests(self, encoded: bytes, number: int) -> list[bytes]:
        self._number += number
        if number and len(self._sizes) < _MEASURED:
            keys = decode_keys(encoded)[:_MEASURED_TOGETHER]
            dumps = self._wire.exchange_all(*[("DUMP", key) for key in keys])
            self._sizes += [
                len(KeptKey(0, key, dump, 0).encode()) + _LONGER_EXPIRY
                for key, dump in zip(keys, dumps)
                if dump is not None
            ]
        return []

    @property
    def estimate(self) -> int:
        """Bytes, from the average of the first keys: SCAN meets keys in no particular order."""
        return self._number * sum(self._sizes) // max(len(self._sizes), 1)


@dataclass
class Restored:
    """What became of the keys of a restore point."""

    restored: int = 0
    exists: int = 0
    expired: int = 0
    failed: int = 0
    error: str = ""


def restore_keys(params: t.Mapping[str, t.Any], point: RestorePoint, *, check: bool) -> Restored:
    """Put keys back that do not exist now. Keys that were written since are newer, and stay.

    Raises RedisConnectionError or RedisCommandError; doing it again is safe.
    """
    outcome = Restored()
    for db, keys in itertools.groupby(point.read(), key=lambda kept: kept.db):
        with contextlib.closing(connect(params, db=db)) as client, _sender(client) as send:
            for batch in _batches(keys, _RESTORED_TOGETHER):
                left = f"{outcome.restored} keys were restored. Running the task again is safe."
                with command_errors("restoring keys", left=left):
                    alive = _still_alive(client, batch, outcome)
                    for answer in send([_restoring(kept, check=check) for kept in alive]):
                        _count_answer(answer, outcome, check=check)
    return outcome


_Command = t.Tuple[t.Any, ...]
_Send = t.Callable[[t.Sequence[_Command]], t.Sequence[t.Any]]


@contextlib.contextmanager
def _sender(client: t.Any) -> t.Iterator[_Send]:
    """A way to send many commands at once; in a cluster each to the node of its key."""
    if is_cluster(client):
        yield lambda commands: _send_to_cluster(client, commands)
        return
    with contextlib.closing(Wire(client)) as wire:
        yield lambda commands: wire.exchange_encoded(
            [encode_command(word.encode(), *arguments) for word, *arguments in commands]
        )


def _send_to_cluster(client: t.Any, commands: t.Sequence[_Command]) -> list[t.Any]:
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    answers: list[t.Any] = pipeline.execute(raise_on_error=False)
    return answers


def _batches(keys: t.Iterator[KeptKey], size: int) -> t.Iterator[list[KeptKey]]:
    batch = list(itertools.islice(keys, size))
    while batch:
        yield batch
        batch = list(itertools.islice(keys, size))


def _still_alive(client: t.Any, batch: t.Sequence[KeptKey], outcome: Restored) -> list[KeptKey]:
    now = _milliseconds(client)
    alive = [kept for kept in batch if kept.expires_at is None or kept.expires_at > now]
    outcome.expired += len(batch) - len(alive)
    return alive


def _restoring(kept: KeptKey, *, check: bool) -> _Command:
    if check:
        return ("EXISTS", kept.key)
    return ("RESTORE", kept.key, b"%d" % (kept.expires_at or 0), kept.dump, b"ABSTTL")


def _count_answer(answer: t.Any, outcome: Restored, *, check: bool) -> None:
    if not isinstance(answer, Exception):
        exists = check and bool(answer)
        outcome.exists += exists
        outcome.restored += not exists
    elif "busykey" in str(answer).lower() or "already exists" in str(answer).lower():
        outcome.exists += 1
    else:
        outcome.failed += 1
        outcome.error = outcome.error or str(answer)


def _milliseconds(client: t.Any) -> int:
    answer = client.time()
    if is_cluster(client):
        answer = next(iter(answer.values())) if isinstance(answer, dict) else answer
    return int(answer[0]) * 1000 + int(answer[1]) // 1000


def refuse_failures(outcome: Restored, point: RestorePoint) -> None:
    """Raise RedisCommandError when the server did not take some of the keys."""
    if outcome.failed:
        raise RedisCommandError(
            f"{outcome.failed} of {point.keys} keys could not be restored: {outcome.error}. "
            f"{outcome.restored} were. The file {point.path} is unchanged. DUMP values can only "
            "be restored to the same version of the server or a later one.",
        )
