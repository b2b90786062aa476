# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A folder for a cluster that is restored aside, and the programs that fill it.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_account import as_account, give_to

_PREFIX = "rollback-pitr-"
_LOCK = "lock"
_PROGRAMS = ("postgres", "pg_controldata", "pg_dump")
PORT = 5432
# A socket's path may have 107 bytes (sun_path); its own folder and name need some of them.
_LONGEST_PATH = 70
LOG_SHOWN = 4000


class ScratchError(RollbackError):
    """The throw-away server did not come up. The live server was not touched."""


@dataclass(frozen=True)
class Scratch:
    """A folder with a data directory, a socket and a log, all of one account."""

    folder: Path
    account: str | None
    bin_dir: Path

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def tablespaces(self) -> Path:
        """Where the cluster's tablespaces are restored to."""
        return self.folder / "tablespaces"

    @property
    def log(self) -> Path:
        """What the server said."""
        return self.folder / "log"

    def login(self, user: str) -> dict[str, t.Any]:
        """The connection options of the running server, as modules know them."""
        return {
            "login_unix_socket": str(self.folder),
            "login_port": PORT,
            "login_user": user,
            "bin_dir": str(self.bin_dir),
        }


def server_programs(bin_dir: str | None, major: str) -> Path:
    """The folder of the server's programs of that major version. Raises ScratchError."""
    usual = [f"/usr/lib/postgresql/{major}/bin", f"/usr/pgsql-{major}/bin"]
    on_path = shutil.which("postgres")
    candidates = [bin_dir] if bin_dir else usual + ([str(Path(on_path).parent)] if on_path else [])
    for candidate in candidates:
        folder = Path(candidate)
        if all(os.access(folder / name, os.X_OK) for name in _PROGRAMS):
            return folder
    raise ScratchError(
        f"the programs of PostgreSQL {major} ({', '.join(_PROGRAMS)}) are not in "
        f"{' or '.join(map(str, candidates))}. Nothing was changed. Install them, or set bin_dir."
    )


@contextlib.contextmanager
def scratch_folder(work_dir: Path, account: str | None, bin_dir: Path) -> t.Iterator[Scratch]:
    """A new folder below ``work_dir``, gone afterwards; what killed runs left there goes too."""
    if len(str(work_dir)) > _LONGEST_PATH:
        raise ScratchError(
            f"{work_dir} is too long for a socket's path ({_LONGEST_PATH} characters at most). "
            "Nothing was changed. Give a shorter work_dir."
        )
    try:
        remove_abandoned(work_dir)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=str(work_dir)))
    except OSError as exc:
        raise ScratchError(
            f"cannot write to {work_dir}: {exc.strerror}. Nothing was changed."
        ) from exc
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        scratch = Scratch(folder, account, bin_dir)
        for path in (scratch.data, scratch.tablespaces):
            path.mkdir(mode=0o700)
            give_to(path, account)
        give_to(folder, account)
        yield scratch
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_abandoned(work_dir: Path) -> None:
    """End the servers and remove the folders of killed runs; a lock marks a living one."""
    for folder in work_dir.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = os.open(folder / _LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _end_server(folder / "data")
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _end_server(data: Path) -> None:
    """End the server that runs on ``data``, if its process still is that server."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        if str(data).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            os.kill(pid, signal.SIGQUIT)


def fill(scratch: Scratch, argv: t.Sequence[str]) -> None:
    """Run the program that writes the data directory. Raises ScratchError."""
    ran = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd="/",
        preexec_fn=as_account(scratch.account),
    )
    if ran.returncode:
        said = " ".join(f"{ran.stdout}\n{ran.stderr}".split())[-LOG_SHOWN:]
        raise ScratchError(
            f"{Path(argv[0]).name} ended with {ran.returncode}: {said}. The live server was not "
            "touched; what was restored aside is removed."
        )
