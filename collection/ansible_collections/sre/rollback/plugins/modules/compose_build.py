#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_build
short_description: Build images of a Compose project again from the commit of a release
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - The commit is checked out into a folder of our own, and Compose builds the service from it,
    with the C(build) of its Compose files as they were at that commit. What git does not have
    there, such as C(.env), the file of a secret, or a Compose file that lies elsewhere, is taken as
    it is now; so is the whole definition where the service was not built by Compose then.
  - Every key of C(build) counts but C(cache_to), C(tags) and C(pull); of C(platforms) it is that of
    the Engine. Nothing is pushed or started, and no tag but that of the image is given.
  - An image that is on the host is left as it is.
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.no_diff
  - sre.rollback._compose
options:
  images:
    description:
      - What to build, by service, as RV(sre.rollback.compose_release_info#module:targets) has it.
        Those whose C(how) is another than V(build) are left out.
    type: dict
    required: true
  dest:
    description: Folder for what is checked out, which goes again.
    type: path
    required: true
  timeout:
    description: Seconds after which a build is stopped; those of the checkout count by themselves.
    type: float
    default: 1800
requirements:
  - git
seealso:
  - module: sre.rollback.compose_release_info
  - module: sre.rollback.compose_release
"""

EXAMPLES = r"""
- name: Image that is nowhere is built again
  sre.rollback.compose_build:
    project_src: /srv/shop
    images: "{{ release.targets }}"
    dest: /var/lib/rollback-playbook/restore-points/2026-11-22T06-26-29Z-prod/source
"""

RETURN = r"""
built:
  description: The images that were built, or would be in C(check_mode), by service.
  returned: success
  type: dict
  sample:
    web: "shop/web:1.4.2"
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils._compose_build import Order, build
from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    ComposeError,
    connection_spec,
    project_from,
)
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

#: What names the source of an image.
_SOURCE = ("repository", "tag", "commit")


def orders_of(images: t.Mapping[str, t.Any]) -> list[Order]:
    """What is to be built; raises ComposeError where that is not said."""
    orders = []
    for service, image in images.items():
        try:
            if image["how"] == "build":
                source = {name: str(image["build"][name]) for name in _SOURCE}
                orders.append(Order(service, str(image["reference"]), **source))
        except (KeyError, TypeError) as exc:
            raise ComposeError(
                f"images: {service} does not say {exc}; sre.rollback.compose_release_info does. "
                "Nothing was built."
            ) from exc
    return orders


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **connection_spec(),
            "images": {"type": "dict", "required": True},
            "dest": {"type": "path", "required": True},
            "timeout": {"type": "float", "default": 1800},
        },
        supports_check_mode=True,
    )
    params: t.Mapping[str, t.Any] = module.params
    project = project_from(params)
    built: dict[str, str] = {}
    try:
        orders = orders_of(params["images"])
        there = project.images(*(order.reference for order in orders))
        for order in orders:
            if order.reference in there or order.reference in built.values():
                continue
            if not module.check_mode:
                build(project, order, Path(params["dest"]), seconds=params["timeout"])
            built[order.service] = order.reference
    except RollbackError as exc:
        module.fail_json(msg=str(exc), **exc.result)
    module.exit_json(changed=bool(built), built=built)


if __name__ == "__main__":
    main()
