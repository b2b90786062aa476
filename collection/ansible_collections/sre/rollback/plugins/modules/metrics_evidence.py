#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: metrics_evidence
short_description: Keep what metrics and processes were like before a change
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - After a restart a metrics page counts from zero, and the process that had grown is gone. This
    writes both down first, into a folder on the host.
  - The pages are those that the checks of M(sre.rollback.health_gate) would be judged by. Of
    C(metrics) it is the page as it was served, of C(prometheus) the last hour of the query.
  - All are read at the same time. A page that cannot be read is no failure; RV(missing) and
    C(metrics.json) say why.
  - The files stay there and are returned by name alone.
  - What is there from an earlier attempt of the same incident is left as it is.
options:
  checks:
    description:
      - Checks as M(sre.rollback.health_gate) takes them.
      - Those of other kinds than C(metrics) and C(prometheus) are passed over.
    type: list
    elements: dict
    default: []
  dest:
    description: The folder. It is made when it is not there, readable by its owner alone.
    type: path
    required: true
  timeout:
    description: Seconds for all pages together.
    type: float
    default: 2.0
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.no_diff
seealso:
  - module: sre.rollback.health_gate
  - module: sre.rollback.systemd_evidence
  - module: sre.rollback.compose_restore_point
"""

EXAMPLES = r"""
- name: What the shop was like is kept
  sre.rollback.metrics_evidence:
    checks: "{{ verify_checks }}"
    dest: /var/lib/rollback-playbook/restore-points/2026-11-22T06-26-29Z-prod/evidence
"""

RETURN = r"""
files:
  description: What was written.
  returned: success
  type: list
  elements: str
  sample: [metrics.json, processes.txt, metrics-1.txt]
missing:
  description: Pages that could not be read, each with its C(url), C(checks) and C(error).
  returned: success
  type: list
  elements: dict
  sample:
    - checks: [error rate below 1 %]
      error: no answer within 2 s
      url: http://127.0.0.1:8000/metrics
"""

import json
import time
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _evidence
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._hiding_module import HidingModule
from ansible_collections.sre.rollback.plugins.module_utils._metrics_pages import (
    Served,
    pages_of,
    read_all,
)

_INDEX = "metrics.json"
_PROCESSES_FILE = "processes.txt"
_PROCESSES = ("ps", "axww", "-o", "pid,ppid,user,rss,pcpu,etimes,args", "--sort=-rss")


def processes(module: AnsibleModule) -> bytes:
    """The processes of the host, biggest first; or why there is no list."""
    code, out, err = module.run_command(list(_PROCESSES), handle_exceptions=False)
    return str(out if code == 0 else err).encode(errors="surrogateescape")


def files_of(
    module: AnsibleModule, served: t.Sequence[Served], at: float
) -> t.Iterator[tuple[str, bytes]]:
    """The processes, every page that was read, and what each of them is."""
    try:
        yield _PROCESSES_FILE, processes(module)
    except OSError as exc:
        yield _PROCESSES_FILE, f"{_PROCESSES[0]}: {exc.strerror}\n".encode()
    for each in served:
        if not each.error:
            yield each.page.file, each.body
    pages = [
        {
            "checks": each.page.checks,
            "url": each.page.url,
            "query": each.page.query,
            "file": "" if each.error else each.page.file,
            "error": each.error,
        }
        for each in served
    ]
    yield _INDEX, json.dumps({"at": at, "pages": pages}, indent=2).encode()


def main() -> None:
    module = HidingModule(
        argument_spec={
            "checks": {"type": "list", "elements": "dict", "default": []},
            "dest": {"type": "path", "required": True},
            "timeout": {"type": "float", "default": 2.0},
        },
        supports_check_mode=True,
    )
    dest, at = Path(module.params["dest"]), time.time()
    kept = _evidence.is_kept(dest, _INDEX)
    files: list[str] = []
    served: list[Served] = []
    try:
        if not kept and not module.check_mode:
            pages = pages_of(module.params["checks"], now=at)
            served = read_all(pages, module.params["timeout"])
            files = _evidence.keep(dest, files_of(module, served, at))
    except (RollbackError, OSError) as exc:
        module.fail_json(msg=f"the metrics cannot be kept: {exc}", **getattr(exc, "result", {}))
    missing = [
        {"checks": each.page.checks, "url": each.page.url, "error": each.error}
        for each in served
        if each.error
    ]
    module.exit_json(changed=not kept, files=files, missing=missing)


if __name__ == "__main__":
    main()
