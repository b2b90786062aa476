"""Hosts that are reached over SSH and can go away: an sshd of its own for each, on loopback."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.compose.stack import free_port

_START_SECONDS = 30


class Machine:
    """One host; what is started on it over SSH ends with it."""

    def __init__(
        self,
        name: str,
        folder: Path,
        keys: Keys,
        *,
        address: str = "127.0.0.1",
        within: Sequence[str] = (),
    ) -> None:
        """``within`` begins a command that runs on it, where it is not simply this machine."""
        self.name, self.port = name, free_port()
        self._address, self._within = address, within
        self._folder, self._keys = folder / name, keys
        self._folder.mkdir()
        self._server: subprocess.Popen[bytes] | None = None
        (self._folder / "sshd_config").write_text(self._configuration())

    def _configuration(self) -> str:
        """The Engine and its programs are those of the tests, whoever logs in.

        Each has a home of its own: what somebody's shell does when it starts is not looked at.
        """
        passed = ("PATH", "DOCKER_HOST", "DOCKER_CONFIG")
        variables = {name: os.environ[name] for name in passed if name in os.environ}
        variables["HOME"] = str(self._folder)
        environment = " ".join(f"{name}={value}" for name, value in variables.items())
        return (
            f"Port {self.port}\n"
            f"ListenAddress {self._address}\n"
            f"HostKey {self._keys.host}\n"
            f"AuthorizedKeysFile {self._keys.user}.pub\n"
            f"PidFile {self._folder}/sshd.pid\n"
            "PasswordAuthentication no\n"
            "PermitRootLogin prohibit-password\n"
            "StrictModes no\n"
            "UsePAM no\n"
            "Subsystem sftp internal-sftp\n"
            f"SetEnv {environment}\n"
        )

    def start(self) -> None:
        """It answers."""
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise NoServerError("sshd is missing: run tests/compose/install.sh")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        argv = [*self._within, program, "-D", "-e", "-f", str(self._folder / "sshd_config")]
        with (self._folder / "sshd.log").open("ab") as log:
            self._server = subprocess.Popen(argv, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            log_text = (self._folder / "sshd.log").read_text()
            assert self._server.poll() is None, log_text
            assert time.monotonic() < deadline, log_text
            time.sleep(0.05)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection((self._address, self.port), 1) as client:
            return client.recv(4) == b"SSH-"
        return False

    def die(self) -> None:
        """Everything that runs on it through SSH ends at once, and nothing answers any more."""
        if self._server is None:
            return
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(self._server.pid)
            server.suspend()
            for process in [*server.children(recursive=True), server]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._server.wait()
        self._server = None

    def variables(self) -> dict[str, Any]:
        """How Ansible reaches it."""
        return {
            "ansible_host": self._address,
            "ansible_port": self.port,
            "ansible_user": getpass.getuser(),
            "ansible_ssh_private_key_file": str(self._keys.user),
            "ansible_ssh_common_args": (
                f"-o UserKnownHostsFile={self._keys.known} -o StrictHostKeyChecking=accept-new"
            ),
            "ansible_python_interpreter": sys.executable,
        }


class NoServerError(Exception):
    """There is no sshd; the words say what to do."""


class Keys:
    """A key of the hosts and one of whoever logs in."""

    def __init__(self, folder: Path) -> None:
        self.host, self.user, self.known = folder / "host", folder / "user", folder / "known"
        for key in (self.host, self.user):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
            subprocess.run(argv, check=True)
