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
  - module: sre.rollback.compose_evidence
  - module: sre.rollback.supervisor_evidence
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
missing:
  description: Files that could not be had, each with its C(file) and C(error).
  returned: success
  type: list
  elements: dict
  sample:
    - error: "journalctl ended with 1: No journal files were found."
      file: shop.service.log
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _evidence

_STATE = "units.txt"
_SHOW = ("systemctl", "show", "--no-pager", "--")
_JOURNAL = ("journalctl", "--no-pager", "--output=short-iso")


def parts(units: t.Sequence[str], lines: int) -> list[_evidence.Part]:
    """The state of all units, then the journal of each."""
    asked = [
        _evidence.Part(
            _evidence.file_of(unit, "log"),
            _evidence.from_program(*_JOURNAL, f"--lines={lines}", f"--unit={unit}"),
        )
        for unit in units
    ]
    return [_evidence.Part(_STATE, _evidence.from_program(*_SHOW, *units)), *asked]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "units": {"type": "list", "elements": "str", "required": True},
            **_evidence.argument_spec(),
        },
        supports_check_mode=True,
    )
    units, lines = module.params["units"], module.params["lines"]
    _evidence.exit_kept(module, _STATE, lambda _seconds: parts(units, lines))


if __name__ == "__main__":
    main()
