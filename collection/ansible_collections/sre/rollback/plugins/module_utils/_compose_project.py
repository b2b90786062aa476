# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One Docker Compose project, asked and told through the programs of Docker.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._docker_health_check import (
    health_check_command,
)
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

_LABEL = "com.docker.compose."
#: The name that the Engine gives to a volume without one.
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
#: The names that Compose looks for, and those of the override to it.
DEFAULT_FILES = (
    ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"),
    (
        "compose.override.yaml",
        "compose.override.yml",
        "docker-compose.override.yml",
        "docker-compose.override.yaml",
    ),
)
#: Bytes without which no container starts: its log, its state, and a layer of its own.
_ROOM = 1 << 20


class ComposeError(RollbackError):
    """The project is not as asked for; the message says what runs."""


@dataclass(frozen=True)
class Container:
    """One container of a service, as the Engine describes it."""

    id: str
    name: str
    service: str
    #: What was asked for when it was created, and the image that this was then.
    reference: str
    image_id: str
    running: bool
    #: Whether it has ended and the Engine starts it again and again.
    restarting: bool
    #: The command of its own health check; empty where it has none.
    health_check: tuple[str, ...]
    health: str
    exit_code: int
    restarts: int
    created: str
    #: Of its first process, as the Engine's host numbers it; 0 while it does not run.
    pid: int
    #: Bytes that it may have; 0 for no limit.
    memory_limit: int
    #: Whether it writes to a volume without a name, which no other container gets.
    own_data: bool

    @property
    def alive(self) -> bool:
        """Whether it runs and its own health check does not say otherwise."""
        return self.running and self.health != "unhealthy"

    @property
    def completed(self) -> bool:
        """Whether it has done what it was for, as a container that migrates and ends."""
        return not self.running and not self.restarting and self.exit_code == 0


