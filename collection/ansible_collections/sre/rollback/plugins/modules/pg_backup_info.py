#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_backup_info
short_description: List verified backups of PostgreSQL databases
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Lists what M(sre.rollback.pg_backup_verified) left in a folder, the newest first, with age, size
    and whether a restore ever proved it.
  - Looks at manifests and at names and sizes of files. It reads no dump through and needs no
    server; O(sre.rollback.pg_restore_verified#module:state=staged) proves a backup.
  - Backups that are not whole are listed with the reason.
options:
  dest:
    description: Folder that holds the backups. One that does not exist yet holds none.
    type: path
    required: true
  database:
    description: List the backups of this database only.
    type: str
  label:
    description: List the backups with this label only.
    type: str
notes:
  - A folder without a readable manifest is listed whatever the filters say, because nobody knows
    what it is a backup of.
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.read_only
seealso:
  - module: sre.rollback.pg_backup_verified
  - module: sre.rollback.pg_restore_verified
"""

EXAMPLES = r"""
- name: Backups are known
  sre.rollback.pg_backup_info:
    dest: /var/backups/rollback-playbook
    database: shop
  register: found

- name: There is a whole backup of the last day
  ansible.builtin.assert:
    that: found.backups | selectattr('complete') | selectattr('age', 'lt', 86400) | length > 0
"""

RETURN = r"""
backups:
  description:
    - The backups, newest first. Values that only a manifest could tell are null without one.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Name of the backup.
      type: str
      sample: shop-20260304T020000Z-9f2c
    path:
      description: Its folder.
      type: str
      sample: /var/backups/rollback-playbook/shop-20260304T020000Z-9f2c
    database:
      description: Database it is a backup of.
      type: str
      sample: shop
    label:
      description: What it was labelled with, for example the release; null without a label.
      type: str
      sample: "2.3.1"
    format:
      description: Format of the dump.
      type: str
      sample: directory
    bytes:
      description: Size of the dump.
      type: int
      sample: 52428800
    started:
      description: When it was begun.
      type: str
      sample: "2026-03-04T02:00:00Z"
    finished:
      description: When it was whole.
      type: str
      sample: "2026-03-04T02:00:41Z"
    age:
      description: Seconds since then.
      type: float
      sample: 4500.2
    server_version:
      description: Version number of the server that was dumped.
      type: int
      sample: 180006
    complete:
      description: Whether the manifest can be read, and every file is there in its full size.
      type: bool
      sample: true
    problem:
      description: What is wrong when it is not complete, else null.
      type: str
      sample: dump/toc.dat is missing
    proved:
      description: What the last restore that proved it noted; null when none ever did.
      type: dict
      sample: {at: "2026-03-04T02:05:00Z", jobs: 2, times: {restore: 31.2, prove: 9.8}}
before:
  description: How many backups there are, and how many are whole.
  returned: success
  type: dict
  sample: {backups: 12, complete: 12}
after:
  description: The same; nothing is changed.
  returned: success
  type: dict
  sample: {backups: 12, complete: 12}
elapsed:
  description: Seconds that the module took.
  returned: success
  type: float
  sample: 0.012
undo:
  description: Always null.
  returned: success
  type: dict
  sample: null
"""

import datetime as dt
import time
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_backup_list import backups_of


def argument_spec() -> dict[str, t.Any]:
    return {
        "dest": {"type": "path", "required": True},
        "database": {"type": "str"},
        "label": {"type": "str"},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    started = time.monotonic()
    dest = Path(module.params["dest"])
    if not dest.exists():
        module.warn(f"{dest} does not exist, so it holds no backup")
    try:
        backups = backups_of(
            dest,
            database=module.params["database"],
            label=module.params["label"],
            now=dt.datetime.now(dt.timezone.utc),
        )
    except RollbackError as exc:
        module.fail_json(msg=str(exc), exception=exc, **exc.result)
    counted = {"backups": len(backups), "complete": sum(each["complete"] for each in backups)}
    module.exit_json(
        changed=False,
        backups=backups,
        before=counted,
        after=counted,
        elapsed=round(time.monotonic() - started, 3),
        undo=None,
    )


if __name__ == "__main__":
    main()
