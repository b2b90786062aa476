#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_progress
short_description: Say how far a long restore is
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Reads what a restore that runs as an asynchronous job wrote about itself, and whether the job
    has ended.
  - Made for C(until); every look that is not the last one becomes C(progress.reported) in the
    incident's record and on the screen.
  - Whether the restore went well only the job itself says; ask M(ansible.builtin.async_status).
options:
  job:
    description: The job's file, as a task with C(poll=0) returns it as C(results_file).
    type: path
    required: true
  path:
    description: The file that O(sre.rollback.pg_restore_verified#module:progress_path) named.
    type: path
    required: true
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.read_only
seealso:
  - module: sre.rollback.pg_restore_verified
"""

EXAMPLES = r"""
- name: Restore has begun
  sre.rollback.pg_restore_verified:
    database: shop
    backup: /var/backups/rollback-playbook/shop-20260304T020000Z-7c65
    state: staged
    progress_path: /var/lib/rollback-playbook/progress.json
  async: 14400
  poll: 0
  register: job

- name: Restore goes on
  sre.rollback.restore_progress:
    job: "{{ job.results_file }}"
    path: /var/lib/rollback-playbook/progress.json
  register: progress
  until: progress.finished
  retries: 2880
  delay: 5

- name: Restore is proved
  ansible.builtin.async_status:
    jid: "{{ job.ansible_job_id }}"
"""

RETURN = r"""
finished:
  description: Whether the job has ended, well or not.
  returned: success
  type: bool
  sample: false
phase:
  description: What the restore is doing; empty before it said anything.
  returned: success
  type: str
  sample: restore
percent:
  description: How much of the whole is done.
  returned: success
  type: float
  sample: 41.5
bytes_done:
  description: Bytes of this part that are done.
  returned: success
  type: int
  sample: 220200960
bytes_total:
  description: Bytes of this part; 0 when they are not known.
  returned: success
  type: int
  sample: 524288000
remaining:
  description: Seconds until the end, by what it took so far; null when that is not known.
  returned: success
  type: float
  sample: 40.2
"""

import json
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


def read_json(path: Path) -> dict[str, t.Any]:
    """What stands in ``path``; empty when it is not there or not whole yet."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def has_ended(job: t.Mapping[str, t.Any]) -> bool:
    """Whether a job's file is that of one that ended: then it is the module's own result.

    While the job runs, the file says when it was started; a file that is not whole says nothing.
    """
    return bool(job) and ("started" not in job or bool(job.get("finished")))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "job": {"type": "path", "required": True},
            "path": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    job = Path(module.params["job"])
    if not job.exists():
        module.fail_json(
            msg=f"the restore's job is not known here: {job} does not exist. The live database was "
            "not touched; run the same command again, it sees what is done."
        )
    progress = read_json(Path(module.params["path"]))
    module.exit_json(
        changed=False,
        finished=has_ended(read_json(job)),
        phase=str(progress.get("phase", "")),
        percent=float(progress.get("percent", 0.0)),
        bytes_done=int(progress.get("bytes", 0)),
        bytes_total=int(progress.get("total_bytes", 0)),
        remaining=progress.get("remaining"),
    )


if __name__ == "__main__":
    main()
