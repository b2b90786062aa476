#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: supervisor_evidence
short_description: Keep the state of supervisor's programs and what they said last
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - A program that is restarted begins with a new state. This writes what each program is and what
    it said last, on stdout and on stderr, into a folder on the host.
  - The files stay there and are returned by name alone, since logs hold secrets and personal data.
  - What is there from an earlier attempt of the same incident is left as it is.
options:
  programs:
    description: The programs.
    type: list
    elements: str
    required: true
  config:
    description: The supervisor configuration file path.
    type: path
    required: true
  supervisorctl_path:
    description: Path to the supervisorctl executable.
    type: path
    default: supervisorctl
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.no_diff
  - sre.rollback._evidence
seealso:
  - module: sre.rollback.compose_evidence
  - module: sre.rollback.systemd_evidence
  - module: community.general.supervisorctl
"""

EXAMPLES = r"""
- name: State of the shop and its last log lines are kept
  sre.rollback.supervisor_evidence:
    programs: [shop]
    config: /etc/supervisor/supervisord.conf
    dest: /var/lib/rollback-playbook/restore-points/2026-11-22T06-26-29Z-prod/evidence
"""

RETURN = r"""
files:
  description: What was written.
  returned: success
  type: list
  elements: str
  sample: [services.txt, shop.stdout.log, shop.stderr.log]
missing:
  description: Files that could not be had, each with its C(file) and C(error).
  returned: success
  type: list
  elements: dict
  sample:
    - error: supervisorctl did not answer in time
      file: shop.stderr.log
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _evidence

_STATE = "services.txt"
_CHANNELS = ("stdout", "stderr")
#: It counts bytes; a line of a log has about a hundred.
_BYTES_OF_A_LINE = 100
#: Not every program runs, and one that redirects its stderr has no log of it: what supervisorctl
#: says then is evidence all the same.
_SAID = range(5)


def parts(params: t.Mapping[str, t.Any]) -> list[_evidence.Part]:
    """The state of all programs, then what each said."""
    control = (params["supervisorctl_path"], f"--configuration={params['config']}")
    tail = (*control, "tail", f"-{params['lines'] * _BYTES_OF_A_LINE}")
    programs = params["programs"]
    status = _evidence.from_program(*control, "status", *programs, exits=_SAID)
    said = [
        _evidence.Part(
            _evidence.file_of(program, channel, "log"),
            _evidence.from_program(*tail, program, channel, exits=_SAID),
        )
        for program in programs
        for channel in _CHANNELS
    ]
    return [_evidence.Part(_STATE, status), *said]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "programs": {"type": "list", "elements": "str", "required": True},
            "config": {"type": "path", "required": True},
            "supervisorctl_path": {"type": "path", "default": "supervisorctl"},
            **_evidence.argument_spec(),
        },
        supports_check_mode=True,
    )
    _evidence.exit_kept(module, _STATE, lambda _seconds: parts(module.params))


if __name__ == "__main__":
    main()
