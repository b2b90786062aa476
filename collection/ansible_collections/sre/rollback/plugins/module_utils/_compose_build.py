# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build an image of a Compose project again from the commit of its release.

Compose builds it itself, so that every key of ``build:`` means what it means to its owner and the
builder is the one that the Engine and its plugins have. It is given a file of ours with nothing but
the services to build, taken from the Compose files as they were at that commit: what a release was
built with is written there. What git does not have, such as ``.env`` or the file of a secret, is
taken from where it is now.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file, _git_source
from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    DEFAULT_FILES,
    ComposeError,
    Project,
    repository_of,
)

_SHORT = 12
#: Seconds that a build which is told to stop may take to do so.
_STOP_SECONDS = 10.0
_LAST_LINES = 15
_SERVICE = "service:"
#: These would give the image to others, take a base that is not the one here, or move another tag.
_LEFT_OUT = ("cache_to", "tags", "pull")
#: How Compose says that a file which it is to read is not there.
_LACKS_FILE = re.compile(r"(?:open|stat) (/[^\n]+?): no such file or directory")
_FILES_LENT = 50

_BUILDER_LACKS = re.compile(r"requires BuildKit|use BuildKit|buildx", re.IGNORECASE)
_BUILDER_IS_OLD = re.compile(
    r"unknown instruction|unknown flag|unsupported frontend capability", re.IGNORECASE
)


@dataclass(frozen=True)
class Order:
    """One image to build."""

    service: str
    reference: str
    repository: str
    tag: str
    commit: str

    @property
    def words(self) -> str:
        return (
            f"image {self.reference} for service {self.service} could not be built from "
            f"{self.tag} ({self.commit[:_SHORT]}) of {self.repository}"
        )


def build(project: Project, order: Order, dest: Path, *, seconds: float) -> None:
    """Raises ComposeError; then there is no such image, and nothing else was changed."""
    folder = dest / order.commit[:_SHORT]
    # Its folder has the name that it has there: what is beside the repository is not in it.
    checkout = Checkout(project, order, folder / Path(order.repository).name)
    own = folder / "build.json"
    try:
        with _told(order):
            _git_source.check_out(order.repository, order.commit, checkout.folder, seconds=seconds)
            model = checkout.model()
            if not _is_built(model, order.service):
                # It was built by other means then, or by hand.
                model = project.model()
        wanted = _definition(model, order, checkout, project.platform())
        _atomic_file.replace(str(own), json.dumps(wanted).encode(), mode=0o600)
        ours = replace(project, files=(str(own),), env_files=checkout.env_files, profiles=())
        _run(ours, order, seconds)
    except OSError as exc:
        raise ComposeError(f"{order.words}: {exc}. {_what_now(order)}") from exc
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Checkout:
    """The files of a commit, and those beside them that git does not have."""

    def __init__(self, project: Project, order: Order, folder: Path) -> None:
        self._project = project
        self._repository = Path(order.repository).resolve()
        self.folder = folder
        self._now = Path(project.directory)
        inside = _inside(self._now.resolve(), self._repository)
        #: Where the project is in it; where it is now when that is another repository.
        self._then = self._now if inside is None else folder / inside

    @property
    def env_files(self) -> tuple[str, ...]:
        """As the commit has them, else as they are now."""
        if self._project.env_files:
            return tuple(self.place(each) for each in self._project.env_files)
        found = Path(self.place(str(self._now / ".env")))
        return (str(found),) if found.exists() else ()

    def model(self) -> dict[str, t.Any]:
        """The definition at the commit, with every variable filled in; raises ComposeError."""
        then = replace(
            self._project,
            directory=str(self._then),
            files=tuple(self._files()),
            env_files=self.env_files,
        )
        lent: list[Path] = []
        try:
            for _each in range(_FILES_LENT):
                try:
                    return then.model()
                except ComposeError as exc:
                    lent.append(self._lend(str(exc)))
            raise ComposeError("its Compose files read too many files that git does not have")
        finally:
            # They may be secret, and would be copied into an image.
            for place in lent:
                self._take_back(place)

    def place(self, path: str) -> str:
        """Where a path of the definition is: in the commit, else where its owner has it.

        One that is not absolute is not one of the definition's, and stays as it is.
        """
        named = Path(path)
        if not named.is_absolute():
            return path
        inside = _inside(named, self.folder)
        if inside is None:
            inside = _inside(named.resolve(), self._repository)
        if inside is not None:
            there = self.folder / inside
            return str(there if there.exists() else self._repository / inside)
        # Written as a way out of the repository, which leads elsewhere from a copy of it.
        beside = os.path.normpath(str(self._repository / os.path.relpath(path, str(self.folder))))
        return beside if not named.exists() and Path(beside).exists() else path

    def has(self, path: str) -> bool:
        return _inside(Path(path), self.folder) is not None and Path(path).exists()

    def _files(self) -> t.Iterator[str]:
        for name in self._project.files:
            yield self.place(str(self._now / name))
        for names in () if self._project.files else DEFAULT_FILES:
            places = [folder / each for folder in (self._then, self._now) for each in names]
            yield from [str(each) for each in places if each.exists()][:1]

    def _lend(self, words: str) -> Path:
        """Have a file that Compose wants to read and git does not have; raises ComposeError."""
        found = _LACKS_FILE.search(words)
        inside = _inside(Path(found.group(1)), self.folder) if found else None
        place = self.folder / (inside or ".")
        kept = self._repository / (inside or ".")
        if os.path.lexists(str(place)) or not kept.is_file():
            raise ComposeError(f"its Compose files cannot be read: {words}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(kept)
        return place

    def _take_back(self, place: Path) -> None:
        """With the folders that were made for it: git has no empty ones."""
        place.unlink()
        with contextlib.suppress(OSError):
            for folder in place.parents:
                if folder == self.folder:
                    break
                folder.rmdir()


def _definition(
    model: t.Mapping[str, t.Any], order: Order, checkout: Checkout, platform: str
) -> dict[str, t.Any]:
    """A project of the service alone, and of those whose images it is made of."""
    services: dict[str, t.Any] = {}
    wanted = [order.service]
    while wanted:
        name = wanted.pop()
        if name in services:
            continue
        if not _is_built(model, name):
            raise ComposeError(
                f"{order.words}: its Compose file does not build service {name}. {_what_now(order)}"
            )
        definition = model["services"][name]
        about = _placed(definition["build"], checkout, platform)
        if name == order.service and not checkout.has(about["context"]):
            raise ComposeError(
                f"{order.words}: its context {about['context']} is not in the repository there, so "
                f"it would not be that release. {_what_now(order)}"
            )
        image = order.reference
        if name != order.service:
            image = f"{repository_of(image)}:rollback-{name}-{order.commit[:_SHORT]}"
        services[name] = {
            "image": image,
            "build": about,
            **({"platform": definition["platform"]} if definition.get("platform") else {}),
        }
        others = (about.get("additional_contexts") or {}).values()
        wanted += [each[len(_SERVICE) :] for each in others if each.startswith(_SERVICE)]
    return {"name": model["name"], "services": services, **_secrets(model, services, checkout)}


def _is_built(model: t.Mapping[str, t.Any], service: str) -> bool:
    return bool(((model.get("services") or {}).get(service) or {}).get("build"))


def _placed(found: t.Mapping[str, t.Any], checkout: Checkout, platform: str) -> dict[str, t.Any]:
    about = {key: value for key, value in found.items() if key not in _LEFT_OUT}
    about["context"] = checkout.place(about["context"])
    if about.get("dockerfile"):
        about["dockerfile"] = checkout.place(about["dockerfile"])
    contexts = about.get("additional_contexts") or {}
    if contexts:
        about["additional_contexts"] = {
            name: checkout.place(each) for name, each in contexts.items()
        }
    # The Engine keeps the image of one platform, its own.
    if platform in (about.get("platforms") or ()):
        about["platforms"] = [platform]
    return about


def _secrets(
    model: t.Mapping[str, t.Any], services: t.Mapping[str, t.Any], checkout: Checkout
) -> dict[str, t.Any]:
    used = {
        each["source"]
        for about in services.values()
        for each in about["build"].get("secrets") or ()
    }
    secrets = {
        name: {**about, "file": checkout.place(about["file"])} if about.get("file") else about
        for name, about in (model.get("secrets") or {}).items()
        if name in used
    }
    return {"secrets": secrets} if secrets else {}


def _run(project: Project, order: Order, seconds: float) -> None:
    """Compose is a child of ``docker``, and goes on when that one alone is killed."""
    argv = [project.docker, *project.compose_words(progress="plain"), "build", order.service]
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=project.environment(),
        start_new_session=True,
    ) as process:
        try:
            said, _none = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as exc:
            said = _stop(process)
            raise ComposeError(
                f"{order.words}: it did not end within {seconds:g} s and was stopped "
                f"(release_compose_build_timeout).{_ended(said, order)}"
            ) from exc
        except BaseException:
            _stop(process)
            raise
    if process.returncode != 0:
        full = project.full_disk(said)
        why = full or _lacking(project, said)
        raise ComposeError(f"{order.words}.{f' {why}.' if why else ''}{_ended(said, order)}")
    if order.reference not in project.images(order.reference):
        raise ComposeError(
            f"{order.words}: Compose ended well, and the image is not on this host. Does its "
            f"builder keep images elsewhere (docker buildx ls)?{_ended(said, order)}"
        )


