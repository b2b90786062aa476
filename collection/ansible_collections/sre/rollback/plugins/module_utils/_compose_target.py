# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which image a service would go back to, and whether it can be had.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import re
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils import _git_source
from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    ComposeError,
    Container,
    Image,
    Project,
    replicas_of,
    repository_of,
    tag_of,
)

_SHORT = 12
_COMMIT = re.compile(r"[0-9a-f]{7,40}")
#: Tags that this collection made to keep an image; they are no release.
KEPT_TAGS = ("before-", "rollback-")


@dataclass(frozen=True)
class Target:
    """The image to go to. ``id`` is empty while it is not on the host."""

    reference: str
    id: str
    #: asked for, marked good, ran before, arrived before.
    source: str
    #: there, pull, build.
    how: str = "there"
    #: What to build it from, with ``how`` build.
    build: t.Mapping[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Service:
    """One service of the definition and what runs of it."""

    name: str
    definition: t.Mapping[str, t.Any]
    reference: str
    containers: tuple[Container, ...]

    @property
    def alive(self) -> tuple[Container, ...]:
        return tuple(each for each in self.containers if each.running)

    @property
    def current(self) -> Container | None:
        """The container that stands for the service: the youngest, a running one if there is."""
        return next(iter(reversed(self.alive or self.containers)), None)

    @property
    def replicas(self) -> int:
        """How many there are to be; those that crash just now count, too."""
        return max(len(self.alive), replicas_of(self.definition))

    @property
    def required(self) -> tuple[Container, ...]:
        """Those that have to run for the service to run: all but the ones that are through."""
        return tuple(each for each in self.containers if not each.completed)

    def keeps_data(self, *, shares: bool = False) -> bool:
        """Whether a second container beside its own would be in the way of what it keeps.

        Two servers on one volume may damage what is on it. Where the owner runs several containers
        anyway, or says so (``shares``), they are made for that; a volume without a name is another
        one for each of them.
        """
        lone = replicas_of(self.definition) == 1 and len(self.alive) <= 1
        shared = self.definition.get("volumes_from") or any(
            _is_written(each) for each in self.definition.get("volumes") or ()
        )
        alone = bool(lone and shared and not shares)
        return alone or any(each.own_data for each in self.containers)

    @property
    def mixed(self) -> bool:
        """Whether its containers run different images: a switch that stopped half-way."""
        return len({each.image_id for each in self.alive}) > 1


def _is_written(volume: t.Mapping[str, t.Any]) -> bool:
    """Whether it is one with a name, or a folder of the host; a socket holds no data."""
    source = str(volume.get("source") or "")
    kept = volume.get("type") in ("volume", "bind") and not volume.get("read_only")
    return bool(source and kept and not source.endswith(".sock"))


def services_of(project: Project) -> tuple[str, dict[str, Service]]:
    """The project's name and its services by name; raises ComposeError."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        known = pool.submit(project.containers, project.name) if project.name else None
        model = project.model()
    name = model["name"]
    containers = known.result() if known else project.containers(name)
    found = {
        service: Service(
            name=service,
            definition=definition,
            reference=definition.get("image") or f"{name}-{service}",
            containers=tuple(each for each in containers if each.service == service),
        )
        for service, definition in model["services"].items()
    }
    return name, found


def choose(
    project: Project,
    service: Service,
    *,
    version: str,
    entry: t.Mapping[str, t.Any] | None,
) -> Target | None:
    """The image to go to, or None when nothing says which. ``entry`` is the good release."""
    if entry is not None:
        recorded = (entry.get("images") or {}).get(service.name)
        if recorded:
            source = "asked for" if version else "marked good"
            return _recorded(project, service, recorded, source)
    repository = repository_of((service.current or service).reference)  # type: ignore[union-attr]
    if version:
        return _located(project, service, f"{repository}:{version}", "asked for")
    return _before(project, service, repository)


def _recorded(
    project: Project, service: Service, recorded: t.Mapping[str, t.Any], source: str
) -> Target:
    """The very image that was marked good, under its name where that still means the same."""
    reference, wanted = recorded["reference"], recorded["id"]
    found = project.images(reference, wanted)
    if reference in found and found[reference].id == wanted:
        return Target(reference, wanted, source)
    if wanted in found:
        return Target(wanted, wanted, source)
    digest = recorded.get("digest")
    if digest:
        return _located(project, service, digest, source)
    target = _located(project, service, reference, source, accept_local=False)
    # A tag may mean another image by now; whoever pulls it compares.
    return replace(target, id=wanted) if target.how == "pull" else target


def _located(
    project: Project, service: Service, reference: str, source: str, *, accept_local: bool = True
) -> Target:
    there = project.images(reference).get(reference) if accept_local else None
    if there is not None:
        return Target(reference, there.id, source)
    if can_be_pulled(project, reference):
        return Target(reference, "", source, "pull")
    build = _build_of(service, tag_of(reference))
    if build:
        return _built(project, reference, source, build)
    raise ComposeError(
        f"image {reference} for service {service.name} is not on this host, no registry answers "
        f"for it, and there is no git tag to build it from. No release was changed. "
        + _offer(project, repository_of(reference))
    )


def _built(project: Project, reference: str, source: str, build: dict[str, t.Any]) -> Target:
    """Under its own name where nothing has it; a tag that means another image is left as it is."""
    if reference not in project.images(reference):
        return Target(reference, "", source, "build", build)
    ours = f"{repository_of(reference)}:rollback-{tag_of(reference)}-{build['commit'][:_SHORT]}"
    there = project.images(ours).get(ours)
    if there is not None:
        return Target(ours, there.id, source)
    return Target(ours, "", source, "build", build)


def can_be_pulled(project: Project, reference: str) -> bool:
    """Whether a registry has it and lets this host read it."""
    try:
        project.run("manifest", "inspect", "--insecure", reference, timeout=20)
    except ComposeError:
        return False
    return True


def _before(project: Project, service: Service, repository: str) -> Target | None:
    """What ran before: a container that was left, else the image that arrived before this one."""
    current = service.current
    if current is None:
        return None
    for container in reversed(service.containers):
        if not container.running and container.image_id != current.image_id:
            there = project.images(container.image_id)
            if there:
                return _named(container.image_id, container.reference, project, "ran before")
    images = [each for each in project.images_of(repository) if _releases(each, repository)]
    running = next((each for each in images if each.id == current.image_id), None)
    earlier = [
        each
        for each in images
        if running is not None and each.id != running.id and each.arrived < running.arrived
    ]
    if not earlier:
        return None
    return Target(_releases(earlier[0], repository)[0], earlier[0].id, "arrived before")


def _named(image_id: str, reference: str, project: Project, source: str) -> Target:
    found = project.images(reference).get(reference)
    same = found is not None and found.id == image_id
    return Target(reference if same else image_id, image_id, source)


def _releases(image: Image, repository: str) -> list[str]:
    return [
        tag
        for tag in image.tags
        if repository_of(tag) == repository and not tag_of(tag).startswith(KEPT_TAGS)
    ]


def _offer(project: Project, repository: str) -> str:
    tags = [tag for image in project.images_of(repository) for tag in _releases(image, repository)]
    if not tags:
        return f"There is no image of {repository} on this host."
    return f"On this host are {', '.join(tags[:8])}; choose with --to VERSION."


def _build_of(service: Service, version: str) -> dict[str, t.Any]:
    """What to check out for a service with ``build:``, when the git of its context has the release.

    A context that lies in no repository, or that is fetched from somewhere, is not known to be that
    of the release.
    """
    context = str((service.definition.get("build") or {}).get("context") or "")
    if not version or not Path(context).is_dir():
        return {}
    repository = _git_source.asked(context, "rev-parse", "--show-toplevel")
    names = [f"refs/tags/{version}", f"refs/tags/v{version}"]
    # Many name an image after its commit. A branch is none: it has moved on since.
    names += [version] if _COMMIT.fullmatch(version) else []
    for name in names if repository else ():
        commit = _git_source.asked(
            repository, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"
        )
        if commit:
            tag = name[len("refs/tags/") :] if name.startswith("refs/tags/") else name
            return {"repository": repository, "tag": tag, "commit": commit}
    return {}


def git_revision(directory: str) -> str:
    """The commit that is checked out where the Compose file is; empty where there is none."""
    return _git_source.asked(directory, "rev-parse", "HEAD")


def words_of(images: t.Mapping[str, tuple[str, str]]) -> str:
    """A release in words: the tag that all services share, else each with its own.

    ``images`` is (reference, image id) by service.
    """
    names = {service: tag_of(reference) or _short(i) for service, (reference, i) in images.items()}
    distinct = set(names.values())
    if len(distinct) <= 1:
        return "".join(distinct)
    return ", ".join(f"{service} {name}" for service, name in sorted(names.items()))


def told_apart(words: str, images: t.Mapping[str, tuple[str, str]]) -> str:
    """The same with the image ids, for one tag that has meant two images."""
    return f"{words} ({', '.join(sorted({_short(image[1]) for image in images.values()}))})"


def _short(image_id: str) -> str:
    return image_id.replace("sha256:", "")[:_SHORT]
