"""A real Docker Engine for the tests: the one that runs, or one of our own while they run."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compose.images import docker, make_images
from tests.compose.stack import Environment, Stack, free_port

_START_SECONDS = 60


@pytest.fixture(scope="session")
def engine() -> Iterator[None]:
    """``docker`` and ``docker compose`` work, and the images of the shop are there."""
    before = {name: os.environ.get(name) for name in ("DOCKER_HOST", "DOCKER_CONFIG")}
    folder = Path(tempfile.mkdtemp(prefix="rollback-docker-", dir="/var/tmp"))
    daemon = None if _works("info") else _start_daemon(folder)
    try:
        if not _works("compose", "version"):
            _plug_compose_in(folder)
        make_images()
        yield
    finally:
        if daemon is not None:
            _stop_daemon(daemon)
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _works(*arguments: str) -> bool:
    return subprocess.run(["docker", *arguments], capture_output=True, check=False).returncode == 0


def _start_daemon(folder: Path) -> subprocess.Popen[bytes]:
    assert shutil.which("dockerd"), "there is no Docker Engine: run tests/compose/install.sh"
    os.environ["DOCKER_HOST"] = f"unix://{folder}/docker.sock"
    argv = [
        "dockerd", "--host", os.environ["DOCKER_HOST"], "--data-root", f"{folder}/data",
        "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/dockerd.pid",
        "--storage-driver", "overlay2",
    ]  # fmt: skip
    with (folder / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + _START_SECONDS
    while not _works("info"):
        if daemon.poll() is not None or time.monotonic() > deadline:
            _stop_daemon(daemon)
            tail = (folder / "dockerd.log").read_text(errors="replace")[-2000:]
            pytest.fail(f"dockerd did not start: {tail}")
        time.sleep(0.2)
    return daemon


def _stop_daemon(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(timeout=60)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _plug_compose_in(folder: Path) -> None:
    """The wheel of Compose v2 brings the program; Docker wants it in a folder of its own."""
    found = importlib.util.find_spec("compose")
    program = Path(found.origin).with_name("docker-compose") if found and found.origin else None
    assert program, "there is no Compose v2: pip install -e '.[compose]'"
    plugins = folder / "config" / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-compose").symlink_to(program)
    os.environ["DOCKER_CONFIG"] = str(plugins.parent)


@pytest.fixture
def stack(engine: None, tmp_path: Path) -> Iterator[Stack]:  # noqa: ARG001
    """Release 1.0.0 of everything, answering users."""
    made = Stack(tmp_path / f"shop{os.getpid()}{time.monotonic_ns() % 10**6}", free_port())
    made.folder.mkdir()
    made.write()
    try:
        made.deploy()
        made.wait_for(200)
        yield made
    finally:
        made.down()
        for tag in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "shop/*").split():
            if ":before-" in tag or ":rollback-" in tag:
                docker("rmi", "--no-prune", tag)


MakeEnvironment = Callable[..., Environment]


@pytest.fixture
def environment(stack: Stack, tmp_path: Path) -> MakeEnvironment:
    """``environment(release_services=[…])``: an inventory for the stack, with these variables."""

    def make(**variables: Any) -> Environment:
        made = Environment(stack, tmp_path, variables)
        made.write()
        return made

    return make


@pytest.fixture
def images(engine: None) -> Callable[..., dict[str, dict[str, str]]]:  # noqa: ARG001
    """``images(web="1.0.0")``: the arguments that name these images."""

    def named(**versions: str) -> dict[str, dict[str, str]]:
        return {
            service: {
                "reference": f"shop/{service}:{version}",
                "id": json.loads(docker("image", "inspect", f"shop/{service}:{version}"))[0]["Id"],
            }
            for service, version in versions.items()
        }

    return named
