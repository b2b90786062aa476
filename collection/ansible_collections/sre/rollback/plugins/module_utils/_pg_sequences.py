# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A database that goes live counts on from the one it displaces, so that no number comes twice.

An order number that a customer was told is not given to another order, and the rows written since
the backup can be merged back later, under the keys they had.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_sequences import (
    advance,
    advances,
    read_sequences,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    apply_settings,
    connect,
    one_line,
)

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import Database

# Users wait meanwhile, and the swap is worth more than this.
_SESSION = {
    "default_transaction_read_only": "off",
    "lock_timeout": "1s",
    "statement_timeout": "2s",
}


def continue_sequences(
    login: t.Mapping[str, t.Any], displaced: Database | None, successor: psycopg.Connection
) -> list[str]:
    """Move the sequences of ``successor`` that are behind; warnings when that cannot be done.

    Never fails: what is displaced may be too damaged to be read.
    """
    if displaced is None or not displaced.allows_connections:
        return []
    try:
        with connect(login, displaced.name) as ours:
            ours.execute("SET statement_timeout = '2s'")
            apply_settings(successor, _SESSION)
            moves = advances(
                read_sequences(ours), read_sequences(successor), left_out=lambda _table: False
            )
            advance(successor, moves)
    except (RollbackError, psycopg.Error) as exc:
        return [
            f"the sequences of the restored database count on from the backup, because those of "
            f"{displaced.name} could not be read: {one_line(exc)}. Numbers may be given twice; "
            "rows written since the backup may not merge back under their keys."
        ]
    return []