def _stop(process: subprocess.Popen[str]) -> str:
    """The Engine stops building when nobody listens to it any more."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_STOP_SECONDS)[0]
    return ""


def _lacking(project: Project, said: str) -> str:
    """What there has to be for such a build, when its builder does not know what it is told."""
    if _BUILDER_LACKS.search(_without_advice(said)):
        return (
            "It needs BuildKit, which docker does not have here, or not as it is set up "
            "(DOCKER_BUILDKIT): install its plugin buildx, or a newer one, from the package "
            "docker-buildx-plugin or docker-buildx"
        )
    if _BUILDER_IS_OLD.search(said):
        return (
            f"The builder of this Engine ({project.engine_version()}) does not know something in "
            "the Dockerfile or in build: here-documents, COPY --link and additional_contexts need "
            "Docker Engine 23 or newer"
        )
    return ""


def _without_advice(said: str) -> str:
    """Compose warns of a missing buildx, also when it builds without it."""
    return "\n".join(line for line in said.splitlines() if "level=warning" not in line)


def _ended(said: str, order: Order) -> str:
    lines = [line for line in _without_advice(said).splitlines() if line.strip()]
    if not lines:
        return f" {_what_now(order)}"
    return "\n".join(["", "The build ended with:", *lines[-_LAST_LINES:], _what_now(order)])


def _what_now(order: Order) -> str:
    return (
        f"No release was changed, and there is no image {order.reference}. Mend that and start "
        "again, or name another release with --to VERSION."
    )


@contextlib.contextmanager
def _told(order: Order) -> t.Iterator[None]:
    try:
        yield
    except (_git_source.SourceError, ComposeError) as exc:
        raise ComposeError(f"{order.words}: {str(exc).rstrip('.')}. {_what_now(order)}") from exc


def _inside(path: Path, root: Path) -> str | None:
    """The path within the folder, or None when it is elsewhere."""
    relative = os.path.relpath(str(path), str(root))
    return None if relative == ".." or relative.startswith("../") else relative
