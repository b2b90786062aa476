#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_point_in_time
short_description: Make a verified backup of a database as it was at a moment, with pgBackRest
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Lets pgBackRest restore the cluster aside into a scratch folder, recovers it to O(target_time)
    on a throw-away server, and dumps O(database) from there. The result is a backup like those of
    M(sre.rollback.pg_backup_verified), and goes live through the same proof, with
    M(sre.rollback.pg_restore_verified).
  - The live server and its files are not touched. The throw-away server listens on a Unix socket in
    a private folder only, archives nothing, replicates nothing, and loads no libraries unless
    O(preload_libraries) says so, so that no scheduled job runs in it.
  - It is stopped and removed at the end; what a killed run left behind is removed by the next.
options:
  database:
    description: Name of the database.
    type: str
    required: true
  target_time:
    description:
      - The moment, in ISO 8601; UTC unless it says otherwise. Transactions that were committed
        after it are left out.
      - Some transaction must have been committed after it, and its WAL be archived; else it cannot
        be known that nothing is missing, and the module fails. On an idle server write something
        and call C(pg_switch_wal()).
    type: str
    required: true
  stanza:
    description: pgBackRest's name of the cluster.
    type: str
    required: true
  config:
    description: Configuration file of pgBackRest. Its own default when left out.
    type: path
  dest:
    description: Folder that holds backups, as for M(sre.rollback.pg_backup_verified).
    type: path
    required: true
  label:
    description:
      - Label of the backup. When it is left out, the moment with the database's and stanza's names.
      - When a whole backup of O(database) with this label is there, nothing is done.
    type: str
  work_dir:
    description: Folder with room for the whole cluster; a scratch folder is made in it.
    type: path
    default: /var/tmp
  account:
    description:
      - Account to run pgBackRest and the throw-away server as, when the task runs as root. Without
        root, they run as the task does.
    type: str
    default: postgres
  login_user:
    description: Superuser within the cluster.
    type: str
    default: postgres
  bin_dir:
    description:
      - Folder of the server's programs, in the major version of the cluster.
      - When it is left out, those of the distribution are used.
    type: path
  preload_libraries:
    description:
      - Value of C(shared_preload_libraries) for the throw-away server, for extensions that cannot
        be dumped without.
    type: str
    default: ""
  jobs:
    description: Parallel jobs of the dump.
    type: int
    default: 2
  timeout:
    description: Seconds that replaying WAL may take.
    type: float
    default: 3600
requirements:
  - psycopg >= 3.1
  - pgBackRest >= 2.40 and PostgreSQL 13 to 18 on the host that runs the module
notes:
  - The whole cluster is restored, so there must be room for all of its databases.
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.full
attributes:
  check_mode:
    details: Looks for pgBackRest, the programs, a base backup before the moment and disk space.
seealso:
  - module: sre.rollback.pg_backup_verified
  - module: sre.rollback.pg_restore_verified
  - name: pgBackRest
    description: Its user guide.
    link: https://pgbackrest.org/user-guide.html
"""

EXAMPLES = r"""
- name: There is a backup of the minute before the migration
  sre.rollback.pg_point_in_time:
    database: shop
    stanza: main
    target_time: "2026-03-04T01:59:00Z"
    dest: /var/backups/rollback-playbook
  become: true
  register: minute_before

- name: It is live
  sre.rollback.pg_restore_verified:
    database: shop
    backup: "{{ minute_before.backup.path }}"
    restore_id: inc-20260304-1
"""

RETURN = r"""
backup:
  description: The backup; null in check mode.
  returned: success
  type: dict
  sample:
    id: shop-20260304T031500Z-7c65
    path: /var/backups/rollback-playbook/shop-20260304T031500Z-7c65
    database: shop
    label: shop of main as of 2026-03-04T01:59:00Z
    format: directory
    bytes: 40844403
    started: "2026-03-04T03:15:00Z"
    finished: "2026-03-04T03:15:05Z"
    server_version: 150019
base_backup:
  description: Backup of pgBackRest that recovery began with.
  returned: success
  type: str
  sample: 20260304-000003F
reached:
  description: Time of the last transaction that was replayed, as the server said it; null when
    nothing was done or none was replayed.
  returned: success
  type: str
  sample: "2026-03-04 01:58:59.713+00"
times:
  description: Seconds of the parts.
  returned: success
  type: dict
  sample: {restore: 61.2, recover: 18.4, dump: 7.9}
before:
  description: Ids of the whole backups of the database that there were.
  returned: success
  type: dict
  sample: {backups: []}
after:
  description: The same afterwards; in check mode without the new one, whose id is not known yet.
  returned: success
  type: dict
  sample: {backups: [shop-20260304T031500Z-7c65]}
elapsed:
  description: Seconds that the module took.
  returned: success
  type: float
  sample: 88.1
undo:
  description: Null; there is nothing to undo.
  returned: success
  type: dict
  sample: null
undo_reason:
  description: Why there is no RV(undo) although something changed.
  returned: success
  type: str
  sample: a backup only adds files; removing them could remove the only copy