@dataclass(frozen=True)
class Image:
    """One image on the host."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    architecture: str
    #: When it was last tagged, which is when it was pulled or built here; ISO 8601.
    arrived: str


@dataclass(frozen=True)
class Project:
    """Where the Compose file is, and how Docker is called."""

    directory: str
    files: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    name: str = ""
    docker: str = "docker"
    docker_host: str = ""
    #: Seconds within which a question has to be answered.
    patience: float = 60.0
    #: File descriptors that every program is given, which holds their locks for as long as it runs.
    held: tuple[int, ...] = ()

    def compose(self, *arguments: str, override: str = "", timeout: float | None = None) -> str:
        """The output of ``docker compose``; raises ComposeError with its last lines.

        With an override the user's own files are named too, since Compose looks for them only
        where no file is named.
        """
        argv = self.compose_words(override=override)
        try:
            return self.run(*argv, *arguments, timeout=timeout)
        except ComposeError as exc:
            full = self.full_disk(str(exc))
            if not full:
                raise
            raise ComposeError(f"{str(exc).rstrip('.')}. {full}", **exc.result) from exc

    def compose_words(self, *, override: str = "", progress: str = "quiet") -> list[str]:
        """The words of ``docker compose`` that say which project it is."""
        argv = ["compose", "--project-directory", self.directory, f"--progress={progress}"]
        for option, values in (
            ("--file", self._files(override)),
            ("--env-file", self.env_files),
            ("--profile", self.profiles),
        ):
            argv += [word for value in values for word in (option, value)]
        if self.name:
            argv += ["--project-name", self.name]
        return argv

    def environment(self) -> dict[str, str]:
        """What ``docker`` is given as environment."""
        host = {"DOCKER_HOST": self.docker_host} if self.docker_host else {}
        return {**os.environ, **host}

    def full_disk(self, words: str) -> str:
        """What Docker does not always say of itself when it fails for want of room."""
        host = self.docker_host or os.environ.get("DOCKER_HOST", "")
        if "no space left on device" in words or (host and not host.startswith("unix:")):
            return ""
        try:
            root = self.run("info", "--format", "{{.DockerRootDir}}", fails=False).strip()
            free = shutil.disk_usage(root).free
        except (ComposeError, OSError):
            return ""
        return (
            f"The disk of Docker is full ({root}): no space left on device" if free < _ROOM else ""
        )

    def _files(self, override: str) -> list[str]:
        folder = Path(self.directory)
        found = [str(folder / name) for name in self.files or self._default_files()]
        if not found:
            raise ComposeError(
                f"there is no Compose file in {self.directory}. Nothing was changed."
            )
        return [*found, *([override] if override else [])]

    def _default_files(self) -> list[str]:
        """What Compose would read by itself: the first of its names, and the override to it."""
        chosen = []
        for names in DEFAULT_FILES:
            there = [name for name in names if (Path(self.directory) / name).exists()]
            chosen += there[:1]
        return chosen

    def run(
        self,
        *arguments: str,
        timeout: float | None = None,
        fails: bool = True,
        joined: bool = False,
        given: str | None = None,
    ) -> str:
        """The output of ``docker``; raises ComposeError with its last lines.

        It reads what is ``given``. ``joined`` adds what it wrote to stderr, half of a log.
        """
        seconds = self.patience if timeout is None else timeout
        try:
            done = subprocess.run(
                [self.docker, *arguments],
                stdin=subprocess.DEVNULL if given is None else None,
                input=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if joined else subprocess.PIPE,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
                env=self.environment(),
                pass_fds=self.held,
            )
        except FileNotFoundError as exc:
            raise ComposeError(f"there is no program {self.docker!r} on this host.") from exc
        except subprocess.TimeoutExpired as exc:
            raise ComposeError(
                f"docker {' '.join(arguments[:6])} did not end within {seconds:g} s and was "
                "stopped; what it had begun may go on in the Engine."
            ) from exc
        if fails and done.returncode != 0:
            if _lacks_compose(done.stderr or ""):
                raise ComposeError(
                    "docker on this host has no Compose v2 (docker compose version). Install its "
                    "plugin, docker-compose-plugin or docker-compose-v2. Nothing was changed."
                )
            words = ((done.stderr or "").strip() or done.stdout.strip())[-800:]
            program = f"{Path(self.docker).name} {_subject(arguments)}"
            raise ComposeError(f"{program}: {words or done.returncode}")
        return done.stdout

    def model(self, override: str = "") -> dict[str, t.Any]:
        """The whole definition with every variable filled in; raises ComposeError."""
        found = json.loads(self.compose("config", "--format", "json", override=override))
        return t.cast(t.Dict[str, t.Any], found)

    def containers(self, project: str) -> list[Container]:
        """Those of the project's services, running or not, without one-off ones."""
        mine = f"label={_LABEL}project={project}"
        ids = self.run("ps", "--all", "--quiet", "--no-trunc", "--filter", mine).split()
        if not ids:
            return []
        found = json.loads(self.run("inspect", "--type", "container", *ids, fails=False) or "[]")
        all_of_them = [container_from(each) for each in found if not _is_one_off(each)]
        return sorted(all_of_them, key=lambda each: each.created)

    def described(self, names: t.Sequence[str]) -> dict[str, Container]:
        """The containers by what was asked for, name or id; those that are gone are left out."""
        if not names:
            return {}
        text = self.run("inspect", "--type", "container", *names, fails=False)
        found = [container_from(each) for each in json.loads(text or "[]")]
        by_name = {name: each for each in found for name in (each.id, each.name)}
        return {name: by_name[name] for name in names if name in by_name}

    def images(self, *references: str) -> dict[str, Image]:
        """The images on this host by what was asked for; what is not there is left out."""
        wanted = list(dict.fromkeys(filter(None, references)))
        if not wanted:
            return {}
        text = self.run("image", "inspect", *wanted, fails=False)
        found = [image_from(each) for each in json.loads(text or "[]")]
        if len(found) == len(wanted):
            return dict(zip(wanted, found))
        # One is not there, and the answer does not say which.
        named = {name: image for image in found for name in (image.id, *image.tags, *image.digests)}
        matched = {each: named[each] for each in wanted if each in named}
        if len(matched) == len(found):
            return matched
        singly = (self.images(each) for each in wanted if len(wanted) > 1)
        return {reference: image for each in singly for reference, image in each.items()}

    def images_of(self, repository: str) -> list[Image]:
        """Those with a tag in the repository, the one that arrived last first."""
        text = self.run("image", "ls", "--quiet", "--no-trunc", repository)
        ids = list(dict.fromkeys(text.split()))
        if not ids:
            return []
        found = [image_from(each) for each in json.loads(self.run("image", "inspect", *ids))]
        return sorted(found, key=lambda each: each.arrived, reverse=True)

    def architecture(self) -> str:
        """Of the Engine."""
        return self.run("version", "--format", "{{.Server.Arch}}").strip()

    def platform(self) -> str:
        """Of the Engine, as ``build:`` names one."""
        return self.run("version", "--format", "{{.Server.Os}}/{{.Server.Arch}}").strip()

    def engine_version(self) -> str:
        return self.run("version", "--format", "{{.Server.Version}}").strip()


