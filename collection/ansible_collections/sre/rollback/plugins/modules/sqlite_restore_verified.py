#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_restore_verified
short_description: Put a SQLite database back from a backup that was proved first
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Copies the backup beside the database with SQLite's online backup API, reads the copy through
    (C(PRAGMA integrity_check), C(PRAGMA foreign_key_check), O(checks)), and only then gives it the
    database's name in one step.
  - The former file is kept as C(DATABASE.before-RESTORE_ID), with its write-ahead log when SQLite
    could not bring that into it any more.
  - A database that somebody has open or locked is refused. Processes of other users are visible to
    root only, so stop the application first in any case.
options:
  database:
    description: Path of the database. It may be corrupted, or missing.
    type: path
    required: true
  backup:
    description:
      - Path of the backup, a SQLite database itself. Its write-ahead log is read when there is one.
      - It must not change meanwhile. Required by O(state=live).
    type: path
  state:
    description:
      - With V(live), the backup takes the database's place.
      - With V(previous), the predecessor takes it again, and what was restored is kept as
        C(DATABASE.after-RESTORE_ID-TIME). This is the undo of V(live).
    type: str
    choices: [live, previous]
    default: live
  restore_id:
    description:
      - Name of this restore, for example the incident's id; letters, digits, dots, dashes and
        underscores.
      - The same name again changes nothing, whatever was written to the database since.
    type: str
    required: true
  checks:
    description: Queries that must answer the expected value on the copy.
    default: []
  foreign_keys:
    description: Whether a row that points at a missing one makes the backup unusable.
    type: bool
    default: true
  compare:
    description:
      - Whether to leave a database as it is that holds the content of the backup already, the
        same definitions and the same rows. It takes as long as reading both.
    type: bool
    default: false
  lock_timeout:
    description: Seconds to wait until nobody holds a lock on the database.
    type: float
    default: 5.0
  force:
    description:
      - Whether to go on although others have the database open or locked.
      - What they write from then on goes to the file that is kept aside.
    type: bool
    default: false
notes:
  - SQLite keeps no checksums. Damage that leaves the file's structure whole, such as a changed
    letter in a row, is found by O(checks) only.
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._checks
attributes:
  check_mode:
    support: full
    details: Reads the backup through where it is.
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - name: SQLite's online backup API
    description: How the copy is made.
    link: https://sqlite.org/backup.html
  - module: sre.rollback.pg_restore_verified
"""

EXAMPLES = r"""
- name: Database is back from last night's backup
  sre.rollback.sqlite_restore_verified:
    database: /srv/app/app.db
    backup: /var/backups/app/app-2026-03-04.db
    restore_id: inc-20260304-1
    checks:
      - name: there are users
        query: SELECT count(*) > 0 FROM users
        expected: 1

- name: The file that was there before is back
  sre.rollback.sqlite_restore_verified:
    database: /srv/app/app.db
    restore_id: inc-20260304-1
    state: previous
"""

RETURN = r"""
before:
  description: The database before. C(tables) are row counts; they are missing when it is damaged.
  returned: success
  type: dict
  sample: {exists: true, bytes: 12288, problems: [database disk image is malformed], tables: {}}
after:
  description: The database afterwards, or in check mode as it would be.
  returned: success
  type: dict
  sample: {exists: true, bytes: 12288, problems: [], tables: {users: 812}}
verification:
  description: What was looked at in the backup, and what was wrong with it.
  returned: when O(state=live) read a backup, also when it is refused
  type: dict
  sample:
    tables: {users: 812}
    problems: []
    checks: [{name: there are users, expected: 1, found: 1, ok: true, problem: ""}]
same:
  description: Whether the database held the content of the backup before.
  returned: when O(compare=true) and no restore of this O(restore_id) took place
  type: bool
  sample: false
predecessor:
  description: Where the former file is kept; null when there is none.
  returned: success
  type: str
  sample: /srv/app/app.db.before-inc-20260304-1
users:
  description: Processes that have the database open.
  returned: when it is refused for that
  type: list
  elements: dict
  sample: [{pid: 4711, name: gunicorn}]
elapsed:
  description: Seconds that the module took.
  returned: success
  type: float
  sample: 0.18
undo:
  description: The module and arguments that bring back what was; null when nothing changed.
  returned: success
  type: dict
  sample:
    module: sre.rollback.sqlite_restore_verified
    args: {database: /srv/app/app.db, restore_id: inc-20260304-1, state: previous}
