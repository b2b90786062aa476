#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_backup_verified
short_description: Dump a PostgreSQL database together with what proves a restore
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Makes a folder below O(dest) with one dump of C(pg_dump) and a C(manifest.json). Both are taken
    from one exported snapshot, while users go on writing.
  - The manifest holds the SHA-256 of every file, the row count and an order-independent content
    hash of every table, the sequences, and every object with its owner and grants, so that
    M(sre.rollback.pg_restore_verified) can prove a restore of it.
  - A backup appears whole or not at all. What a killed run left behind is removed by the next one.
  - Roles, tablespaces, the database's own settings and other databases are not in the dump; the
    manifest names those that a restore needs.
  - Rows of foreign tables are not in the dump. Generated columns and materialized views are made
    anew by a restore and have no hash. A single large object must be smaller than 1 GiB.
options:
  database:
    description: Name of the database.
    type: str
    required: true
  dest:
    description:
      - Folder for backups on the host where the module runs. It is made when it is missing.
    type: path
    required: true
  format:
    description:
      - Format of the dump. V(directory) is dumped by O(jobs) processes, V(custom) is one file.
      - Both can be restored by several processes.
    type: str
    choices: [directory, custom]
    default: directory
  jobs:
    description: Processes of C(pg_dump), and sessions that compute hashes meanwhile.
    type: int
    default: 2
  label:
    description: What the backup is of, such as the release that runs. Backups can be chosen by it.
    type: str
    default: ""
  retention:
    description:
      - Whole backups of O(database) to keep in O(dest), the newest. V(0) keeps all.
      - The newest one that was ever proved by a restore stays in any case.
    type: int
    default: 0
  lock_timeout:
    description: Seconds to wait for tables that something else has locked.
    type: float
    default: 60
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._postgres
attributes:
  check_mode:
    support: full
    details: >-
      Checks that the server, the database and C(pg_dump) are there, and says what O(retention)
      would remove.
  diff_mode:
    support: full
  idempotent:
    support: none
    details: Each run makes a backup.
seealso:
  - module: sre.rollback.pg_restore_verified
  - module: sre.rollback.pg_salvage
"""

EXAMPLES = r"""
- name: Back up the shop
  sre.rollback.pg_backup_verified:
    login_host: db.example.com
    login_user: backup
    login_password: "{{ vault_backup_password }}"
    database: shop
    dest: /var/backups/rollback-playbook
    label: "{{ release_current }}"
    retention: 14
  register: made

- name: Say what was backed up
  ansible.builtin.debug:
    msg: "{{ made.backup.id }}: {{ made.tables['public.orders'].rows }} orders"
"""

RETURN = r"""
backup:
  description: The backup that was made; null in check mode.
  returned: success
  type: dict
  sample:
    id: shop-20260304T020000Z-7c65
    path: /var/backups/rollback-playbook/shop-20260304T020000Z-7c65
    database: shop
    label: 1.4.0
    format: directory
    bytes: 40844403
    started: "2026-03-04T02:00:00Z"
    finished: "2026-03-04T02:00:05Z"
    server_version: 180006
tables:
  description: Rows and content hash of each table; empty in check mode.
  returned: success
  type: dict
  sample:
    public.orders:
      rows: 18230
      digest: 00000000000001139c37608b88c838cf0000926c1b00c08dfc52421188b0cf01
      bytes: 2400256
removed:
  description: Ids of the backups that O(retention) removed, or would remove in check mode.
  returned: success
  type: list
  elements: str
  sample: [shop-20260218T020000Z-11d0]
before:
  description: Ids of the whole backups of the database that there were.
  returned: success
  type: dict
  sample: {backups: [shop-20260303T020000Z-9b2e]}
after:
  description: The same afterwards; in check mode without the new one, whose id is not known yet.
  returned: success
  type: dict
  sample: {backups: [shop-20260304T020000Z-7c65, shop-20260303T020000Z-9b2e]}
elapsed:
  description: Seconds it took.
  returned: success
  type: float
  sample: 5.76
undo:
  description: Null; there is nothing to undo.
  returned: success
  type: dict
  sample: null
undo_reason:
  description: Why there is no RV(undo).
  returned: success
  type: str
  sample: a backup only adds files; removing them could remove the only copy
"""

import time
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_backup_folder import (
    DumpError,
    remove,
    surplus,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_backups import describe, list_backups
from ansible_collections.sre.rollback.plugins.module_utils._pg_dump import (
    Request,
    create,
    find_pg_dump,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import read_manifest
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    connect,
    postgres_argument_spec,
    require_psycopg,
)

_NO_UNDO = "a backup only adds files; removing them could remove the only copy"


def argument_spec() -> dict[str, t.Any]:
    return {
        **postgres_argument_spec(),
        "database": {"type": "str", "required": True},
        "dest": {"type": "path", "required": True},
        "format": {"type": "str", "choices": ["directory", "custom"], "default": "directory"},
        "jobs": {"type": "int", "default": 2},
        "label": {"type": "str", "default": ""},
        "retention": {"type": "int", "default": 0},
        "lock_timeout": {"type": "float", "default": 60},
    }


def request_of(params: t.Mapping[str, t.Any]) -> Request:
    """Raises DumpError for values that make no sense."""
    if params["jobs"] < 1 or params["retention"] < 0 or params["lock_timeout"] <= 0:
        raise DumpError(
            "jobs must be at least 1, retention at least 0, lock_timeout more than 0. "
            "No backup was made."
        )
    return Request(
        login=params,
        database=params["database"],
        dest=Path(params["dest"]),
        format=params["format"],
        jobs=params["jobs"],
        label=params["label"],
        lock_timeout=params["lock_timeout"],
    )


def whole(request: Request) -> list[str]:
    """Ids of the whole backups of the database, the newest first."""
    return [one.id for one in list_backups(request.dest, request.database) if one.complete]


def predicted(request: Request, retention: int) -> dict[str, t.Any]:
    with connect(request.login, request.database) as connection:
        find_pg_dump(request.login, connection.info.server_version)
    before = whole(request)
    doomed = surplus(request.dest, request.database, retention, coming=1)
    removed = [path.name for path in doomed]
    after = [one for one in before if one not in removed]
    return _result(None, {}, removed, before, after)


def made(request: Request, retention: int) -> dict[str, t.Any]:
    before = whole(request)
    path = create(request)
    doomed = surplus(request.dest, request.database, retention)
    for backup in doomed:
        remove(backup)
    one = describe(path)
    backup = {
        name: getattr(one, name)
        for name in (
            "id",
            "path",
            "database",
            "label",
            "format",
            "bytes",
            "started",
            "finished",
            "server_version",
        )
    }
    tables = read_manifest(path).tables
    return _result(backup, tables, [each.name for each in doomed], before, whole(request))


def _result(
    backup: dict[str, t.Any] | None,
    tables: dict[str, t.Any],
    removed: list[str],
    before: list[str],
    after: list[str],
) -> dict[str, t.Any]:
    return {
        "changed": True,
        "backup": backup,
        "tables": tables,
        "removed": removed,
        "before": {"backups": before},
        "after": {"backups": after},
        "undo": None,
        "undo_reason": _NO_UNDO,
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    require_psycopg(module)
    started = time.monotonic()
    act = predicted if module.check_mode else made
    try:
        result = act(request_of(module.params), module.params["retention"])
    except RollbackError as exc:
        module.fail_json(msg=str(exc), exception=exc, **exc.result)
    result["elapsed"] = round(time.monotonic() - started, 3)
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
