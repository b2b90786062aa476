#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_salvage
short_description: Count, keep and merge back rows that were written after a backup
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Compares two databases of one server, row by row, by primary key and content. O(database) is the
    one that users wrote to, O(reference) the one that was restored from the backup, whether it is
    live already or still staged.
  - Tables that are equal are found by sums of hashes that the server computes; of the others only
    the parts that differ are streamed. Memory does not grow with the tables.
  - A table without a primary key (or a unique index over columns that are all C(NOT NULL)) is
    compared as the bag of rows it is, reported, exported, and never merged.
  - Generated columns, large objects, materialized views and foreign tables are not compared.
options:
  database:
    description: Database whose rows users wrote, for example the damaged one or the predecessor.
    type: str
    required: true
  reference:
    description: Database that was restored from the backup.
    type: str
    required: true
  state:
    description:
      - With V(counted), the differences are reported, nothing is written anywhere.
      - With V(exported), the rows that differ are kept in a new folder below O(dest), which appears
        whole or not at all. Files have mode 0600. When the newest export of the same two databases
        holds the same rows, nothing is written.
      - With V(merged), rows of O(database) are brought into O(reference) in one transaction. The
        inverse is written below O(dest) before the transaction commits. Users' triggers do not
        fire, foreign keys are checked, sequences go as far as those of O(database). Nobody else can
        write to the tables concerned while the rows go in; comparing happens before that.
      - With V(unmerged), the merge in O(merge) is taken back. Sequences stay where they are.
    type: str
    choices: [counted, exported, merged, unmerged]
    default: counted
  dest:
    description:
      - Folder for exports and for the inverses of merges; each gets a folder of its own in it.
      - Required by O(state=exported) and O(state=merged).
    type: path
  merge:
    description:
      - Folder that O(state=merged) returned as RV(merge.path).
      - Required by O(state=unmerged).
    type: path
  merge_id:
    description:
      - Name for the merge and its folder in O(dest), with O(state=merged). A number is added when
        there is such a folder already.
      - With it, check mode says how the merge will be taken back, so that this can be recorded
        before the merge is made. Without it, the folder gets a name of its own.
    type: str
  tables:
    description:
      - Shell patterns of the tables to look at, over C(schema.table) or the table's name alone.
      - All tables when it is left out. A pattern that matches nothing is an error, and so is a
        table whose rows cannot be merged.
    type: list
    elements: str
    default: []
  exclude:
    description: Patterns of tables to leave out, like O(tables).
    type: list
    elements: str
    default: []
  policy:
    description:
      - With V(insert_missing), rows that O(reference) lacks are inserted.
      - With V(prefer_newer), of rows that differ the one with the greater value in the column of
        O(newer_by) wins too. A row for which the column is equal or C(NULL) on one side cannot be
        decided, and the merge is refused.
      - Rows that are missing in O(database) are never deleted from O(reference).
    type: str
    choices: [insert_missing, prefer_newer]
    default: insert_missing
  newer_by:
    description:
      - Column that decides, by table. Keys are patterns like those of O(tables); the first that
        matches counts, and one with a wildcard passes by tables that have no such column.
      - O(differing) says what becomes of the rows of tables without an entry.
      - Required by O(policy=prefer_newer).
    type: dict
  differing:
    description:
      - What becomes of rows that are in both databases, differ, and that O(newer_by) does not
        decide.
      - With V(keep), they stay as they are in O(reference). That is right when O(database) was
        damaged, and nobody wrote to O(reference) yet.
      - With V(refuse), the merge is refused and names them. That is right when users have written
        to O(reference), for then one key may have been given to two different rows.
    type: str
    choices: [keep, refuse]
    default: keep
  lock_timeout:
    description:
      - Seconds to wait for a lock in either database before giving up; nothing is changed then.
      - Writers queue behind a waiting merge, so keep it short on a live database.
    type: float
    default: 5.0
  since:
    description:
      - Moment of the backup (ISO 8601, UTC unless it says otherwise), for the words of
        RV(summary) only.
    type: str
