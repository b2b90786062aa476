# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Migration files: which there are, what they hold, and whether they can be run as they are.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import hashlib
import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_sql import (
    Statement,
    split_statements,
)

DOWN = "down"
UP = "up"

# Both directions in one file, as dbmate, goose and sql-migrate mark them.
_MARKER = re.compile(r"^--\s*(?:migrate:|\+goose\s+|\+migrate\s+)(up|down)\b(.*)$", re.I | re.M)
_NO_TRANSACTION = re.compile(
    r"^--\s*(?:(?:\+goose\s+)?no[ _-]transaction"
    r"|migrate:(?:up|down)\s+transaction:\s*false)\s*$",
    re.I | re.M,
)
_BEGINS = (("BEGIN",), ("START", "TRANSACTION"))
_COMMITS = (("COMMIT",), ("END",))
_TRANSACTION_CONTROL = (*_BEGINS, *_COMMITS, ("ROLLBACK",), ("ABORT",), ("PREPARE", "TRANSACTION"))


class MigrationFileError(RollbackError):
    """A migration file is missing, ambiguous or cannot be run from here. Nothing was run."""


@dataclass(frozen=True)
class Migration:
    """One direction of one version."""

    version: str
    path: Path
    direction: str
    statements: tuple[Statement, ...]
    sha256: str
    transactional: bool

    def as_dict(self) -> dict[str, t.Any]:
        """The file in the module's result."""
        return {
            "version": self.version,
            "file": self.path.name,
            "direction": self.direction,
            "sha256": self.sha256,
            "transaction": self.transactional,
        }


Key = t.Tuple[t.Tuple[int, int, str], ...]


def version_key(version: str) -> Key:
    """Orders versions as people count: 9 before 10, 1.9 before 1.10, 007 like 7."""
    parts = re.findall(r"\d+|[^\W\d_]+", version)
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts)


@dataclass(frozen=True)
class Found:
    """A file and the version its name says."""

    version: str
    path: Path


def find_files(directory: Path, pattern: str, option: str) -> dict[Key, Found]:
    """The files of ``directory`` whose name ``pattern`` matches, by the key of their version.

    Raises MigrationFileError for two files of one version.
    """
    found: dict[Key, Found] = {}
    for path in _files(directory):
        match = _compiled(pattern, option).search(path.name)
        if match is None:
            continue
        file = Found(match.group("version"), path)
        key = version_key(file.version)
        if key in found:
            raise MigrationFileError(
                f"{found[key].path.name} and {path.name} in {directory} are both version "
                f"{file.version} by {option}. Nothing was run. Correct {option}."
            )
        found[key] = file
    return found


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_file())
    except OSError as exc:
        raise MigrationFileError(
            f"cannot list {directory}: {exc.strerror}. Nothing was run."
        ) from exc


def _compiled(pattern: str, option: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as exc:
        raise MigrationFileError(
            f"{option} is no regular expression: {exc}. Nothing was run."
        ) from exc
    if "version" not in compiled.groupindex:
        raise MigrationFileError(
            f"{option} needs a group (?P<version>…) that says which version a file is. "
            "Nothing was run."
        )
    return compiled


def read_migration(path: Path, version: str, direction: str, *, shared: bool) -> Migration:
    """Read the file and make sure that it can be run here.

    ``shared`` files hold both directions, and say which is which. Raises MigrationFileError.
    """
    try:
        whole = path.read_text("utf-8")
    except (OSError, ValueError) as exc:
        raise MigrationFileError(f"{path} cannot be read: {exc}. Nothing was run.") from exc
    text = _section(path, whole, direction, shared=shared)
    statements = split_statements(text)
    if len(statements) > 1 and _is(statements[0], _BEGINS) and _is(statements[-1], _COMMITS):
        statements = statements[1:-1]  # The transaction is ours.
    for statement in statements:
        problem = _problem(statement)
        if problem:
            raise MigrationFileError(
                f"{path} cannot be run: {problem} (line {statement.line}). Nothing was run."
            )
    return Migration(
        version=version,
        path=path,
        direction=direction,
        statements=tuple(statements),
        sha256=hashlib.sha256(whole.encode()).hexdigest(),
        transactional=not _NO_TRANSACTION.search(text),
    )


def _section(path: Path, text: str, direction: str, *, shared: bool) -> str:
    markers = list(_MARKER.finditer(text))
    if not markers:
        if shared:
            raise MigrationFileError(
                f"{path} is matched by both patterns, but does not say which part goes up and "
                "which down (-- migrate:down). Nothing was run. Correct the patterns."
            )
        return text
    ends = [marker.start() for marker in markers[1:]] + [len(text)]
    parts = [
        # Blank lines in front keep the numbers of the lines.
        "\n" * text.count("\n", 0, marker.start()) + text[marker.start() : end]
        for marker, end in zip(markers, ends)
        if marker.group(1).lower() == direction
    ]
    if len(parts) != 1:
        raise MigrationFileError(
            f"{path} has {len(parts)} parts for {direction} instead of one. Nothing was run."
        )
    return parts[0]


def _problem(statement: Statement) -> str:
    if statement.meta:
        return "it uses a command of the program psql"
    if _is(statement, _TRANSACTION_CONTROL) and not _is(statement, [("ROLLBACK", "TO")]):
        return f"it controls the transaction itself with {statement.words[0]}"
    if statement.words[:1] == ("COPY",) and "STDIN" in statement.words:
        return "it copies data from standard input"
    return ""


def _is(statement: Statement, openings: t.Iterable[tuple[str, ...]]) -> bool:
    return any(statement.words[: len(opening)] == opening for opening in openings)
