#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: release_registry
short_description: Keep which releases were good
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - A file with one JSON object a line says which releases were good, the one that was marked last
    at the end. That is what "last known good" means.
  - It is replaced in one step and by one process at a time. A line that cannot be read is named and
    stays where it is; the others count all the same.
options:
  path:
    description: The file. It is made when it is not there.
    type: path
    required: true
  state:
    description:
      - With V(read), nothing is changed.
      - With V(good), O(version) is the last known good release from now on.
      - With V(bad), O(version) is none any more, until it is marked good again.
    type: str
    choices: [read, good, bad]
    default: read
  over_bad:
    description:
      - Whether O(state=good) may be said of a version that was marked bad. If not, it stays bad,
        nothing is changed, and a warning says so.
    type: bool
    default: true
  version:
    description: The release. Needed unless O(state=read).
    type: str
  images:
    description:
      - The image of each service, each with C(reference), C(id) and, where it came from a registry,
        C(digest).
    type: dict
    default: {}
  details:
    description:
      - What else is to be known of it, such as C(git_revision), C(migration) and C(backup).
      - What is empty is left out.
    type: dict
    default: {}
  marked_by:
    description: Who marks it.
    type: str
    default: unknown
  reason:
    description: Why it is marked; needed to understand O(state=bad) later.
    type: str
    default: ""
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.full
"""

EXAMPLES = r"""
- name: Release 1.4.2 is the last known good one
  sre.rollback.release_registry:
    path: /var/lib/rollback-playbook/releases/shop.good-releases.jsonl
    state: good
    version: 1.4.2
    images:
      web: {reference: "shop/web:1.4.2", id: "sha256:4bd6…"}
    details:
      backup: shop-20261122T062620Z-ecf8

- name: Good releases are known
  sre.rollback.release_registry:
    path: /var/lib/rollback-playbook/releases/shop.good-releases.jsonl
  register: releases
"""

RETURN = r"""
releases:
  description: The releases that are good, the one that was marked last at the end.
  returned: success
  type: list
  elements: dict
  sample:
    - {version: 1.4.2, marked_at: "2026-11-22T06:26:20Z", by: ada, images: {}}
last_good:
  description: Version of the last known good release; empty when there is none.
  returned: success
  type: str
  sample: 1.4.2
bad:
  description: The versions that were marked bad and not good since, each with the reason.
  returned: success
  type: dict
  sample: {1.4.3: loses orders}
stays_bad:
  description: Why O(version) was marked bad, when O(over_bad=false) left it so; else empty.
  returned: success
  type: str
  sample: loses orders
damaged:
  description: Lines that cannot be read, each with its number and what is wrong.
  returned: success
  type: list
  elements: dict
  sample:
    - {line: 3, problem: "not JSON: Expecting value: line 1 column 1 (char 0)"}
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _release_registry
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError


def entry_from(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The line to write."""
    entry: dict[str, t.Any] = {
        "version": params["version"],
        "marked_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "by": params["marked_by"],
    }
    if params["reason"]:
        entry["reason"] = params["reason"]
    if params["state"] == "bad":
        return {**entry, "bad": True}
    if params["images"]:
        entry["images"] = params["images"]
    return {**entry, **{name: value for name, value in params["details"].items() if value}}


def argument_spec() -> dict:
    return {
        "path": {"type": "path", "required": True},
        "state": {"type": "str", "choices": ["read", "good", "bad"], "default": "read"},
        "over_bad": {"type": "bool", "default": True},
        "version": {"type": "str"},
        "images": {"type": "dict", "default": {}},
        "details": {"type": "dict", "default": {}},
        "marked_by": {"type": "str", "default": "unknown"},
        "reason": {"type": "str", "default": ""},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[("state", "good", ["version"]), ("state", "bad", ["version"])],
        supports_check_mode=True,
    )
    params = module.params
    changed = False
    try:
        found = before = _release_registry.read(params["path"])
        if params["state"] != "read":
            changed, found = _release_registry.add(
                params["path"],
                entry_from(params),
                over_bad=params["over_bad"],
                dry=module.check_mode,
            )
    except (RollbackError, OSError) as exc:
        module.fail_json(msg=f"the good releases: {exc}", **getattr(exc, "result", {}))
    for each in found.damaged:
        module.warn(f"{params['path']}, line {each['line']} cannot be read: {each['problem']}")
    stays_bad = found.is_bad(params["version"]) if params["state"] == "good" else ""
    if stays_bad and not changed:
        module.warn(
            f"release {params['version']} was marked bad ({stays_bad}) and stays so; it was NOT "
            "marked good. Where that is over: rollback-playbook releases mark-good"
        )
    good = found.good
    result: dict[str, t.Any] = {
        "changed": changed,
        "releases": good,
        "last_good": good[-1]["version"] if good else "",
        "bad": found.bad,
        "stays_bad": "" if changed else stays_bad,
        "damaged": list(found.damaged),
    }
    if module._diff:
        result["diff"] = {"before": before.good, "after": good}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