"""

import re
import time
import typing as t
from dataclasses import replace
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_integrity import (
    checks_argument_spec,
    parse_checks,
)
from ansible_collections.sre.rollback.plugins.module_utils._sqlite import (
    Proof,
    prove,
    require_proof,
    same_content,
)
from ansible_collections.sre.rollback.plugins.module_utils._sqlite_lock import (
    refuse_users,
    users_of,
)
from ansible_collections.sre.rollback.plugins.module_utils._sqlite_swap import (
    Restore,
    RestoreRefusedError,
    bring_back,
    bring_in,
    preflight,
)

_MODULE = "sre.rollback.sqlite_restore_verified"
_RESTORE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def argument_spec() -> dict[str, t.Any]:
    return {
        "database": {"type": "path", "required": True},
        "backup": {"type": "path"},
        "state": {"type": "str", "choices": ["live", "previous"], "default": "live"},
        "restore_id": {"type": "str", "required": True},
        "checks": {**checks_argument_spec(), "default": []},
        "foreign_keys": {"type": "bool", "default": True},
        "compare": {"type": "bool", "default": False},
        "lock_timeout": {"type": "float", "default": 5.0},
        "force": {"type": "bool", "default": False},
    }


def read_restore(params: t.Mapping[str, t.Any]) -> Restore:
    """The restore of the task. Raises RestoreRefusedError for an option that cannot be."""
    if not _RESTORE_ID.fullmatch(params["restore_id"]):
        raise RestoreRefusedError(
            f"restore_id={params['restore_id']!r} cannot be part of a file name: at most 64 "
            "letters, digits, dots, dashes and underscores. Nothing was changed."
        )
    if params["lock_timeout"] < 0:
        raise RestoreRefusedError("lock_timeout must not be negative. Nothing was changed.")
    # A link stays one: the file it leads to is exchanged.
    return Restore(
        database=Path(params["database"]).resolve(),
        restore_id=params["restore_id"],
        lock_timeout=params["lock_timeout"],
        force=params["force"],
        sound=False,
    )


def look(path: Path) -> dict[str, t.Any]:
    """What is at ``path``."""
    if not path.exists():
        return {"exists": False, "bytes": 0, "problems": [], "tables": {}}
    proof = prove(path, (), foreign_keys=False, shared=bool(users_of(path)))
    return {
        "exists": True,
        "bytes": path.stat().st_size,
        "problems": list(proof.problems),
        "tables": proof.tables,
    }


def live(
    restore: Restore,
    before: dict[str, t.Any],
    params: t.Mapping[str, t.Any],
    *,
    check: bool,
) -> dict[str, t.Any]:
    if restore.done:
        return result(restore, before, before, undo=None)
    backup = Path(params["backup"]).resolve()
    checks = parse_checks(params["checks"])
    preflight(restore, backup)
    compared = compare(restore, backup) if params["compare"] else {}
    if check or compared.get("same"):
        refuse_users(restore.database, force=restore.force)
        proof = prove(backup, checks, foreign_keys=params["foreign_keys"])
        require_proof(proof, backup)
        after = after_restore(proof, backup)
    else:
        proof = bring_in(restore, backup, checks, foreign_keys=params["foreign_keys"])
        after = look(restore.database)
    if compared.get("same"):
        return {**result(restore, before, before, undo=None), **compared}
    undo = {"restore_id": restore.restore_id, "state": "previous"}
    return {
        **result(restore, before, after, undo=undo),
        **compared,
        "verification": proof.as_dict(),
        "predecessor": str(restore.predecessor),
    }


def compare(restore: Restore, backup: Path) -> dict[str, t.Any]:
    users = bool(users_of(restore.database))
    return {"same": restore.sound and same_content(restore.database, backup, shared=users)}


def after_restore(proof: Proof, backup: Path) -> dict[str, t.Any]:
    return {
        "exists": True,
        "bytes": backup.stat().st_size,
        "problems": [],
        "tables": proof.tables,
    }


def previous(restore: Restore, before: dict[str, t.Any], *, check: bool) -> dict[str, t.Any]:
    if not restore.can_go_back:
        if not restore.successors:
            raise RestoreRefusedError(
                f"no restore {restore.restore_id!r} of {restore.database} took place: there is no "
                f"{restore.predecessor}. Nothing was changed."
            )
        return result(restore, before, before, undo=None)
    after = look(restore.predecessor)
    successor = restore.new_successor()
    if after["bytes"] == 0:
        after = {**after, "exists": False, "problems": []}
    if check:
        refuse_users(restore.database, force=restore.force)
    else:
        successor = bring_back(restore)
        after = look(restore.database)
    undo = {"restore_id": restore.restore_id, "state": "live", "backup": str(successor)}
    return {**result(restore, before, after, undo=undo), "predecessor": None}


def result(
    restore: Restore,
    before: dict[str, t.Any],
    after: dict[str, t.Any],
    *,
    undo: dict[str, t.Any] | None,
) -> dict[str, t.Any]:
    return {
        "changed": undo is not None,
        "before": before,
        "after": after,
        "predecessor": str(restore.predecessor) if restore.done else None,
        "undo": undo and {"module": _MODULE, "args": {"database": str(restore.database), **undo}},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        supports_check_mode=True,
        required_if=[("state", "live", ["backup"])],
    )
    started = time.monotonic()
    try:
        restore = read_restore(module.params)
        before = look(restore.database)
        restore = replace(restore, sound=not before["problems"])
        if module.params["state"] == "live":
            outcome = live(restore, before, module.params, check=module.check_mode)
        else:
            outcome = previous(restore, before, check=module.check_mode)
    except RollbackError as exc:
        module.fail_json(msg=str(exc), exception=exc, **exc.result)
    outcome["elapsed"] = round(time.monotonic() - started, 3)
    if module._diff:
        outcome["diff"] = {"before": outcome["before"], "after": outcome["after"]}
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
