# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The states of pg_salvage that write to no database, and what the results of all have in common.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import typing as t
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_compare import compare
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_export import Exporter
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_session import open_session
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_staging import (
    words_without_values,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_words import (
    Compared,
    loss_summary,
    parse_moment,
    since_words,
)

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

Result = t.Dict[str, t.Any]


class ComparisonError(RollbackError):
    """The server did not let the databases be compared."""


@contextlib.contextmanager
def readable_errors(params: t.Mapping[str, t.Any]) -> t.Iterator[None]:
    """Turn what the server refuses outside of a merge's transaction into a ComparisonError."""
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        raise ComparisonError(
            f"somebody holds a table of {params['database']!r} or {params['reference']!r} locked "
            f"for longer than lock_timeout ({params['lock_timeout']:g} s), so it cannot be read. "
            "Nothing was changed. Let that transaction end, or give a longer lock_timeout."
        ) from None
    except psycopg.Error as exc:
        raise ComparisonError(
            f"comparing {params['database']!r} with {params['reference']!r} failed: "
            f"{words_without_values(exc)}. Nothing was changed."
        ) from None  # The chain would carry rows into the result.


def counted(params: t.Mapping[str, t.Any]) -> Result:
    """Compare and report."""
    since = _since(params)
    with open_session(params) as session:
        compared = [Compared(pair, compare(pair, session.sides)) for pair in session.pairs]
    found = differences(compared)
    return {
        **comparison_result(compared),
        "changed": False,
        "summary": loss_summary(compared, since),
        "before": {"differences": found},
        "after": {"differences": found},
        "undo": None,
    }


def exported(params: t.Mapping[str, t.Any], *, check: bool) -> Result:
    """Compare, and keep the rows that differ in a folder below ``dest``."""
    since = _since(params)
    databases = (params["database"], params["reference"])
    with open_session(params) as session:
        exporter = Exporter(Path(params["dest"]), databases=databases, check=check)
        try:
            compared = [Compared(pair, exporter.add(pair, session.sides)) for pair in session.pairs]
            summary = loss_summary(compared, since)
            export = exporter.finish({"created": now(), "summary": summary})
        except BaseException:
            exporter.discard()
            raise
    fresh = export is not None and export.fresh
    path = str(export.path) if export else None
    kept = "would be kept" if check and fresh else "are kept"
    return {
        **comparison_result(compared),
        "changed": fresh,
        "summary": summary if path is None else f"{summary}; these rows {kept} in {path}",
        "export": export.as_dict() if export else None,
        "before": {"export": None if fresh else path},
        "after": {"export": path},
        "undo": None,
        "undo_reason": "an export only adds files; removing them could remove the only copy"
        if fresh
        else None,
    }


def comparison_result(compared: t.Sequence[Compared]) -> Result:
    """The entries of a result that say how the databases compare."""
    differing = [
        each
        for each in compared
        if each.counts.total or any(each.pair.column_differences().values())
    ]
    return {
        "tables": [each.result() for each in differing],
        "tables_compared": len(compared),
        "total": {
            change: sum(getattr(each.counts, change) for each in compared)
            for change in ("added", "changed", "removed")
        },
    }


def differences(compared: t.Iterable[Compared]) -> Result:
    """Rows that differ, by table."""
    return {
        each.pair.label: {
            "added": each.counts.added,
            "changed": each.counts.changed,
            "removed": each.counts.removed,
        }
        for each in compared
        if each.counts.total
    }


def _since(params: t.Mapping[str, t.Any]) -> str:
    moment = parse_moment(params["since"]) if params["since"] else None
    return since_words(moment, now=dt.datetime.now(dt.timezone.utc))


def now() -> str:
    """This moment in UTC, to the second."""
    return dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
