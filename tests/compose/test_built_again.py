"""Images that are nowhere any more are built again from the git tag of their release."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.compose.conftest import MakeEnvironment, MakeStack
from tests.compose.images import APP, BASE, docker, dockerfile
from tests.compose.stack import COMPOSE_FILE
from tests.module_runner import ModuleResult, RunModule

pytestmark = pytest.mark.compose

_NOBODY = 65534
_CACHED = "RUN --mount=type=cache,target=/cache true"


class Source:
    """Somebody's repository with a Compose file, whose releases are built on the host."""

    def __init__(self, folder: Path, run_module: RunModule) -> None:
        self.folder = folder
        self.name = f"built/{folder.parent.name.replace('_', '-')}"
        self.dest = folder.parent / "source"
        self.run_module = run_module
        folder.mkdir()
        self.git("init", "--quiet")

    def git(self, *words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        argv = ["git", *who, "-C", str(self.folder), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def define(self, build: Mapping[str, Any], **more: Any) -> None:
        """The Compose file, which is JSON here, with one service that is built."""
        web = {"image": f"{self.name}:${{WEB:-1.0.0}}", "build": build}
        model = {"services": {"web": {**web, **more.pop("web", {})}}, **more}
        self.write({"docker-compose.yml": json.dumps(model)})

    def release(self, tag: str) -> None:
        """What is there and not ignored is a release."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", tag)
        self.git("tag", tag)

    def wanted(self, version: str, **more: Any) -> ModuleResult:
        args = {"project_src": str(self.folder), "services": ["web"], "version": version, **more}
        return self.run_module("compose_release_info", args)

    def build(self, version: str, *, check: bool = False, **more: Any) -> ModuleResult:
        found = self.wanted(version, **{k: v for k, v in more.items() if k == "project_src"})
        assert "failed" not in found, found["msg"]
        args = {
            "project_src": str(self.folder),
            "images": found["targets"],
            "dest": str(self.dest),
            **more,
        }
        return self.run_module("compose_build", args, check=check)

    def content(self, version: str, *command: str) -> str:
        """What a command says in the image."""
        return docker("run", "--rm", "--network=none", f"{self.name}:{version}", *command).strip()

    def labels(self, version: str) -> dict[str, str]:
        image = f"{self.name}:{version}"
        found = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", image))
        assert isinstance(found, dict)
        return found

    def tags(self) -> set[str]:
        listed = docker("image", "ls", "--format", "{{.Tag}}", self.name)
        return set(listed.split())


@pytest.fixture
def source(engine: None, tmp_path: Path, run_module: RunModule) -> Iterator[Source]:  # noqa: ARG001
    made = Source(tmp_path / "shop", run_module)
    yield made
    for tag in made.tags():
        docker("rmi", f"{made.name}:{tag}")


def test_image_that_nobody_has_is_built_again_from_its_git_tag(
    make_stack: MakeStack, environment: MakeEnvironment
) -> None:
    """With what only BuildKit can do, as many do."""
    built = COMPOSE_FILE.replace(
        "image: shop/web:${WEB:-1.0.0}", "image: shop/web:${WEB:-1.0.0}\n    build: ./web"
    )
    files = {
        "web/Dockerfile": f"{dockerfile()}{_CACHED}\n",
        "web/app.py": APP.read_text(),
        "web/release.json": json.dumps({"version": "0.9.0"}),
    }
    stack = make_stack("built", compose_file=built, files=files)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    git = ["git", *who, "-C", str(stack.folder)]
    for words in (["init", "-q"], ["add", "web"], ["commit", "-qm", "one"], ["tag", "v0.9.0"]):
        subprocess.run([*git, *words], check=True)
    (stack.folder / "web" / "release.json").write_text(json.dumps({"version": "1.0.0"}))
    before = stack.digest()
    shop = environment(stack, release_services=["web"])
    running = stack.everything()

    looked = shop.run("application", "--to", "0.9.0", "--check")

    assert looked.code == 0, looked.output
    assert stack.everything() == running

    done = shop.run("application", "--to", "0.9.0", "--reason", "a try", "--yes")

    assert done.code == 0, done.output
    assert stack.get() == (200, "0.9.0")
    assert stack.digest() == before
    stack.deploy(web="1.0.0")
    docker("rmi", "shop/web:0.9.0")


def test_every_key_of_build_keeps_its_meaning(source: Source) -> None:
    inline = (
        f"FROM {BASE}\nARG SAYS\n"
        "RUN --mount=type=secret,id=token cp /run/secrets/token /token\n"
        'RUN echo "$$SAYS" > /says; echo "$(ls /sys/class/net)" > /networks; cp /etc/hosts /h\n'
    )
    source.define(
        {
            "context": "./web",
            "dockerfile_inline": inline,
            "args": {"SAYS": "$$5 of ${WHO}"},
            "labels": {"made.of": "${WHO}"},
            "network": "none",
            "extra_hosts": ["till:10.1.2.3"],
            "secrets": ["token"],
            "platforms": ["linux/amd64", "linux/arm64"],
        },
        secrets={"token": {"file": "./token.txt"}},
    )
    source.write(
        {"web/kept": "", "token.txt": "s3cret", ".env": "WHO=ann", ".gitignore": ".env\ntoken.txt"}
    )
    source.release("v0.9.0")

    done = source.build("0.9.0")

    assert done.get("built") == {"web": f"{source.name}:0.9.0"}, done
    assert source.labels("0.9.0")["made.of"] == "ann"
    assert source.content("0.9.0", "/bin/busybox", "cat", "/says", "/token", "/networks") == (
        "$5 of ann\ns3cretlo"
    )
    assert "till" in source.content("0.9.0", "/bin/busybox", "cat", "/h")
    assert not source.dest.exists() or not list(source.dest.iterdir())


def test_release_is_built_as_its_own_compose_file_says(source: Source) -> None:
    """The stage, the Dockerfile and the argument have had other names since."""
    source.define({"context": "./web", "target": "old", "args": {"OF": "then"}})
    source.write({"web/Dockerfile": f"FROM {BASE} AS old\nARG OF\nRUN echo $OF > /of\n"})
    source.release("0.9.0")
    source.define({"context": ".", "dockerfile": "new.Dockerfile", "target": "new"})
    source.write({"new.Dockerfile": f"FROM {BASE} AS new\nRUN echo now > /of\n"})

    assert source.build("0.9.0")["changed"]

    assert source.content("0.9.0", "/bin/busybox", "cat", "/of") == "then"


def test_service_that_compose_did_not_build_then_is_built_as_now(source: Source) -> None:
    source.write({"docker-compose.yml": '{"services": {"web": {"image": "x"}}}'})
    source.write({"web/Dockerfile": f"FROM {BASE}\nRUN echo then > /of\n"})
    source.release("0.9.0")
    source.define({"context": "./web"})
    source.write({"web/Dockerfile": f"FROM {BASE}\nRUN echo now > /of\n"})

    assert source.build("0.9.0")["changed"]

    assert source.content("0.9.0", "/bin/busybox", "cat", "/of") == "then"


def test_file_that_git_does_not_have_is_read_and_not_put_into_the_image(source: Source) -> None:
    source.define({"context": "."}, web={"env_file": ["secrets/web.env"]})
    source.write(
        {
            "Dockerfile": f"FROM {BASE}\nCOPY . /all\n",
            "secrets/web.env": "PASSWORD=x",
            ".gitignore": "secrets",
        }
    )
    source.release("0.9.0")

    assert source.build("0.9.0")["changed"]

    listed = source.content("0.9.0", "/bin/busybox", "find", "/all", "-not", "-path", "*/.git/*")
    assert set(listed.splitlines()) == {
        "/all",
        "/all/.git",
        "/all/.gitignore",
        "/all/Dockerfile",
        "/all/docker-compose.yml",
    }


def test_compose_file_in_a_folder_of_the_repository_names_others_of_it(source: Source) -> None:
    web = {"extends": {"file": "../common.yaml", "service": "built"}}
    image = {"image": f"{source.name}:1.0.0"}
    build = {"context": "web", "dockerfile": "../Dock"}
    source.write(
        {
            "deploy/compose.yaml": json.dumps({"services": {"web": {**image, **web}}}),
            "common.yaml": json.dumps({"services": {"built": {"build": build}}}),
            "Dock": f"FROM {BASE}\nCOPY of /of\n",
            "web/of": "then",
        }
    )
    source.release("0.9.0")
    moved = {"services": {"built": {"build": {"context": "moved"}}}}
    source.write({"common.yaml": json.dumps(moved), "moved/of": "now"})

    assert source.build("0.9.0", project_src=str(source.folder / "deploy"))["changed"]

    assert source.content("0.9.0", "/bin/busybox", "cat", "/of") == "then"


@pytest.mark.skipif(os.geteuid() != 0, reason="files can be given to others by root alone")
def test_repository_of_another_account_is_built_from(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git itself refuses it ("dubious ownership"), and no file of this account says else."""
    monkeypatch.setenv("HOME", str(tmp_path))
    source.define({"context": "./web"})
    source.write({"web/Dockerfile": f"FROM {BASE}\nRUN echo then > /of\n"})
    source.release("0.9.0")
    commit = source.git("rev-parse", "HEAD")
    give_away(source.folder)
    owners = {path: path.lstat().st_uid for path in source.folder.rglob("*")}

    assert source.wanted("0.9.0")["git_revision"] == commit
    assert source.build("0.9.0")["changed"]

    assert source.content("0.9.0", "/bin/busybox", "cat", "/of") == "then"
    assert {path: path.lstat().st_uid for path in source.folder.rglob("*")} == owners


def give_away(folder: Path) -> None:
    """To an account that is not ours."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, _NOBODY, _NOBODY, follow_symlinks=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="files can be given to others by root alone")
def test_submodule_is_taken_from_where_its_owner_has_it(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_module: RunModule
) -> None:
    """Where it came from is not asked: that wants the owner's key, and a network."""
    monkeypatch.setenv("HOME", str(tmp_path))
    other = Source(tmp_path / "parts", run_module)
    other.write({"of": "then"})
    other.release("1")
    source.git(
        "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.folder), "lib"
    )
    source.define({"context": "."})
    source.write({"Dockerfile": f"FROM {BASE}\nCOPY lib/of /of\n"})
    source.release("0.9.0")
    shutil.rmtree(other.folder)
    give_away(source.folder)

    assert source.build("0.9.0")["changed"]

    assert source.content("0.9.0", "/bin/busybox", "cat", "/of") == "then"


@pytest.mark.skipif(os.geteuid() != 0, reason="files can be given to others by root alone")
def test_repository_that_a_stranger_has_put_above_the_project_is_none(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    source.define({"context": "./web"})
    source.write({"web/Dockerfile": f"FROM {BASE}\n"})
    source.release("0.9.0")
    give_away(source.folder / ".git")

    refused = source.wanted("0.9.0")

    assert "there is no git tag to build it from" in refused["msg"]


def test_image_named_after_its_commit_is_built_from_that(source: Source) -> None:
    source.define({"context": "./web"})
    source.write({"web/Dockerfile": f"FROM {BASE}\nRUN echo then > /of\n"})
    source.release("0.9.0")
    commit = source.git("rev-parse", "--short", "HEAD")
    source.git("branch", "stable")

    assert source.wanted(commit)["targets"]["web"]["build"]["tag"] == commit
    assert "there is no git tag to build it from" in source.wanted("stable")["msg"]


def test_no_other_tag_is_moved_and_nothing_is_built_twice(source: Source) -> None:
    latest = f"{source.name}:latest"
    docker("tag", BASE, latest)
    source.define({"context": "./web", "tags": [latest], "pull": True})
    source.write({"web/Dockerfile": f"FROM {BASE}\nRUN echo then > /of\n"})
    source.release("0.9.0")
    meant = docker("inspect", "--format", "{{.Id}}", latest)
    targets = source.wanted("0.9.0")["targets"]

    foretold = source.build("0.9.0", check=True)

    assert foretold["changed"]
    assert source.tags() == {"latest"}

    assert source.build("0.9.0")["changed"]
    again = source.build("0.9.0", images=targets)

    assert not again["changed"]
    assert source.tags() == {"latest", "0.9.0"}
    assert docker("inspect", "--format", "{{.Id}}", latest) == meant


def test_tag_that_means_another_image_by_now_stays_and_the_good_one_is_built(
    source: Source, tmp_path: Path, run_module: RunModule
) -> None:
    """It was taken for the good one before: it was there, so it was not built."""
    source.define({"context": "./web"})
    source.write({"web/Dockerfile": f"FROM {BASE}\nRUN echo then > /of\n"})
    source.release("0.9.0")
    named = f"{source.name}:0.9.0"
    docker("tag", BASE, named)
    meant = docker("inspect", "--format", "{{.Id}}", named)
    registry = str(tmp_path / "good.jsonl")
    lost = {"web": {"reference": named, "id": f"sha256:{'0' * 64}"}}
    args = {"path": registry, "state": "good", "version": "0.9.0", "images": lost}
    assert run_module("release_registry", args)["changed"]

    target = source.wanted("", registry=registry)["targets"]

    ours = f"rollback-0.9.0-{source.git('rev-parse', 'HEAD')[:12]}"
    assert (target["web"]["how"], target["web"]["reference"]) == ("build", f"{source.name}:{ours}")
    assert source.build("0.9.0", images=target)["changed"]
    assert source.content(ours, "/bin/busybox", "cat", "/of") == "then"
    assert docker("inspect", "--format", "{{.Id}}", named) == meant
    assert source.wanted("", registry=registry)["targets"]["web"]["how"] == "there"


def test_build_that_fails_shows_how_it_ended_and_leaves_nothing(source: Source) -> None:
    source.define({"context": "./web"})
    source.write({"web/Dockerfile": f"FROM {BASE}\nRUN echo no such wheel; exit 3\n"})
    source.release("0.9.0")

    refused = source.build("0.9.0")

    assert (
        f"image {source.name}:0.9.0 for service web could not be built from 0.9.0"
        in (refused["msg"])
    )
    assert "no such wheel" in refused["msg"]
    assert "No release was changed, and there is no image" in refused["msg"]
    assert source.tags() == set()
    assert not list(source.dest.iterdir())


def test_build_that_hangs_is_stopped_and_does_not_go_on_in_the_engine(source: Source) -> None:
    source.define({"context": "./web"})
    source.write({"web/Dockerfile": f"FROM {BASE}\nRUN echo begun; /bin/busybox sleep 4711\n"})
    source.release("0.9.0")

    refused = source.build("0.9.0", timeout=8)

    assert "it did not end within 8 s and was stopped" in refused["msg"]
    assert "begun" in refused["msg"]
    _until(lambda: not _runs("sleep\0004711"))
    assert not _runs(str(source.dest))
    assert source.tags() == set()


def _runs(words: str) -> bool:
    """Whether a process with these words runs, in the Engine or beside it."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if words.encode() in path.read_bytes():
                return True
        except OSError:
            continue
    return False


def _until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.2)


def test_without_buildkit_it_says_what_to_install(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.define({"context": "./web"})
    source.write({"web/Dockerfile": f"FROM {BASE}\n{_CACHED}\n"})
    source.release("0.9.0")
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")

    refused = source.build("0.9.0")

    assert "It needs BuildKit" in refused["msg"]
    assert "docker-buildx" in refused["msg"]
    assert "No release was changed" in refused["msg"]


def test_with_an_old_engine_it_says_which_one_knows_here_documents(source: Source) -> None:
    version = docker("version", "--format", "{{.Server.Version}}").strip()
    if int(version.partition(".")[0]) >= 23:
        pytest.skip(f"Docker Engine {version} knows them")
    source.define({"context": "./web"})
    source.write({"web/Dockerfile": f"FROM {BASE}\nRUN <<EOF\necho then > /of\nEOF\n"})
    source.release("0.9.0")

    refused = source.build("0.9.0")

    assert f"The builder of this Engine ({version}) does not know" in refused["msg"]
    assert "Docker Engine 23 or newer" in refused["msg"]


def test_source_outside_of_the_repository_is_not_taken_for_that_of_the_release(
    source: Source,
) -> None:
    """What lies there has no version; it was the repository itself that was built before."""
    source.define({"context": "../web"})
    source.write({"web/Dockerfile": f"FROM {BASE}\n", "../web/Dockerfile": f"FROM {BASE}\n"})
    source.release("0.9.0")
    source.define({"context": "./web"})

    refused = source.build("0.9.0")

    assert f"its context {source.folder.parent / 'web'} is not in the repository" in refused["msg"]


def test_images_that_do_not_say_what_they_are_built_from_are_refused(source: Source) -> None:
    source.define({"context": "./web"})
    args = {"project_src": str(source.folder), "dest": str(source.dest)}

    refused = source.run_module("compose_build", {**args, "images": {"web": {"how": "build"}}})

    assert "images: web does not say 'build'" in refused["msg"]
    assert "Nothing was built" in refused["msg"]


def test_image_that_is_made_of_that_of_another_service_leaves_that_tag_alone(
    source: Source, tmp_path: Path
) -> None:
    """Compose builds both, with buildx; it is only looked at what it is told."""
    source.define(
        {"context": "./web", "additional_contexts": {"base": "service:base", "more": "./more"}}
    )
    model = json.loads((source.folder / "docker-compose.yml").read_text())
    model["services"]["base"] = {"image": f"{source.name}:base", "build": "./base"}
    model["services"]["api"] = {"image": f"{source.name}:api", "build": "./api"}
    source.write({"docker-compose.yml": json.dumps(model)})
    source.write({f"{name}/Dockerfile": f"FROM {BASE}\n" for name in ("web", "base", "more")})
    source.release("0.9.0")
    commit = source.git("rev-parse", "HEAD")[:12]
    seen = tmp_path / "seen.json"
    listening = tmp_path / "docker"
    listening.write_text(
        "#!/bin/sh\n"
        f'for word; do case $word in */build.json) cp "$word" {seen};; esac; done\n'
        'exec docker "$@"\n'
    )
    listening.chmod(0o755)

    source.build("0.9.0", docker_cli=str(listening))

    told = json.loads(seen.read_text())["services"]
    assert {name: about["image"] for name, about in told.items()} == {
        "web": f"{source.name}:0.9.0",
        "base": f"{source.name}:rollback-base-{commit}",
    }
    checkout = source.dest / commit / "shop"
    assert told["web"]["build"]["additional_contexts"] == {
        "base": "service:base",
        "more": str(checkout / "more"),
    }
    assert told["base"]["build"]["context"] == str(checkout / "base")
