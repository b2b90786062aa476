# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What undoes a merge, written down before the merge takes place.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

# ruff: noqa: S608 - every name in a statement went through quoted()

from __future__ import annotations

import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_compare import (
    ADDED,
    CHANGED,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_sql import listed

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_folder import NewFolder
    from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_merge import (
        Merged,
        Target,
    )

_HASH_COLUMN = "rollback_salvage_sha256"


def write_inverse(
    target: Target, merged: t.Sequence[Merged], folder: NewFolder
) -> list[dict[str, t.Any]]:
    """Write what undoes ``merged`` into ``folder``, before the act; the tables of its index.

    Of an inserted row its key, of an updated row its former values, and of both the hash of what
    the merge makes of them, so that a row written since can be told.
    """
    return [_inverse(target, each, folder) for each in merged if each.changed]


def _inverse(target: Target, merged: Merged, folder: NewFolder) -> dict[str, t.Any]:
    staged = merged.staged
    hashed = f"encode(sha256(textsend({staged.staged_record})), 'hex')"
    key, columns = staged.key.columns, staged.pair.columns
    queries = {
        "inserted": (
            key,
            f"SELECT {staged.columns(key)}, {hashed} FROM {staged.relation} "
            f"WHERE s.change = '{ADDED}'",
        ),
        "updated": (
            columns,
            f"SELECT {listed(columns)}, {hashed} FROM {staged.relation} JOIN {staged.target} "
            f"ON {staged.same_row} WHERE s.change = '{CHANGED}'",
        ),
    }
    entry: dict[str, t.Any] = {
        "table": list(staged.pair.name),
        "key": list(key),
        "columns": list(columns),
    }
    for content, (names, query) in queries.items():
        if getattr(merged, content):
            file = folder.file(staged.pair.label, content, [*names, _HASH_COLUMN])
            with target.writer.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT csv)") as rows:
                for row in rows:
                    file.write(bytes(row))
            entry[content] = {"file": folder.name_of(file), **file.entry()}
    return entry
