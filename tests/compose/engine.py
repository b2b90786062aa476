"""A Docker Engine with Compose v2 and the images of the shop: the one that runs, or one of our own.

``python -m tests.compose.engine COMMAND …`` runs a command while there is one, so that several
processes of tests can share it.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.compose.images import docker, make_images

_START_SECONDS = 60
_NEEDED = {"docker": "docker.io", "busybox": "busybox-static"}


class NoEngineError(Exception):
    """There is none, and none may be started; the words say what is missing."""


@contextlib.contextmanager
def running_engine() -> Iterator[None]:
    """``docker`` and ``docker compose`` work meanwhile; raises NoEngineError."""
    _require_programs()
    before = {name: os.environ.get(name) for name in ("DOCKER_HOST", "DOCKER_CONFIG")}
    folder = Path(tempfile.mkdtemp(prefix="rollback-docker-", dir="/var/tmp"))
    daemon = None
    try:
        daemon = None if _works("info") else _start_daemon(folder)
        if not _works("compose", "version"):
            _plug_compose_in(folder)
        with _alone():
            make_images()
        yield
        _remove_kept_tags()
    finally:
        if daemon is not None:
            _stop(daemon)
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _require_programs() -> None:
    missing = [package for name, package in _NEEDED.items() if shutil.which(name) is None]
    if missing:
        raise NoEngineError(f"{' and '.join(missing)} missing: run tests/compose/install.sh")


def _works(*arguments: str) -> bool:
    return subprocess.run(["docker", *arguments], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Two processes would make the same images twice."""
    with Path("/var/tmp/rollback-docker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start_daemon(folder: Path) -> subprocess.Popen[bytes]:
    if shutil.which("dockerd") is None:
        raise NoEngineError("no Docker Engine answers, and there is no dockerd to start one")
    if os.geteuid() != 0 or _fails("unshare", "--mount", "--net", "true"):
        raise NoEngineError("no Docker Engine answers, and this account may not start one")
    os.environ["DOCKER_HOST"] = f"unix://{folder}/docker.sock"
    argv = [
        "dockerd", "--host", os.environ["DOCKER_HOST"], "--data-root", f"{folder}/data",
        "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/dockerd.pid",
    ]  # fmt: skip
    with (folder / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + _START_SECONDS
    while not _works("info"):
        if daemon.poll() is not None or time.monotonic() > deadline:
            _stop(daemon)
            tail = (folder / "dockerd.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"dockerd did not start: {tail}")
        time.sleep(0.2)
    return daemon


def _fails(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode != 0


def _stop(daemon: subprocess.Popen[bytes]) -> None:
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
    if program is None:
        raise NoEngineError("there is no Compose v2: pip install -e '.[compose]'")
    plugins = folder / "config" / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-compose").symlink_to(program)
    os.environ["DOCKER_CONFIG"] = str(plugins.parent)


def _remove_kept_tags() -> None:
    """What rollbacks have left, for the case that the Engine is somebody's own."""
    for tag in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "shop/*").split():
        if ":before-" in tag or ":rollback-" in tag:
            docker("rmi", "--no-prune", tag)


if __name__ == "__main__":
    try:
        with running_engine():
            code = subprocess.run(sys.argv[1:], check=False).returncode
    except NoEngineError as exc:
        sys.stderr.write(f"The tests on Docker Compose are skipped: {exc}.\n")
        code = 0
    sys.exit(code)