def container_from(found: t.Mapping[str, t.Any]) -> Container:
    """From the Engine's description."""
    state, config = found["State"], found["Config"]
    return Container(
        id=found["Id"],
        name=found["Name"].lstrip("/"),
        service=(config.get("Labels") or {}).get(_LABEL + "service", ""),
        reference=config["Image"],
        image_id=found["Image"],
        running=state["Running"] and not state.get("Restarting", False),
        restarting=bool(state.get("Restarting", False)),
        health_check=health_check_command(config),
        health=(state.get("Health") or {}).get("Status", ""),
        exit_code=state.get("ExitCode", 0),
        restarts=found.get("RestartCount", 0),
        created=found["Created"],
        pid=state.get("Pid", 0),
        memory_limit=(found.get("HostConfig") or {}).get("Memory", 0),
        own_data=any(_is_own_data(mount) for mount in found.get("Mounts") or ()),
    )


def image_from(found: t.Mapping[str, t.Any]) -> Image:
    """From the Engine's description."""
    return Image(
        id=found["Id"],
        tags=tuple(found.get("RepoTags") or ()),
        digests=tuple(found.get("RepoDigests") or ()),
        architecture=found.get("Architecture", ""),
        arrived=(found.get("Metadata") or {}).get("LastTagTime") or found.get("Created") or "",
    )


def repository_of(reference: str) -> str:
    """``host:5000/shop/web:1.2`` is in ``host:5000/shop/web``."""
    name = reference.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


def tag_of(reference: str) -> str:
    """The tag, ``latest`` where none is written; empty for a digest or an image id."""
    if "@" in reference or reference.startswith("sha256:"):
        return ""
    repository = repository_of(reference)
    return reference[len(repository) + 1 :] or "latest"


def replicas_of(service: t.Mapping[str, t.Any]) -> int:
    """How many containers of a service the definition asks for."""
    deploy = service.get("deploy") or {}
    return int(service.get("scale") or deploy.get("replicas") or 1)


def connection_spec() -> dict[str, t.Any]:
    """The options of a module that name a project."""
    return {
        "project_src": {"type": "path", "required": True},
        "project_name": {"type": "str", "default": ""},
        "files": {"type": "list", "elements": "path", "default": []},
        "env_files": {"type": "list", "elements": "path", "default": []},
        "profiles": {"type": "list", "elements": "str", "default": []},
        "docker_cli": {"type": "path", "default": "docker"},
        "docker_host": {"type": "str", "default": ""},
    }


def project_from(params: t.Mapping[str, t.Any]) -> Project:
    """From a module's parameters."""
    return Project(
        directory=params["project_src"],
        files=tuple(params["files"]),
        env_files=tuple(params["env_files"]),
        profiles=tuple(params["profiles"]),
        name=params["project_name"],
        docker=params["docker_cli"],
        docker_host=params["docker_host"],
    )


def _is_own_data(mount: t.Mapping[str, t.Any]) -> bool:
    name = str(mount.get("Name") or "")
    return bool(mount.get("RW")) and bool(_ANONYMOUS.fullmatch(name))


def _is_one_off(found: t.Mapping[str, t.Any]) -> bool:
    labels = found["Config"].get("Labels") or {}
    return str(labels.get(_LABEL + "oneoff", "")).lower() == "true"


def _lacks_compose(words: str) -> bool:
    return (
        "unknown flag: --project-directory" in words or "'compose' is not a docker command" in words
    )


def _subject(arguments: t.Sequence[str]) -> str:
    """The words of a command that say what it does; a Compose command has many options first."""
    verbs = [word for word in arguments if not word.startswith("-") and "/" not in word]
    return " ".join(verbs[:3])
