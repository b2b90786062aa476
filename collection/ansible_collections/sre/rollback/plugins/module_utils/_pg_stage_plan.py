# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What to restore aside, where to, and which checks it has to pass.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import hashlib
import json
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._pg_integrity import Check
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import (
    STAGED,
    Entry,
    moment,
    staged_name,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import (
    Manifest,
    without_rows,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_programs import Program

# From the least to the most thorough.
AMCHECK = ("none", "indexes", "heapallindexed")


@dataclass(frozen=True)
class Plan:
    """What to restore, how, and which checks it has to pass.

    ``what`` is ``staged``, ``schema`` (definitions alone), ``proving`` (dropped right after) or
    ``rows`` (one table); each has a database of its own.
    """

    login: t.Mapping[str, t.Any]
    database: str
    backup: Path
    manifest: Manifest
    program: Program
    jobs: int
    amcheck: str
    checks: t.Sequence[Check]
    check_timeout: float
    memory: str
    properties: t.Mapping[str, t.Any]
    what: str = "staged"

    @property
    def name(self) -> str:
        """Name of the database to restore into."""
        return staged_name(self.database, self.manifest.id, self.what)

    @property
    def schema_only(self) -> bool:
        return self.what == "schema"

    @property
    def scratch(self) -> bool:
        """Whether it is not to be found again."""
        return self.what in ("proving", "rows")

    @property
    def digest(self) -> str:
        """Names what is restored."""
        return self.manifest.digest + (":schema_only" if self.schema_only else "")

    @property
    def expected(self) -> Manifest:
        """What the restored database has to hold."""
        return without_rows(self.manifest) if self.schema_only else self.manifest

    @property
    def checks_digest(self) -> str:
        """Names what was asked: the same checks need not be asked again."""
        text = json.dumps([asdict(check) for check in self.checks], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def mark(plan: Plan) -> Entry:
    """What the database says of itself once it is proved."""
    return Entry(
        STAGED,
        plan.database,
        backup=plan.manifest.id,
        digest=plan.digest,
        # Two may be proved in one second; the later one is the newer.
        at=moment(),
    )
