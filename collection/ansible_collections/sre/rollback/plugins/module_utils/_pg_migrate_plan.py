# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which migrations have to run to reach a version, and whether there is a way back.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_files import (
    DOWN,
    UP,
    Found,
    Key,
    Migration,
    find_files,
    read_migration,
    version_key,
)

ZERO = "zero"


class NoWayError(RollbackError):
    """The target cannot be reached with the files there are. Nothing was run."""


@dataclass(frozen=True)
class Step:
    """One migration to run, and the versions that are applied when it has run."""

    migration: Migration
    applied: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """The steps from ``applied`` to the target; ``no_way_back`` says why there is no undo."""

    applied: tuple[str, ...]
    steps: tuple[Step, ...]
    no_way_back: str


@dataclass(frozen=True)
class Files:
    """The migration files of a directory, by the key of their version."""

    down: dict[Key, Found]
    up: dict[Key, Found]

    @property
    def versions(self) -> dict[Key, str]:
        """Every version there is a file of."""
        return {key: found.version for key, found in {**self.down, **self.up}.items()}

    def read(self, version: str, direction: str) -> Migration:
        """The migration, ready to run; raises NoWayError when its file is missing."""
        key = version_key(version)
        down, up = self.down.get(key), self.up.get(key)
        found = down if direction == DOWN else up
        if found is None:
            raise NoWayError(
                f"there is no {direction} file for version {version}. Nothing was run. Add it, or "
                f"correct {direction}_pattern."
            )
        shared = down is not None and up is not None and down.path == up.path
        return read_migration(found.path, version, direction, shared=shared)


def read_files(directory: Path, *, down_pattern: str, up_pattern: str) -> Files:
    """The files of ``directory``; raises MigrationFileError."""
    return Files(
        down=find_files(directory, down_pattern, "down_pattern"),
        up=find_files(directory, up_pattern, "up_pattern"),
    )


def applied_up_to(files: Files, newest: t.Sequence[str]) -> tuple[str, ...]:
    """The applied versions when only the newest is known: it and all files before it."""
    if not newest:
        return ()
    last = version_key(newest[-1])
    before = [key for key in sorted(files.versions) if key < last]
    return (*(files.versions[key] for key in before), newest[-1])


def make_plan(applied: t.Sequence[str], target: str, files: Files) -> Plan:
    """The steps that make ``target`` the newest applied version, each file already read.

    Raises NoWayError, or MigrationFileError for a file that cannot be run.
    """
    keys = [version_key(version) for version in applied]
    if target == ZERO:
        steps = _down(list(applied), 0, files)
    elif version_key(target) in keys:
        steps = _down(list(applied), keys.index(version_key(target)) + 1, files)
    else:
        steps = _up(list(applied), target, files)
    return Plan(tuple(applied), tuple(steps), _no_way_back(applied, steps, files))


def _down(applied: list[str], keep: int, files: Files) -> list[Step]:
    return [
        Step(files.read(applied[number], DOWN), tuple(applied[:number]))
        for number in range(len(applied) - 1, keep - 1, -1)
    ]


def _up(applied: list[str], target: str, files: Files) -> list[Step]:
    wanted, newest = version_key(target), version_key(applied[-1]) if applied else ()
    if wanted not in files.up or wanted < newest:
        why = "a newer one is applied" if wanted in files.up else "it has no up file"
        raise NoWayError(
            f"version {target} is not applied, and there is no way to it: {why}. "
            f"Applied: {', '.join(applied) or 'nothing'}. Nothing was run."
        )
    keys = [key for key in sorted(files.up) if newest < key <= wanted]
    versions = [files.versions[key] for key in keys]
    return [
        Step(files.read(version, UP), (*applied, *versions[: number + 1]))
        for number, version in enumerate(versions)
    ]


def _no_way_back(applied: t.Sequence[str], steps: t.Sequence[Step], files: Files) -> str:
    if not steps:
        return ""
    back = UP if steps[0].migration.direction == DOWN else DOWN
    there = files.up if back == UP else files.down
    ran = {version_key(step.migration.version) for step in steps}
    missing = [
        step.migration.version for step in steps if version_key(step.migration.version) not in there
    ]
    if missing:
        return f"there is no {back} file for version {', '.join(missing)}"
    if back == UP:
        newest = version_key(applied[-1])
        oldest = version_key(steps[-1].applied[-1]) if steps[-1].applied else ()
        skipped = [
            files.versions[key]
            for key in sorted(there)
            if oldest < key <= newest and key not in ran
        ]
        if skipped:
            return f"version {', '.join(skipped)} was not applied and would be on the way back up"
    try:
        for step in steps:
            files.read(step.migration.version, back)
    except RollbackError as exc:
        return str(exc)
    return ""
