#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: systemd_evidence
short_description: Keep the state of systemd units and the last lines of their journal
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - A unit that is restarted begins with a new state, and a journal is rotated. This writes what
    each unit is and what it said last into a folder on the host.
  - The files stay there and are returned by name alone, since logs hold secrets and personal data.
  - What is there from an earlier attempt of the same incident is left as it is.
  - The account has to be allowed to read the journal.
options:
  units:
    description: The units.
    type: list
    elements: str
    required: true
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.no_diff
  - sre.rollback._evidence
seealso:
  - module: sre.rollback.compose_restore_point
"""

EXAMPLES = r"""
- name: State of the shop and its last log lines are kept
  sre.rollback.systemd_evidence:
    units: [shop.service]
    dest: /var/lib/rollback-playbook/restore-points/2026-11-22T06-26-29Z-prod/evidence
"""

RETURN = r"""
files:
  description: What was written.
  returned: success
  type: list
  elements: str
  sample: [units.txt, shop.service.log]
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _evidence
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

_STATE = "units.txt"
_JOURNAL = ("journalctl", "--no-pager", "--output=short-iso")


class EvidenceError(RollbackError):
    """The state or the journal of a unit cannot be read."""


def ask(module: AnsibleModule, argv: t.Sequence[str]) -> bytes:
    """What the program prints; raises EvidenceError."""
    code, out, err = module.run_command(list(argv), environ_update={"LC_ALL": "C.UTF-8"})
    if code != 0:
        raise EvidenceError(f"{argv[0]} ended with {code}: {(err or out).strip()[-500:]}")
    return str(out).encode(errors="surrogateescape")


def log_name(unit: str) -> str:
    """The name of the file for a unit, which is never a path."""
    return f"{unit.replace('/', '-')}.log"


def read(
    module: AnsibleModule, units: t.Sequence[str], lines: int
) -> t.Iterator[tuple[str, bytes]]:
    """The files of every unit, then the state; raises EvidenceError."""
    for unit in units:
        yield log_name(unit), ask(module, [*_JOURNAL, f"--lines={lines}", f"--unit={unit}"])
    yield _STATE, ask(module, ["systemctl", "show", "--no-pager", "--", *units])


def argument_spec() -> dict:
    return {
        "units": {"type": "list", "elements": "str", "required": True},
        **_evidence.argument_spec(),
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params: t.Mapping[str, t.Any] = module.params
    dest = Path(params["dest"])
    kept = _evidence.is_kept(dest, _STATE)
    files: list[str] = []
    try:
        if not kept and not module.check_mode:
            files = _evidence.keep(dest, read(module, params["units"], params["lines"]))
    except (RollbackError, OSError) as exc:
        module.fail_json(msg=f"the evidence cannot be kept: {exc}", **getattr(exc, "result", {}))
    module.exit_json(changed=not kept, files=files)


if __name__ == "__main__":
    main()
