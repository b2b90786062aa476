# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Queries with an expected value: do they hold on a database?

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._postgres import one_line

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

PASSED = "passed"
FAILED = "failed"
INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Check:
    """A query of one value and what that value has to be."""

    name: str
    query: str
    expected: t.Any


@dataclass(frozen=True)
class Finding:
    """What a check found. A query that errs or answers nothing is inconclusive, never passed."""

    name: str
    outcome: str
    expected: t.Any
    found: t.Any
    problem: str
    elapsed: float


def checks_argument_spec() -> dict[str, t.Any]:
    """The option of the documentation fragment ``sre.rollback._checks``."""
    options = {
        "name": {"type": "str", "required": True},
        "query": {"type": "str", "required": True},
        "expected": {"type": "raw", "required": True},
    }
    return {"type": "list", "elements": "dict", "options": options}


def parse_checks(given: t.Sequence[t.Mapping[str, t.Any]]) -> list[Check]:
    """The checks of a module's parameters; raises RollbackError for two of one name."""
    names = [check["name"] for check in given]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RollbackError(
            f"two checks are named {twice[0]!r}; every check needs a name of its own. "
            "Nothing was asked."
        )
    return [Check(check["name"], check["query"], check["expected"]) for check in given]


def run_checks(
    connection: psycopg.Connection, checks: t.Sequence[Check], *, timeout: float
) -> list[Finding]:
    """Ask each in a read-only transaction of its own, so that no query can change anything."""
    connection.read_only = True
    connection.execute(f"SET statement_timeout = {int(timeout * 1000)}")
    return [_finding(connection, check) for check in checks]


def overall(findings: t.Sequence[Finding]) -> str:
    """One failed check fails the whole; without one, an inconclusive check leaves it unknown."""
    outcomes = {finding.outcome for finding in findings}
    if FAILED in outcomes:
        return FAILED
    return PASSED if outcomes == {PASSED} else INCONCLUSIVE


def _finding(connection: psycopg.Connection, check: Check) -> Finding:
    started = time.monotonic()
    try:
        with connection.transaction():
            row = connection.execute(check.query).fetchone()
    except psycopg.Error as exc:
        return _judged(check, INCONCLUSIVE, None, one_line(exc), started)
    if row is None or row[0] is None:
        return _judged(check, INCONCLUSIVE, None, "the query answered nothing", started)
    if len(row) != 1:
        return _judged(check, INCONCLUSIVE, None, "the query must answer one column", started)
    holds = _same(row[0], check.expected)
    problem = "" if holds else f"expected {check.expected}, found {row[0]}"
    return _judged(check, PASSED if holds else FAILED, row[0], problem, started)


def _judged(check: Check, outcome: str, found: t.Any, problem: str, started: float) -> Finding:
    elapsed = round(time.monotonic() - started, 3)
    plain = found if isinstance(found, (bool, int, float, str)) else _text(found)
    return Finding(check.name, outcome, check.expected, plain, problem, elapsed)


def _text(found: t.Any) -> str | None:
    return None if found is None else str(found)


def _same(found: t.Any, expected: t.Any) -> bool:
    """Compare as SQL would: numbers by value, booleans as booleans, anything else as text."""
    if isinstance(found, bool) or isinstance(expected, bool):
        return str(found).lower() == str(expected).lower()
    try:
        return float(found) == float(expected)
    except (TypeError, ValueError):
        return str(found) == str(expected)
