#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_restore_point
short_description: Keep what a Compose project runs before its images are changed
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - The images get a tag of their own, since an image without a tag goes with the next prune, and
    C(release.json) in O(dest) says which ones ran.
  - What is there from an earlier attempt of the same incident is left as it is. That attempt saw
    what was running; a later one may see what it has left.
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.no_diff
  - sre.rollback._compose
options:
  dest:
    description: The folder. It is made when it is not there, readable by its owner alone.
    type: path
    required: true
  version:
    description: The release that runs, in words.
    type: str
    default: ""
  images:
    description:
      - What each service runs, as RV(sre.rollback.compose_release_info#module:running) has it.
    type: dict
    required: true
  tagged:
    description: The services whose images get a tag.
    type: list
    elements: str
    default: []
  tag:
    description: The tag. What a tag cannot have in it becomes a hyphen.
    type: str
    required: true
seealso:
  - module: sre.rollback.compose_evidence
"""

EXAMPLES = r"""
- name: What runs is kept
  sre.rollback.compose_restore_point:
    project_src: /srv/shop
    dest: /var/lib/rollback-playbook/restore-points/2026-11-22T06-26-29Z-prod
    version: 2.0.0
    images: "{{ found.running }}"
    tagged: "{{ found.changes }}"
    tag: before-2026-11-22T06-26-29Z-prod
"""

RETURN = r"""
files:
  description: What was written, in O(dest).
  returned: success
  type: list
  elements: str
  sample: [release.json]
tags:
  description: The tags that the images have, by service.
  returned: success
  type: dict
  sample:
    web: "shop/web:before-2026-11-22t06-26-29z-prod"
"""

import json
import re
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    Project,
    connection_spec,
    project_from,
    repository_of,
)
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

_RELEASE = "release.json"


def write_release(params: t.Mapping[str, t.Any]) -> list[str]:
    """The names of the files that were written; raises OSError."""
    dest = Path(params["dest"])
    if (dest / _RELEASE).exists():
        return []
    dest.mkdir(mode=0o700, parents=True, exist_ok=True)
    release = {"version": params["version"], "images": params["images"]}
    _atomic_file.replace(str(dest / _RELEASE), f"{json.dumps(release)}\n".encode(), mode=0o600)
    return [_RELEASE]


def tags_of(params: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The tag of each image, in its own repository; a service may run nothing."""
    tag = re.sub(r"[^a-z0-9_.-]", "-", params["tag"].lower())
    return {
        service: f"{repository_of(params['images'][service]['reference'])}:{tag}"
        for service in params["tagged"]
        if service in params["images"]
    }


def give_tags(project: Project, params: t.Mapping[str, t.Any]) -> bool:
    """Whether an image got one; raises RollbackError."""
    wanted = tags_of(params)
    there = project.images(*wanted.values())
    missing = {service: tag for service, tag in wanted.items() if tag not in there}
    for service, tag in missing.items():
        project.run("tag", params["images"][service]["id"], tag)
    return bool(missing)


def is_kept(params: t.Mapping[str, t.Any]) -> bool:
    """Whether all of it is there already; raises RollbackError."""
    tags = tags_of(params).values()
    there = project_from(params).images(*tags)
    return (Path(params["dest"]) / _RELEASE).exists() and all(tag in there for tag in tags)


def argument_spec() -> dict:
    return {
        **connection_spec(),
        "dest": {"type": "path", "required": True},
        "version": {"type": "str", "default": ""},
        "images": {"type": "dict", "required": True},
        "tagged": {"type": "list", "elements": "str", "default": []},
        "tag": {"type": "str", "required": True},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params: t.Mapping[str, t.Any] = module.params
    files: list[str] = []
    try:
        if module.check_mode:
            changed = not is_kept(params)
        else:
            files = write_release(params)
            changed = give_tags(project_from(params), params) or bool(files)
    except (RollbackError, OSError) as exc:
        module.fail_json(msg=f"what runs cannot be kept: {exc}", **getattr(exc, "result", {}))
    module.exit_json(changed=changed, files=files, tags=tags_of(params))


if __name__ == "__main__":
    main()
