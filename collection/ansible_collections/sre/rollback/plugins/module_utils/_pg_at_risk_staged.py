# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What restoring a staged backup would lose: every row compared, if that can be had in time.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_at_risk import Deadline
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import (
    STAGED,
    of_database,
    read_databases,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_compare import compare
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_session import (
    Session,
    open_session,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_words import Compared
from ansible_collections.sre.rollback.plugins.module_utils._postgres import connect, one_line

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import Manifest

_LOCK_TIMEOUT = 1.0


class NotComparedError(RollbackError):
    """Figures of this kind cannot be had now; the message says why, as part of a sentence."""


def compare_with_staged(params: t.Mapping[str, t.Any], manifest: Manifest) -> list[Compared]:
    """The exact figures; raises NotComparedError."""
    with connect(params, params["maintenance_db"]) as maintenance:
        staged = [
            one
            for one in of_database(read_databases(maintenance), params["database"], STAGED)
            if one.entry and one.entry.digest == manifest.digest
        ]
    if not staged:
        raise NotComparedError("this backup is not staged")
    asked = {
        **params,
        "reference": staged[0].name,
        "tables": [],
        "lock_timeout": _LOCK_TIMEOUT,
    }
    try:
        with open_session(asked) as session:
            return _compared(session, Deadline(params["timeout"]))
    except NotComparedError:
        raise
    except psycopg.errors.QueryCanceled as exc:
        raise _too_slow(params["timeout"]) from exc
    except (psycopg.Error, RollbackError) as exc:  # locked, or being dropped at this moment
        raise NotComparedError(
            f"this backup is staged and could not be compared with ({one_line(exc)})"
        ) from exc


def _too_slow(seconds: float) -> NotComparedError:
    return NotComparedError(
        f"this backup is staged and comparing every row with it takes longer than {seconds:g} s"
    )


def _compared(session: Session, deadline: Deadline) -> list[Compared]:
    found = []
    for pair in session.pairs:
        if deadline.over:
            raise _too_slow(deadline.seconds)
        for side in (session.sides.database, session.sides.reference):
            side.execute(f"SET LOCAL statement_timeout = {deadline.left_ms()}")
        found.append(Compared(pair, compare(pair, session.sides)))
    return found
