"""A host that can be closed: systemd runs it, and others reach it through networks of their own.

Its network, with Docker's bridges and rules, is that of the Engine of the tests; they have one to
themselves, so that nobody else is shut out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.compose.engine import OWN_ENGINE

_SYSTEMD = Path("/lib/systemd/systemd")
_NEEDED = ("nft", "ip", "nsenter", "unshare", "systemctl")
_START_SECONDS = 30

#: The groups of control are its own, so are /run and what is written in /etc. None of the machine's
#: units is started.
_HOST = """
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/systemd/system /run/lock /run/sshd
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/units"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" none /etc
mount -t tmpfs none /etc/systemd/system
for target in default sysinit basic shutdown timers; do
  printf '[Unit]\\nDefaultDependencies=no\\n' >"$1/units/$target.target"
done
umount --recursive /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
exec env container=tests SYSTEMD_UNIT_PATH="$1/units:/etc/systemd/system:/run/systemd/system" \
  "$2" --system --unit=default.target
"""


_ALONE = (
    "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--cgroup", "--mount-proc",
)  # fmt: skip


@dataclass(frozen=True)
class Host:
    """What the first process of it is."""

    pid: int

    @property
    def within(self) -> list[str]:
        """What begins a command that runs on it."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--cgroup"]

    def says(self, *command: str) -> str:
        argv = [*self.within, *command]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@dataclass(frozen=True)
class Peer:
    """Somebody in a network of their own, who reaches the host at an address."""

    pid: int
    host: str

    @property
    def within(self) -> list[str]:
        """What begins a command that comes from there."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net"]

    def hears(self, port: int, ask: str = "") -> str:
        """What is answered within two seconds; empty when nothing is."""
        program = (
            "import socket, sys\n"
            "with socket.create_connection((sys.argv[1], int(sys.argv[2])), 2) as connection:\n"
            "    connection.sendall(sys.argv[3].encode())\n"
            "    print(connection.recv(4096).decode())\n"
        )
        argv = [*self.within, sys.executable, "-c", program, self.host, str(port), ask]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout

    @contextmanager
    def listening(self) -> Iterator[str]:
        """The URL at which they wait for somebody to bring them something."""
        address, port = self.host.rpartition(".")[0] + ".2", 8123
        program = (
            "import socket, sys\n"
            "with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:\n"
            "    while True:\n"
            "        with server.accept()[0] as connection:\n"
            "            connection.recv(4096)\n"
            "            connection.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\nthanks')\n"
        )
        argv = [sys.executable, "-c", program, address, str(port)]
        process = subprocess.Popen([*self.within, *argv])
        try:
            yield f"http://{address}:{port}/"
        finally:
            process.kill()
            process.wait()


@contextmanager
def host(folder: Path) -> Iterator[Host]:
    """Run by systemd, in the network of this process."""
    _require()
    group = _control_groups() / f"rollback-tests-{os.getpid()}"
    group.mkdir()
    # In it before its groups become its own.
    enter = ["sh", "-ec", 'echo $$ >"$0/cgroup.procs"; exec "$@"', str(group)]
    argv = [*enter, "unshare", *_ALONE, "sh", "-ec", _HOST, "sh", str(folder), str(_SYSTEMD)]
    with (folder.parent / "systemd.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        found = Host(_first_child(process))
        _wait_for(found, folder.parent / "systemd.log")
        yield found
    finally:
        process.kill()
        process.wait()
        _remove(group)


@contextmanager
def peer(name: str, number: int) -> Iterator[Peer]:
    """Their network is 10.77.NUMBER.0/24."""
    process = subprocess.Popen(["unshare", "--net", "sleep", "86400"])
    try:
        _wait_until(lambda: _net(process.pid) != _net(os.getpid()), "no network of its own")
        made = Peer(process.pid, f"10.77.{number}.1")
        outside = f"peer-{name}"[:15]
        _ip("link", "add", outside, "type", "veth", "peer", "inside", "netns", str(process.pid))
        _ip("address", "add", f"{made.host}/24", "dev", outside)
        _ip("link", "set", outside, "up")
        for command in (
            f"address add 10.77.{number}.2/24 dev inside",
            "link set inside up",
            "link set lo up",
        ):
            subprocess.run([*made.within, "ip", *command.split()], check=True)
        yield made
    finally:
        process.kill()
        process.wait()


def _require() -> None:
    if OWN_ENGINE not in os.environ:
        pytest.skip("the Engine is somebody's own, whose network is not closed")
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing or not _SYSTEMD.exists():
        pytest.skip(f"{' and '.join(missing) or 'systemd'} missing: run tests/compose/install.sh")


def _control_groups() -> Path:
    """Where version 2 of them is."""
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return Path(line.split()[1])
    pytest.skip("there are no control groups of version 2 for a systemd")


def _first_child(process: subprocess.Popen[bytes]) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    _wait_until(lambda: bool(children.read_text().split()), "unshare has no child")
    return int(children.read_text().split()[0])


def _wait_for(found: Host, log: Path) -> None:
    argv = [*found.within, "systemctl", "is-system-running"]

    def runs() -> bool:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return done.stdout.strip() in ("running", "degraded")

    _wait_until(runs, log)


def _wait_until(true: Callable[[], bool], otherwise: str | Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not true():
        words = otherwise.read_text(errors="replace") if isinstance(otherwise, Path) else otherwise
        assert time.monotonic() < deadline, words
        time.sleep(0.05)


def _net(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _remove(group: Path) -> None:
    """Those in it first, when the last of its processes is gone."""

    def removed() -> bool:
        with suppress(OSError):
            for path in sorted((each for each in group.rglob("*") if each.is_dir()), reverse=True):
                path.rmdir()
            group.rmdir()
        return not group.exists()

    _wait_until(removed, f"{group} is still in use")
