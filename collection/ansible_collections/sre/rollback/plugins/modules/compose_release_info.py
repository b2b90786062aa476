#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_release_info
short_description: Find what a Compose project runs, and the images to go back to
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - For each service, the image to go back to is that of O(version) where one is named, else that of
    the last release that was marked good (M(sre.rollback.release_registry)), else the one that ran
    before, as a container that was left behind shows, else the one that arrived on this host before
    the running one.
  - That image is proved to be had. It is on the host, or a registry has it, or the service is built
    and git has a tag of that name. It fails otherwise, and names what there is.
options:
  services:
    description:
      - The services to go back with. Empty for all those of which an image to go back to is known.
    type: list
    elements: str
    default: []
  version:
    description: The release to go to, a version of the registry or a tag of the images.
    type: str
    default: ""
  registry:
    description: The file of M(sre.rollback.release_registry).
    type: path
  target:
    description: Whether an image to go back to is looked for.
    type: bool
    default: true
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.read_only
  - sre.rollback._compose
seealso:
  - module: sre.rollback.compose_release
"""

EXAMPLES = r"""
- name: Images to go back to are known
  sre.rollback.compose_release_info:
    project_src: /srv/shop
    registry: /var/lib/rollback-playbook/releases/shop.good-releases.jsonl
  register: release
"""

RETURN = r"""
project:
  description: Name of the project.
  returned: success
  type: str
  sample: shop
services:
  description: Every service of the project, also those that are not chosen.
  returned: success
  type: list
  elements: str
  sample: [proxy, web]
current:
  description: The running release in words.
  returned: success
  type: str
  sample: 2.0.0
wanted:
  description: The release to go to in words; equal to RV(current) when nothing is to be changed.
  returned: success
  type: str
  sample: 1.4.2
running:
  description: The image of each service, as M(sre.rollback.release_registry) keeps it.
  returned: success
  type: dict
  sample:
    web: {reference: "shop/web:2.0.0", id: "sha256:77aa…"}
targets:
  description:
    - The image to go back to, by service. C(how) is V(there), V(pull) or V(build); C(source) says
      why it is this one.
  returned: success
  type: dict
  sample:
    web: {reference: "shop/web:1.4.2", id: "sha256:4bd6…", how: there, source: marked good}
changes:
  description: The services that do not run that image.
  returned: success
  type: list
  elements: str
  sample: [web]
git_revision:
  description: The commit that is checked out where the Compose file is; empty where there is none.
  returned: success
  type: str
  sample: 5d1e7f3
