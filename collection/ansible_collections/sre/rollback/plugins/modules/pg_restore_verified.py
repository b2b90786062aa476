#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_restore_verified
short_description: Restore a PostgreSQL database aside, prove it, swap it in
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Restores a backup of M(sre.rollback.pg_backup_verified) into a database of its own beside the
    live one, proves it against the backup's manifest, and then exchanges the two names in one
    transaction. The live database stays beside it as C(<database>__before_<restore id>).
  - Exchanging the names takes as long as the present sessions need to end, a fraction of a
    second, however large the databases are. Sessions that begin in that moment wait for its end,
    and then have to connect once more, because the server tells them that their database was
    renamed; behind a PgBouncer (O(pgbouncer_login_host)) they just wait.
  - A module that is killed at any moment leaves either the old or the new database under the live
    name, whole; the next run goes on from there.
  - Nobody can connect to a staged database, so nothing can change in it between its proof and the
    swap. Where a superuser opened it nevertheless, it is proved again.
  - What the databases are is written into the last line of their comments, in the same transaction.
  - Sequences count on from the displaced database's, so that no number is given twice and rows
    written since the backup can be merged back later, under the keys they had.
  - Owner, grants, settings, connection limit, comment, tablespace, encoding and locale of the live
    database are carried over. Roles, tablespaces and other databases are not restored.
  - Nothing is dropped before what follows it is proved. Before anything changes, everything that
    would make the restore fail is looked for and named.
options:
  database:
    description: Name of the live database. It need not exist.
    type: str
    required: true
  backup:
    description: Folder of the backup, on the host where the module runs.
    type: path
  state:
    description:
      - V(staged) restores aside and proves, and keeps that ready.
      - V(live) swaps the staged database in; it is staged first when there is none of this backup,
        and proved again when somebody may have been in it.
      - V(previous) swaps the predecessor back in, and keeps what was live as
        C(<database>__undone_<restore id>).
      - V(proved) restores aside from the backup's files, proves, notes that beside the backup, and
        drops what it restored. What is staged stays; a rollback does not wait for it.
    type: str
    choices: [staged, live, previous, proved]
    default: live
  scope:
    description:
      - V(database) restores all of it.
      - V(schema_only) restores its definitions without rows, proves those, and swaps likewise.
      - V(rows) brings those rows of O(table) that O(predicate) is true for back to what they are in
        the backup, in one transaction of the live database and without a swap. Rows that were
        changed, removed or added since are kept in a table of their own beside it,
        C(<table>__kept_<restore id>), and O(state=previous) puts them back unless somebody wrote to
        them since. The users' triggers of the table do not fire. Only O(table) is restored aside.
    type: str
    choices: [database, schema_only, rows]
    default: database
  table:
    description:
      - With O(scope=rows), the table, as SQL would name it. It needs a primary key or another
        unique one without NULLs, and the columns that it has in the backup.
    type: str
    default: ""
  predicate:
    description:
      - With O(scope=rows), one SQL expression about a row of O(table), such as C(tenant_id = 7).
        V(true) is all rows.
      - The server has to accept it as a check constraint, so it cannot ask other rows, and
        functions of your own in it must be IMMUTABLE.
    type: str
    default: ""
  restore_id:
    description:
      - Names one restore. The same name again changes nothing.
      - With O(state=previous), the restore to undo.
      - When it is left out, each run is a restore of its own.
    type: str
    default: ""
  predecessor:
    description:
      - With O(state=previous), the kept database to bring back, by its name.
      - When it is left out, the one that O(restore_id) displaced, or else the one displaced last.
    type: str
    default: ""
  checks:
    description: Queries with an expected value that the restored database has to pass.
    default: []
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._postgres
  - sre.rollback._checks
  - sre.rollback._restoring
  - sre.rollback._pgbouncer
attributes:
  check_mode:
    support: full
    details: >-
      Looks for everything that would make the restore fail, reads the dump through, and says what
      would happen and how long it would take.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details: With O(restore_id).
seealso:
  - module: sre.rollback.pg_backup_verified
  - module: sre.rollback.pg_salvage
  - module: sre.rollback.pg_integrity