"""

import datetime as dt
import shutil
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_account import account_to_use
from ansible_collections.sre.rollback.plugins.module_utils._pg_backups import (
    Backup,
    describe,
    list_backups,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_dump import Request, create
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_words import parse_moment
from ansible_collections.sre.rollback.plugins.module_utils._pg_scratch import (
    ScratchError,
    fill,
    scratch_folder,
    server_programs,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_scratch_server import running
from ansible_collections.sre.rollback.plugins.module_utils._pgbackrest import (
    BaseBackup,
    Stanza,
    base_backup_before,
    restore_argv,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import require_psycopg

_NO_UNDO = "a backup only adds files; removing them could remove the only copy"
_LOCK_TIMEOUT = 60
_SHOWN = (
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


def argument_spec() -> dict[str, t.Any]:
    return {
        "database": {"type": "str", "required": True},
        "target_time": {"type": "str", "required": True},
        "stanza": {"type": "str", "required": True},
        "config": {"type": "path"},
        "dest": {"type": "path", "required": True},
        "label": {"type": "str"},
        "work_dir": {"type": "path", "default": "/var/tmp"},  # noqa: S108
        "account": {"type": "str", "default": "postgres"},
        "login_user": {"type": "str", "default": "postgres"},
        "bin_dir": {"type": "path"},
        "preload_libraries": {"type": "str", "default": ""},
        "jobs": {"type": "int", "default": 2},
        "timeout": {"type": "float", "default": 3600},
    }


@dataclass(frozen=True)
class Plan:
    """Everything that is known before anything is restored."""

    moment: dt.datetime
    label: str
    stanza: Stanza
    base: BaseBackup
    bin_dir: Path


def moment_of(params: t.Mapping[str, t.Any]) -> dt.datetime:
    """Raises RollbackError for a time that cannot be meant."""
    moment = parse_moment(params["target_time"], option="target_time")
    if moment > dt.datetime.now(dt.timezone.utc):
        raise ScratchError(
            f"target_time={params['target_time']!r} is in the future. Nothing was changed."
        )
    if params["jobs"] < 1 or params["timeout"] <= 0:
        raise ScratchError("jobs must be at least 1, timeout more than 0. Nothing was changed.")
    return moment


def label_of(params: t.Mapping[str, t.Any], moment: dt.datetime) -> str:
    if params["label"]:
        return str(params["label"])
    text = moment.isoformat().replace("+00:00", "Z")
    return f"{params['database']} of {params['stanza']} as of {text}"


def make_plan(params: t.Mapping[str, t.Any], moment: dt.datetime, label: str) -> Plan:
    """Look for everything that is needed. Raises RollbackError."""
    stanza = Stanza(params["stanza"], params["config"], account_to_use(params["account"]))
    base = base_backup_before(stanza, moment)
    bin_dir = server_programs(params["bin_dir"], base.major)
    work_dir = Path(params["work_dir"])
    if not work_dir.is_dir():
        raise ScratchError(f"there is no folder {work_dir}. Nothing was changed.")
    free = shutil.disk_usage(work_dir).free
    if base.size > free:
        raise ScratchError(
            f"{work_dir} has {free} bytes free, the cluster needs {base.size} and what the WAL "
            "adds. Nothing was changed. Make room, or give another work_dir."
        )
    return Plan(moment, label, stanza, base, bin_dir)


def make(params: t.Mapping[str, t.Any], plan: Plan) -> dict[str, t.Any]:
    """Restore aside, recover, dump; what is particular in the result."""
    times = {}
    with scratch_folder(Path(params["work_dir"]), plan.stanza.account, plan.bin_dir) as scratch:
        started = time.monotonic()
        fill(
            scratch,
            restore_argv(
                plan.stanza,
                plan.base,
                plan.moment,
                data=scratch.data,
                tablespaces=scratch.tablespaces,
            ),
        )
        times["restore"] = time.monotonic() - started
        preload, timeout = params["preload_libraries"], params["timeout"]
        with running(scratch, params["login_user"], preload=preload, timeout=timeout) as reached:
            times["recover"] = time.monotonic() - started - times["restore"]
            path = create(
                Request(
                    login=scratch.login(params["login_user"]),
                    database=params["database"],
                    dest=Path(params["dest"]),
                    format="directory",
                    jobs=params["jobs"],
                    label=plan.label,
                    lock_timeout=_LOCK_TIMEOUT,
                )
            )
            times["dump"] = time.monotonic() - started - times["restore"] - times["recover"]
    return {
        "backup": shown(describe(path)),
        "reached": reached,
        "times": {name: round(seconds, 3) for name, seconds in times.items()},
    }


def shown(backup: Backup) -> dict[str, t.Any]:
    return {name: getattr(backup, name) for name in _SHOWN}


def whole(params: t.Mapping[str, t.Any]) -> list[Backup]:
    found = list_backups(Path(params["dest"]), params["database"])
    return [backup for backup in found if backup.complete]


def run(params: t.Mapping[str, t.Any], *, check: bool) -> dict[str, t.Any]:
    moment = moment_of(params)
    label = label_of(params, moment)
    before = whole(params)
    result: dict[str, t.Any] = {
        "changed": False,
        "backup": None,
        "base_backup": None,
        "reached": None,
        "times": {},
        "before": {"backups": [backup.id for backup in before]},
        "undo": None,
        "undo_reason": None,
    }
    there = next((backup for backup in before if backup.label == label), None)
    if there is not None:
        return {**result, "backup": shown(there), "after": result["before"]}
    plan = make_plan(params, moment, label)
    result.update(changed=True, base_backup=plan.base.label, undo_reason=_NO_UNDO)
    if not check:
        result.update(make(params, plan))
    return {**result, "after": {"backups": [backup.id for backup in whole(params)]}}


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
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