"""

import typing as t
from concurrent.futures import ThreadPoolExecutor

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _release_registry
from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    ComposeError,
    Image,
    Project,
    connection_spec,
    project_from,
)
from ansible_collections.sre.rollback.plugins.module_utils._compose_target import (
    Service,
    Target,
    choose,
    git_revision,
    services_of,
    told_apart,
    words_of,
)
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

Images = t.Dict[str, t.Tuple[str, str]]

#: Services whose image is looked for at the same time.
_AT_ONCE = 4


def chosen_services(
    services: t.Mapping[str, Service], names: t.Sequence[str]
) -> dict[str, Service]:
    """Those asked for; raises ComposeError for a name that is none."""
    unknown = sorted(set(names) - set(services))
    if unknown:
        raise ComposeError(
            f"the Compose file has no service {', '.join(unknown)}, only "
            f"{', '.join(sorted(services))}. No release was changed. Check release_services in the "
            "inventory."
        )
    return {name: service for name, service in services.items() if not names or name in names}


def find_targets(
    project: Project,
    services: t.Mapping[str, Service],
    registry: _release_registry.Registry,
    params: t.Mapping[str, t.Any],
) -> dict[str, Target]:
    """Raises ComposeError when there is none, or one cannot be had."""
    version, named = params["version"], bool(params["services"])
    entry = registry.find(version)
    why = registry.is_bad(version) if version else ""
    if why:
        raise ComposeError(
            f"release {version} was marked bad: {why}. No release was changed. Choose another with "
            "--to VERSION, or mark it good again."
        )
    targets = {}
    # A registry may take its time, for each of them.
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        asked = {
            name: pool.submit(choose, project, service, version=version, entry=entry)
            for name, service in services.items()
            if entry is None or name in (entry.get("images") or {}) or named
        }
    for name, answer in asked.items():
        try:
            target = answer.result()
        except ComposeError:
            # A version that some services do not have is that of the others.
            if named or entry is not None:
                raise
            continue
        if target is not None:
            targets[name] = target
    if not targets or (named and len(targets) < len(services)):
        raise ComposeError(_nothing_known(services, targets, params))
    return targets


def _nothing_known(
    services: t.Mapping[str, Service],
    targets: t.Mapping[str, Target],
    params: t.Mapping[str, t.Any],
) -> str:
    missing = sorted(set(services) - set(targets))
    if params["version"]:
        return (
            f"no service has an image of release {params['version']} on this host or in a "
            f"registry ({', '.join(missing)}). No release was changed. Name the services in "
            "release_services to hear why."
        )
    return (
        f"it is not known what ran before in {', '.join(missing)}: no release was marked good "
        f"({params['registry'] or 'no registry'}), and there is no earlier image on this host. No "
        "release was changed. Name one with --to VERSION."
    )


def require_architecture(
    engine: str, targets: t.Mapping[str, Target], images: t.Mapping[str, Image]
) -> None:
    """Raises ComposeError for an image that the Engine cannot run; ``images`` are by their ids."""
    for name, target in targets.items():
        image = images.get(target.id)
        if image is not None and image.architecture not in ("", engine):
            raise ComposeError(
                f"image {target.reference} for service {name} is made for {image.architecture}, "
                f"and this host runs {engine}. No release was changed. Choose another with --to "
                "VERSION."
            )


def in_words(registry: _release_registry.Registry, images: Images, *, of: t.Iterable[str]) -> str:
    """The version under which these images were marked good, else their tags."""
    mine = {name: images[name] for name in of if name in images}
    for entry in reversed(registry.entries):
        recorded = entry.get("images") or {}
        if mine and all(
            recorded.get(name, {}).get("id") == image[1] for name, image in mine.items()
        ):
            return str(entry["version"])
    return words_of(mine)


def describe(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The result of the module; raises RollbackError."""
    project = project_from(params)
    registry = _release_registry.read(params["registry"] or "/nonexistent")
    with ThreadPoolExecutor(max_workers=1) as pool:
        engine = pool.submit(project.architecture)
        name, everything = services_of(project)
    services = chosen_services(everything, params["services"])
    running = {
        each: service.current for each, service in services.items() if service.current is not None
    }
    targets: dict[str, Target] = {}
    if params["target"]:
        targets = find_targets(project, services, registry, params)
    now: Images = {each: (c.reference, c.image_id) for each, c in running.items()}
    then: Images = {each: (target.reference, target.id) for each, target in targets.items()}
    there = project.images(*(image_id for _name, image_id in [*now.values(), *then.values()]))
    require_architecture(engine.result() if targets else "", targets, there)
    changes = [
        each
        for each in targets
        if services[each].mixed or not services[each].alive or now[each][1] != then[each][1]
    ]
    of = changes or list(targets) or list(running)
    current = in_words(registry, now, of=of)
    wanted = in_words(registry, then, of=of) if changes else current
    if changes and current == wanted:
        current, wanted = told_apart(current, now), told_apart(wanted, then)
    return {
        "project": name,
        "services": list(everything),
        "current": current,
        "wanted": wanted,
        "running": {
            each: _recorded(reference, image_id, there.get(image_id))
            for each, (reference, image_id) in now.items()
        },
        "targets": {
            each: {
                "reference": target.reference,
                "id": target.id,
                "source": target.source,
                "how": target.how,
                "build": dict(target.build),
            }
            for each, target in targets.items()
        },
        "changes": changes,
        "git_revision": git_revision(params["project_src"]),
    }


def _recorded(reference: str, image_id: str, image: t.Any) -> dict[str, str]:
    recorded = {"reference": reference, "id": image_id}
    if image is not None and image.digests:
        recorded["digest"] = image.digests[0]
    return recorded


def argument_spec() -> dict:
    return {
        **connection_spec(),
        "services": {"type": "list", "elements": "str", "default": []},
        "version": {"type": "str", "default": ""},
        "registry": {"type": "path"},
        "target": {"type": "bool", "default": True},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        result = describe(module.params)
    except RollbackError as exc:
        module.fail_json(msg=str(exc), **exc.result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