"""

EXAMPLES = r"""
- name: Restore last night's backup aside and prove it
  sre.rollback.pg_restore_verified:
    login_host: 127.0.0.1
    login_user: postgres
    login_password: "{{ vault_postgres_password }}"
    database: shop
    backup: /var/backups/rollback-playbook/shop-20260304T020000Z-7c65
    state: staged
    checks:
      - name: every order line has its order
        query: >-
          SELECT count(*) FROM order_lines l
          WHERE NOT EXISTS (SELECT FROM orders o WHERE o.id = l.order_id)
        expected: 0

- name: Make it live
  sre.rollback.pg_restore_verified:
    login_host: 127.0.0.1
    login_user: postgres
    login_password: "{{ vault_postgres_password }}"
    database: shop
    backup: /var/backups/rollback-playbook/shop-20260304T020000Z-7c65
    restore_id: inc-20260304-1

- name: Bring one customer's orders back, and keep what they are now
  sre.rollback.pg_restore_verified:
    login_host: 127.0.0.1
    login_user: postgres
    login_password: "{{ vault_postgres_password }}"
    database: shop
    backup: /var/backups/rollback-playbook/shop-20260304T020000Z-7c65
    scope: rows
    table: orders
    predicate: customer_id = 4711 AND placed < '2026-03-04'
    restore_id: inc-20260304-2

- name: Go back to what was live before
  sre.rollback.pg_restore_verified:
    login_host: 127.0.0.1
    login_user: postgres
    login_password: "{{ vault_postgres_password }}"
    database: shop
    restore_id: inc-20260304-1
    state: previous
"""

RETURN = r"""
before:
  description: What there was of the database.
  returned: success
  type: dict
  sample:
    live: {oid: 16384, backup: "", restore_id: ""}
    staged: [shop__staged_20260304T020000Z-7c65]
    predecessors: []
after:
  description: The same afterwards, or in check mode as it would be.
  returned: success
  type: dict
  sample:
    live: {oid: 16421, backup: shop-20260304T020000Z-7c65, restore_id: inc-20260304-1}
    staged: []
    predecessors: [shop__before_inc-20260304-1]
backup:
  description: The backup that was restored.
  returned: when a backup was looked at
  type: dict
  sample:
    id: shop-20260304T020000Z-7c65
    path: /var/backups/rollback-playbook/shop-20260304T020000Z-7c65
    label: 1.4.0
    bytes: 40844403
    finished: "2026-03-04T02:00:05Z"
    server_version: 180006
restore_id:
  description: Name of the restore, given or made up.
  returned: success
  type: str
  sample: inc-20260304-1
staged:
  description: Name of the staged database; null when it is live now or there is none.
  returned: success
  type: str
  sample: shop__staged_20260304T020000Z-7c65
predecessor:
  description: Name of the database that was live before; null when there was none.
  returned: success
  type: str
  sample: shop__before_inc-20260304-1
removed:
  description: Databases that were dropped because they were more than were to be kept.
  returned: success
  type: list
  elements: str
  sample: [shop__before_inc-20251130-1]
rows:
  description: With O(scope=rows), how many rows differed, and the table that keeps them.
  returned: success
  type: dict
  sample:
    {table: public.orders, kept: public.orders__kept_inc-1, changed: 12, removed: 0, added: 3,
     undone: false}
tables:
  description: What the proof found in each table; empty where nothing was restored.
  returned: success
  type: dict
  sample:
    public.orders:
      rows: 18230
      digest: 00000000000001139c37608b88c838cf0000926c1b00c08dfc52421188b0cf01
      outcome: passed
indexes_checked:
  description: Number of indexes that C(amcheck) found sound.
  returned: success
  type: int
  sample: 41
checks:
  description: What each of O(checks) found, as M(sre.rollback.pg_integrity) returns it.
  returned: success
  type: list
  elements: dict
  sample: [{name: every order line has its order, outcome: passed, expected: 0, found: 0}]
times:
  description: Seconds that each part took.
  returned: success
  type: dict
  sample: {read: 0.1, restore: 5.9, analyze: 0.3, prove: 1.1, amcheck: 0.4, check: 0.0, swap: 0.14}
