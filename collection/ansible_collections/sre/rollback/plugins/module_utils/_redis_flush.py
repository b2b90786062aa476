# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Flushing: what to flush where, which way, and what is there before and after.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import time
import typing as t
from dataclasses import replace

from ansible_collections.sre.rollback.plugins.module_utils._redis import (
    ConnectionOptions,
    connect,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_errors import command_errors
from ansible_collections.sre.rollback.plugins.module_utils._redis_flush_report import (
    FlushError,
    Order,
    Report,
    globs,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_keep import (
    KeepAndRemove,
    MeasureSize,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_pace import Pace
from ansible_collections.sre.rollback.plugins.module_utils._redis_restore_point import (
    RestorePointWriter,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_servers import (
    Database,
    Permissions,
    preflight,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_sweep import (
    CountOnly,
    RemoveBySlot,
    Remover,
    RemoveTogether,
    holds_any,
    walk,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_wire import Wire

# Larger batches gain nothing. What the server does at once for 100 keys takes it a millisecond at
# the most: it frees large values in the background. A value that is dumped, or freed at once, can
# be of any size.
_LARGEST_BATCH = 2500
_LARGEST_KEPT_BATCH = 2000
_SMALLEST_BATCH, _SMALLEST_HEAVY_BATCH = 100, 5

# A synchronous FLUSHDB answers when it is done.
_SYNCHRONOUS_FLUSH_TIMEOUT = 600.0

_UNCHANGED = "Nothing was changed."


class Flush:
    """One flush of some databases. It is begun with ``prepare``, which changes nothing."""

    def __init__(
        self,
        databases: t.Sequence[Database],
        params: t.Mapping[str, t.Any],
        order: Order,
        *,
        keep: bool,
    ) -> None:
        self._databases = databases
        self._params = params
        self._options = ConnectionOptions.from_params(params)
        self._order = order
        self._keep = keep
        self._permissions: dict[Database, Permissions] = {}
        self.report = Report()

    def prepare(self) -> None:
        """Prove that every database can be flushed. Raises RollbackError; nothing is changed."""
        for database in self._databases:
            self._permissions[database] = preflight(
                database,
                self._options,
                verb=self._order.verb,
                patterns=self._order.patterns or ("*",),
                keep=self._keep,
            )

    def refuse_too_large(self, path: str, max_bytes: int) -> None:
        """Raise FlushError when a restore point at ``path`` would not fit. Changes nothing."""
        needed = sum(self._measure(database) for database in self._databases)
        folder = pathlib.Path(path).parent
        try:
            status = os.statvfs(folder)
        except OSError as exc:
            raise FlushError(
                f"The folder of the restore point {path} cannot be used: {exc.strerror}. "
                "Nothing was changed."
            ) from exc
        free = status.f_bavail * status.f_frsize
        if needed > min(max_bytes, free):
            raise FlushError(
                f"The restore point {path} needs about {needed} bytes; restore_point_max_bytes is "
                f"{max_bytes}, and the disk has {free} free. Nothing was changed."
            )

    def _measure(self, database: Database) -> int:
        needed = 0
        with command_errors("measuring keys", left=_UNCHANGED), self._wire(database) as wire:
            for selection in self._order.selections().values():
                measure = MeasureSize(wire)
                walk(wire, selection, self._pace(wire), measure)
                needed += measure.estimate
        return needed

    def count(self) -> Report:
        """What ``remove`` would do, without doing it."""
        for database in self._databases:
            with command_errors("counting keys", left=_UNCHANGED), self._wire(database) as wire:
                before = self._key_count(wire)
                if self._goes_whole(database, wire):
                    _count_whole(self.report, before)
                else:
                    self._walk(wire, lambda _wire: CountOnly())
                self.report.keys_before += before
        for tally in self.report.walks.values():
            tally.removed = tally.matched - tally.staying
        self.report.keys_after = self.report.keys_before - self.report.removed
        return self.report

    def remove(self, writer: RestorePointWriter | None) -> Report:
        """Flush. Raises RollbackError, which says how much was removed, when it is cut short."""
        for database in self._databases:
            left = "Some keys are removed, some not. Running the task again continues."
            with command_errors(f"flushing {database}", left=left):
                self._remove_from(database, writer)
        return self.report

    def _remove_from(self, database: Database, writer: RestorePointWriter | None) -> None:
        with self._wire(database) as wire:
            before = self._key_count(wire)
            self.report.keys_before += before
            whole = self._goes_whole(database, wire)
            if not whole:
                self._walk(wire, lambda wire: self._remover(database, wire, writer))
                self._remove_moved(database)
        if whole:
            self._flush_whole(database)
            _count_whole(self.report, before)
        self._look_again(database, whole=whole)

    def _goes_whole(self, database: Database, wire: Wire) -> bool:
        """Whether FLUSHDB may be used; if not, why is in the report."""
        if self._order.patterns:
            return False
        if self._keep:
            reason = "A restore point is kept, so keys go one by one."
        elif self._order.exclude:
            reason = "Keys are excluded, so the others go one by one."
        elif not self._permissions[database].flush_whole:
            reason = f"{database.server} does not allow FLUSHDB, so keys go one by one."
        elif holds_any(wire, globs(self._order.protect), self._pace(wire)):
            reason = f"Protected keys exist in {database}, so the others go one by one."
        else:
            return True
        self.report.reasons[reason] = None
        return False

    def _walk(self, wire: Wire, make_remover: t.Callable[[Wire], Remover]) -> None:
        pace = self._pace(wire, heavy=not self._order.asynchronous)
        for pattern, selection in self._order.selections().items():
            remover = make_remover(wire)
            walk(wire, selection, pace, remover, self.report.tally(pattern))
            self.report.unsettled += remover.unsettled
            longest = max(pace.longest, remover.longest)
            self.report.longest_batch = max(self.report.longest_batch, longest)

    def _remove_moved(self, database: Database) -> None:
        """Remove keys whose slot went to another node of the cluster during the walk."""
        for tally in self.report.walks.values():
            if tally.moved:
                client = connect(self._params, db=database.number)
                with contextlib.closing(client):
                    for key in tally.moved:
                        tally.removed += client.execute_command(self._order.verb, key)
                tally.moved.clear()

    def _remover(
        self, database: Database, wire: Wire, writer: RestorePointWriter | None
    ) -> Remover:
        verb = self._order.verb
        if writer is not None:
            pace = self._pace(wire, heavy=True, largest=_LARGEST_KEPT_BATCH)
            return KeepAndRemove(wire, writer, database, verb=verb, pace=pace)
        remover = RemoveBySlot if database.clustered else RemoveTogether
        return remover(verb.encode())

    def _flush_whole(self, database: Database) -> None:
        options, how = self._options, "ASYNC"
        if not self._order.asynchronous:
            options, how = replace(options, timeout=_SYNCHRONOUS_FLUSH_TIMEOUT), "SYNC"
        with database.wire(options) as wire:
            started = time.monotonic()
            wire.exchange_all(("FLUSHDB", how))
            busy = time.monotonic() - started
        self.report.longest_batch = max(self.report.longest_batch, busy)

    def _look_again(self, database: Database, *, whole: bool) -> None:
        """Count on a new connection what is there now."""
        with self._wire(database) as wire:
            if whole:
                self.report.left["*"] += self._key_count(wire)
            else:
                pace = self._pace(wire)
                for pattern, selection in self._order.selections().items():
                    tally = walk(wire, selection, pace, CountOnly())
                    self.report.left[pattern] += tally.matched - tally.staying
            self.report.keys_after += self._key_count(wire)

    def _wire(self, database: Database) -> t.ContextManager[Wire]:
        return database.wire(self._options)

    def _pace(self, wire: Wire, *, heavy: bool = False, largest: int = _LARGEST_BATCH) -> Pace:
        return Pace(
            max_stall=self._order.max_stall,
            idle_round_trip=wire.idle_round_trip(),
            smallest=_SMALLEST_HEAVY_BATCH if heavy else _SMALLEST_BATCH,
            largest=largest,
        )

    @staticmethod
    def _key_count(wire: Wire) -> int:
        return int(wire.exchange_all(("DBSIZE",))[0])


def _count_whole(report: Report, keys: int) -> None:
    tally = report.tally("*")
    tally.matched += keys
    tally.removed += keys
