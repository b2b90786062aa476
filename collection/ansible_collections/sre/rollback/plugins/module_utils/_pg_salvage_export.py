# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep the rows that differ in files: as users wrote them, one CSV file a table and change.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_compare import (
    REMOVED,
    Counts,
    Difference,
    Payload,
    Sides,
    compare,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_folder import (
    CsvFile,
    NewFolder,
    intact,
    newest,
)

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_pairs import Pair

EXPORT = "export"


@dataclass(frozen=True)
class Exported:
    """The folder that holds the rows; ``fresh`` when this run made it (or would have)."""

    path: Path
    id: str
    fresh: bool
    tables: tuple[dict[str, t.Any], ...]

    def as_dict(self) -> dict[str, t.Any]:
        """The export in the module's result."""
        return {"id": self.id, "path": str(self.path), "tables": list(self.tables)}


class Exporter:
    """Writes the differences of many tables into one new folder.

    Added and changed rows are the database's with all its columns, removed ones the reference's.
    """

    def __init__(self, dest: Path, *, databases: tuple[str, str], check: bool) -> None:
        self._dest = dest
        self._folder = NewFolder(dest, EXPORT, pretend=check)
        self._databases = databases
        self._tables: list[dict[str, t.Any]] = []

    def add(self, pair: Pair, sides: Sides) -> Counts:
        """Compare ``pair`` and keep its rows."""
        ours = pair.database.stored if pair.database else ()
        theirs = pair.reference.stored if pair.reference else ()
        files: dict[str, CsvFile] = {}

        def receive(difference: Difference) -> None:
            change, line, reference_line = difference
            columns = theirs if change == REMOVED else ours
            if change not in files:
                files[change] = self._folder.file(pair.label, change, columns)
            files[change].write(reference_line if change == REMOVED else line)

        counts = compare(pair, sides, payload=Payload(ours, theirs), receive=receive)
        for change, file in sorted(files.items()):
            file.close()
            entry = {"table": list(pair.name), "change": change, **file.entry()}
            self._tables.append({**entry, "file": self._folder.name_of(file)})
        return counts

    def finish(self, facts: t.Mapping[str, t.Any]) -> Exported | None:
        """Publish the folder, unless the newest one holds the same rows; None without any row."""
        if not self._tables:
            self._folder.discard()
            return None
        earlier = self._same_as_before()
        if earlier is not None:
            self._folder.discard()
            return earlier
        database, reference = self._databases
        self._folder.publish(
            {
                "kind": EXPORT,
                "id": self._folder.id,
                "database": database,
                "reference": reference,
                **facts,
                "tables": self._tables,
            }
        )
        return Exported(self._folder.path, self._folder.id, True, tuple(self._tables))

    def discard(self) -> None:
        """Forget everything that was not published."""
        self._folder.discard()

    def _same_as_before(self) -> Exported | None:
        for path, index in newest(self._dest, EXPORT):
            if (index["database"], index["reference"]) != self._databases:
                continue
            if index["tables"] == self._tables and all(
                intact(path / entry["file"], entry) for entry in self._tables
            ):
                return Exported(path, index["id"], False, tuple(self._tables))
            return None
        return None
