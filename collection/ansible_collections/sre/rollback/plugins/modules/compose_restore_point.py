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
  - Containers are replaced by a rollback, and their logs go with them. What each one is and what it
    said last is written to C(evidence) in O(dest), and returned by name alone, since logs hold
    secrets and personal data.
  - What is there from an earlier attempt of the same incident is left as it is. That attempt saw
    what was running; a later one may see what it has left.
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.no_diff
  - sre.rollback._evidence
  - sre.rollback._compose
options:
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
  sample: [release.json, evidence/containers.json, evidence/shop-web-1.log]
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file, _evidence
from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    Container,
    Project,
    connection_spec,
    project_from,
    repository_of,
)
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

_RELEASE = "release.json"
_STATE = "containers.json"
#: Logs that are asked for at the same time.
_AT_ONCE = 4


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


def evidence(project: Project, lines: int) -> t.Iterator[tuple[str, bytes]]:
    """The log of every container, then the state of all; raises RollbackError."""
    containers = project.containers(project.name or project.model()["name"])

    def log_of(container: Container) -> bytes:
        asked = ("logs", "--timestamps", "--tail", str(lines), container.id)
        return project.run(*asked, joined=True).encode()

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        for container, log in zip(containers, pool.map(log_of, containers)):
            yield f"{container.name}.log", log
    state = json.dumps([asdict(container) for container in containers], indent=2)
    yield _STATE, state.encode()


def keep(params: t.Mapping[str, t.Any]) -> tuple[bool, list[str]]:
    """Whether anything was done, and the files that were written; raises RollbackError, OSError."""
    project, folder = project_from(params), Path(params["dest"]) / "evidence"
    files = write_release(params)
    with ThreadPoolExecutor(max_workers=1) as pool:
        tagged = pool.submit(give_tags, project, params)
        if not _evidence.is_kept(folder, _STATE):
            written = _evidence.keep(folder, evidence(project, params["lines"]))
            files += [f"{folder.name}/{name}" for name in written]
    return tagged.result() or bool(files), files


def is_kept(params: t.Mapping[str, t.Any]) -> bool:
    """Whether all of it is there already; raises RollbackError."""
    dest = Path(params["dest"])
    tags = tags_of(params).values()
    there = project_from(params).images(*tags)
    written = (dest / _RELEASE).exists() and _evidence.is_kept(dest / "evidence", _STATE)
    return written and all(tag in there for tag in tags)


def argument_spec() -> dict:
    return {
        **connection_spec(),
        **_evidence.argument_spec(),
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
            changed, files = keep(params)
    except (RollbackError, OSError) as exc:
        module.fail_json(msg=f"what runs cannot be kept: {exc}", **getattr(exc, "result", {}))
    module.exit_json(changed=changed, files=files, tags=tags_of(params))


if __name__ == "__main__":
    main()