downtime_ms:
  description: Milliseconds during which no new session of the live database could begin.
  returned: when names were exchanged
  type: float
  sample: 104.2
swap_attempts:
  description: How often the swap was tried.
  returned: when names were exchanged
  type: int
  sample: 1
predicted:
  description: In check mode, the steps in words, the seconds of each and in all, and their basis.
  returned: check mode
  type: dict
  sample:
    steps: [ask the checks, "swap shop__staged_20260304T020000Z-7c65 in as shop"]
    seconds: 0.5
    parts: {check: 0.02, swap: 0.5}
    basis: the restore of 2026-03-04T02:10:00Z
elapsed:
  description: Seconds it took.
  returned: success
  type: float
  sample: 0.31
undo:
  description: The module and arguments that bring back what was; null when nothing can or need be.
  returned: success
  type: dict
  sample:
    module: sre.rollback.pg_restore_verified
    args:
      database: shop
      state: previous
      restore_id: inc-20260304-1
      predecessor: shop__before_inc-20260304-1
undo_reason:
  description: Why there is no RV(undo) although something changed.
  returned: when there is a reason
  type: str
  sample: a staged database stands beside the live one; there is nothing to undo
"""

import time
import typing as t
from dataclasses import asdict
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_integrity import checks_argument_spec
from ansible_collections.sre.rollback.plugins.module_utils._pg_pgbouncer import pooler_argument_spec
from ansible_collections.sre.rollback.plugins.module_utils._pg_progress import Progress
from ansible_collections.sre.rollback.plugins.module_utils._pg_rehearse import proved
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore import (
    live,
    readable_errors,
    staged,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_previous import previous
from ansible_collections.sre.rollback.plugins.module_utils._pg_restore_request import (
    Outcome,
    request_of,
    restoring_argument_spec,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_rows_states import (
    rows_live,
    rows_previous,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    postgres_argument_spec,
    require_psycopg,
)

_STATES = {"staged": staged, "live": live, "previous": previous, "proved": proved}
_ROWS_STATES = {"live": rows_live, "previous": rows_previous}
# Left out of the result where they say nothing.
_OPTIONAL = ("predicted", "rows", "downtime_ms", "swap_attempts", "backup", "undo_reason")


def argument_spec() -> dict[str, t.Any]:
    return {
        **postgres_argument_spec(),
        "database": {"type": "str", "required": True},
        "backup": {"type": "path"},
        "state": {"type": "str", "choices": list(_STATES), "default": "live"},
        "scope": {
            "type": "str",
            "choices": ["database", "schema_only", "rows"],
            "default": "database",
        },
        "table": {"type": "str", "default": ""},
        "predicate": {"type": "str", "default": ""},
        "restore_id": {"type": "str", "default": ""},
        "predecessor": {"type": "str", "default": ""},
        "checks": {**checks_argument_spec(), "default": []},
        **restoring_argument_spec(),
        **pooler_argument_spec(),
    }


def result_of(outcome: Outcome, progress: Progress) -> dict[str, t.Any]:
    result = {
        name: value
        for name, value in asdict(outcome).items()
        if name != "warnings" and (name not in _OPTIONAL or value not in (None, ""))
    }
    return {**result, "times": dict(progress.times)}


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        supports_check_mode=True,
        required_if=[("state", state, ["backup"]) for state in ("staged", "live", "proved")],
    )
    require_psycopg(module)
    started = time.monotonic()
    path = module.params["progress_path"]
    progress = Progress(Path(path) if path else None)
    try:
        request = request_of(module.params, progress)
        with readable_errors():
            states = _ROWS_STATES if module.params["scope"] == "rows" else _STATES
            outcome = states[module.params["state"]](request, check=module.check_mode)
    except RollbackError as exc:
        module.fail_json(msg=str(exc), exception=exc, times=dict(progress.times), **exc.result)
    progress.finish()
    for warning in outcome.warnings:
        module.warn(warning)
    result = result_of(outcome, progress)
    result["elapsed"] = round(time.monotonic() - started, 3)
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