notes:
  - Merge after the swap and before users write to O(reference) again. A database that is still
    staged is refused.
  - When two rows would share a unique value, or a row points at one that is not there, the merge is
    refused and names them by key.
  - Column values of rows are not returned, keys of refused rows are.
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.full
  - sre.rollback._postgres
attributes:
  check_mode:
    details:
      - In check mode O(state=merged) compares and decides, with temporary tables in O(reference)
        and without locks on its tables.
seealso:
  - module: sre.rollback.pg_restore_verified
  - module: sre.rollback.pg_backup_info
"""

EXAMPLES = r"""
- name: It is known what a restore would lose
  sre.rollback.pg_salvage:
    login_host: db.example.com
    database: shop
    reference: shop__staged
    since: "2026-03-04T02:00:00Z"
  register: loss

- name: Rows written since the backup are kept
  sre.rollback.pg_salvage:
    login_host: db.example.com
    database: shop__before_inc-20260304-1
    reference: shop
    state: exported
    dest: /var/backups/rollback-playbook/salvage

- name: Orders and their lines are back, customers in their newer version
  sre.rollback.pg_salvage:
    login_host: db.example.com
    database: shop__before_inc-20260304-1
    reference: shop
    state: merged
    tables: [orders, order_lines, customers]
    policy: prefer_newer
    newer_by:
      customers: updated_at
    dest: /var/backups/rollback-playbook/salvage
  register: salvaged

- name: The merge is taken back
  sre.rollback.pg_salvage:
    login_host: db.example.com
    database: shop__before_inc-20260304-1
    reference: shop
    state: unmerged
    merge: "{{ salvaged.merge.path }}"
"""

RETURN = r"""
summary:
  description: The result in one sentence.
  returned: success
  type: str
  sample: restoring loses 1,284 orders and 40 customers written since 02:00 UTC
total:
  description: Rows that only the database has, that differ, and that only the reference has.
  returned: when O(state) is not V(unmerged)
  type: dict
  sample: {added: 1324, changed: 0, removed: 0}
tables:
  description:
    - Tables that differ in rows or columns. C(key) is null when rows cannot be told apart; a row
      that changed is then one added and one removed.
  returned: when O(state) is not V(unmerged)
  type: list
  elements: dict
  sample:
    - table: public.orders
      key: [id]
      added: 1284
      changed: 0
      removed: 0
      in_database: true
      in_reference: true
      columns:
        only_in_database: [coupon]
        only_in_reference: []
        types: []
tables_compared:
  description: How many tables were looked at.
  returned: when O(state) is not V(unmerged)
  type: int
  sample: 38
export:
  description: The folder with the rows and its files; null when nothing differs.
  returned: when O(state=exported), and with O(state=merged) in check mode
  type: dict
  sample:
    id: 20260304T031500Z-export-9f2c1b
    path: /var/backups/rollback-playbook/salvage/20260304T031500Z-export-9f2c1b
    tables:
      - table: [public, orders]
        change: added
        file: 0001_public.orders.added.csv
        rows: 1284
        bytes: 91164
        sha256: 0b1f3c5d7e9a8b6c4d2e1f0a9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a1b0c
merge:
  description: The folder with the inverse of the merge; null when nothing was merged.
  returned: when O(state=merged)
  type: dict
  contains:
    id:
      description: Name of the merge.
      type: str
      sample: 20260304T031700Z-merge-1d0a77
    path:
      description: The folder, for O(merge).
      type: str
      sample: /var/backups/rollback-playbook/salvage/20260304T031700Z-merge-1d0a77
merged:
  description: Tables that rows were merged into. C(kept) rows differ and stayed as they were.
  returned: when O(state=merged)
  type: list
  elements: dict
  sample: [{table: public.orders, inserted: 1284, updated: 0, kept: 0}]
not_merged:
  description: Tables with rows that cannot be merged, and why.
  returned: when O(state=merged), and when it is refused for that
  type: list
  elements: dict
  sample: [{table: public.coupons, rows: 3, reason: shop has no such table}]
sequences:
  description: Sequences that were advanced.
  returned: when O(state=merged)
  type: list
  elements: dict
  sample: [{sequence: public.orders_id_seq, before: 18716, after: 20000}]
