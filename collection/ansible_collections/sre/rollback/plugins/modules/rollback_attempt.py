#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback_attempt
short_description: Remember a rollback until it has finished
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - A file on the host says that a rollback has begun, from before it changes anything until it has
    been confirmed. The next one finds it, and goes on under the same name, so that what is done is
    not done twice.
  - The file is replaced in one step, and only its owner may read it.
options:
  path:
    description: The file. Its folder is made when it is not there, and is its owner's alone.
    type: path
    required: true
  state:
    description:
      - With V(read), nothing is changed.
      - With V(begun), O(attempt) is unfinished from now on.
      - With V(finished), none is.
    type: str
    choices: [read, begun, finished]
    default: read
  attempt:
    description: What the next rollback has to know of this one. Needed with O(state=begun).
    type: dict
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.full
"""

EXAMPLES = r"""
- name: Attempt is known until it has finished
  sre.rollback.rollback_attempt:
    path: /var/lib/rollback-playbook/restore-points/unfinished.json
    state: begun
    attempt:
      restore_id: 2026-03-04T02-00-00Z-full-prod-7c65
      level: full

- name: Attempt that did not finish is looked for
  sre.rollback.rollback_attempt:
    path: /var/lib/rollback-playbook/restore-points/unfinished.json
  register: earlier

- name: Attempt has finished
  sre.rollback.rollback_attempt:
    path: /var/lib/rollback-playbook/restore-points/unfinished.json
    state: finished
"""

RETURN = r"""
attempt:
  description: The attempt that has not finished; empty when there is none.
  returned: success
  type: dict
  sample: {restore_id: 2026-03-04T02-00-00Z-full-prod-7c65, level: full}
"""

import json
import os
import stat
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

_OWNERS_ALONE = 0o700


def unfinished(path: str) -> dict[str, t.Any]:
    """What the file says; raises RollbackError when it cannot be understood."""
    content = _atomic_file.read(path)
    if content is None:
        return {}
    try:
        found = json.loads(content)
    except ValueError as exc:
        found = exc
    if isinstance(found, dict):
        return found
    raise RollbackError(
        f"{path} says that a rollback has not finished, and cannot be read as JSON ({found}). "
        "Nothing was changed. See in the host's restore points and in the last incident's record "
        "how far it came, and move the file away."
    )


def begin(path: str, attempt: t.Mapping[str, t.Any]) -> None:
    """Raises RollbackError; the file is as it was then."""
    folder = Path(path).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) != _OWNERS_ALONE:
            folder.chmod(_OWNERS_ALONE)
    except OSError as exc:
        raise RollbackError(f"{folder}: {exc.strerror}. Nothing was changed.") from exc
    _atomic_file.replace(path, json.dumps(attempt).encode(), mode=0o600)


def run(params: t.Mapping[str, t.Any], *, dry: bool) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """The attempt before and afterwards; raises RollbackError."""
    path, state = params["path"], params["state"]
    if state == "finished":
        # Whatever it says: nobody has to understand what is over.
        before = {"unfinished": True} if os.path.lexists(path) else {}
        if before and not dry:
            _atomic_file.remove(path)
        return before, {}
    before = unfinished(path)
    if state == "read":
        return before, before
    after = params["attempt"]
    if after != before and not dry:
        begin(path, after)
    return before, after


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["read", "begun", "finished"], "default": "read"},
            "attempt": {"type": "dict"},
        },
        required_if=[("state", "begun", ["attempt"])],
        supports_check_mode=True,
    )
    try:
        before, after = run(module.params, dry=module.check_mode)
    except RollbackError as exc:
        module.fail_json(msg=str(exc), **exc.result)
    result: dict[str, t.Any] = {"changed": before != after, "attempt": after}
    if module._diff:
        result["diff"] = {"before": before, "after": after}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