conflicts:
  description: What was not decided; at most ten keys for each reason.
  returned: when the merge, or taking it back, is refused
  type: list
  elements: dict
  sample:
    - table: public.customers
      problem: another row of the reference has the same value of unique index customers_email_key
      rows: 1
      keys: [{id: "4711"}]
unmerged:
  description: Rows deleted and restored, by table.
  returned: when O(state=unmerged)
  type: list
  elements: dict
  sample: [{table: public.orders, deleted: 1284, restored: 0}]
before:
  description: How the databases differed by table, or the export or merged rows there were.
  returned: success
  type: dict
  sample: {differences: {public.orders: {added: 1284, changed: 0, removed: 0}}}
after:
  description: The same afterwards, or in check mode as it would be.
  returned: success
  type: dict
  sample: {differences: {}}
elapsed:
  description: Seconds that the module took.
  returned: success
  type: float
  sample: 3.71
undo:
  description: The module and arguments that bring back what was; null when nothing changed,
    and in check mode with O(state=merged) without O(merge_id).
  returned: success
  type: dict
  sample:
    module: sre.rollback.pg_salvage
    args:
      state: unmerged
      database: shop__before_inc-20260304-1
      reference: shop
      merge: /var/backups/rollback-playbook/salvage/20260304T031700Z-merge-1d0a77
undo_reason:
  description: Why there is no RV(undo) although something changed.
  returned: when O(state=exported)
  type: str
  sample: an export only adds files; removing them could remove the only copy
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_merging import (
    merged,
    unmerged,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_session import PolicyError
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_states import (
    counted,
    exported,
    readable_errors,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    postgres_argument_spec,
    require_psycopg,
)


def argument_spec() -> dict[str, t.Any]:
    return {
        **postgres_argument_spec(),
        "database": {"type": "str", "required": True},
        "reference": {"type": "str", "required": True},
        "state": {
            "type": "str",
            "choices": ["counted", "exported", "merged", "unmerged"],
            "default": "counted",
        },
        "dest": {"type": "path"},
        "merge": {"type": "path"},
        "merge_id": {"type": "str"},
        "tables": {"type": "list", "elements": "str", "default": []},
        "exclude": {"type": "list", "elements": "str", "default": []},
        "policy": {
            "type": "str",
            "choices": ["insert_missing", "prefer_newer"],
            "default": "insert_missing",
        },
        "newer_by": {"type": "dict"},
        "differing": {"type": "str", "choices": ["keep", "refuse"], "default": "keep"},
        "lock_timeout": {"type": "float", "default": 5.0},
        "since": {"type": "str"},
    }


def refuse_contradictions(params: t.Mapping[str, t.Any]) -> None:
    """Raise PolicyError for options that say two things at once, or nothing."""
    if params["newer_by"] and params["policy"] != "prefer_newer":
        raise PolicyError("newer_by goes with policy=prefer_newer alone. Nothing was changed.")
    if params["policy"] == "prefer_newer" and not all(
        isinstance(column, str) and column for column in (params["newer_by"] or {"": ""}).values()
    ):
        raise PolicyError("newer_by needs a column for each table it names. Nothing was changed.")
    if params["lock_timeout"] <= 0:
        raise PolicyError("lock_timeout must be more than 0 seconds. Nothing was changed.")


def run(params: t.Mapping[str, t.Any], *, check: bool) -> dict[str, t.Any]:
    refuse_contradictions(params)
    with readable_errors(params):
        if params["state"] == "counted":
            return counted(params)
        if params["state"] == "exported":
            return exported(params, check=check)
        if params["state"] == "merged":
            return merged(params, check=check)
        return unmerged(params, check=check)


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        supports_check_mode=True,
        required_if=[
            ("state", "exported", ["dest"]),
            ("state", "merged", ["dest"]),
            ("state", "unmerged", ["merge"]),
            ("policy", "prefer_newer", ["newer_by"]),
        ],
    )
    require_psycopg(module)
    started = time.monotonic()
    try:
        result = run(module.params, check=module.check_mode)
    except RollbackError as exc:
        module.fail_json(msg=str(exc), exception=exc, **exc.result)
    result["elapsed"] = round(time.monotonic() - started, 3)
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
