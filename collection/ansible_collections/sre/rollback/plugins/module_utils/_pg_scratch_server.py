# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A throw-away server on a restored data directory, which nobody but this host can talk to and
which talks to nobody: it archives nothing, replicates nothing and runs no jobs.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._pg_account import as_account, give_to
from ansible_collections.sre.rollback.plugins.module_utils._pg_scratch import (
    LOG_SHOWN,
    PORT,
    Scratch,
    ScratchError,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    DatabaseUnreachableError,
    connect,
)

_PAUSE = 0.1
_STOP_SECONDS = 30

# WAL can be replayed only with at least what the origin had (pg_controldata's words).
_FROM_CONTROL = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}
# On the command line, because that wins over postgresql.auto.conf of the origin.
_HARMLESS = {
    "listen_addresses": "",
    "port": str(PORT),
    "archive_mode": "off",
    "max_logical_replication_workers": "0",
    "synchronous_standby_names": "",
    "hot_standby": "off",
    "recovery_target_action": "promote",
    "ssl": "off",
    "shared_buffers": "128MB",
    "huge_pages": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "lc_messages": "C",
    "log_timezone": "UTC",
    # It is thrown away after its first dump.
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}
_REACHED = re.compile(r"last completed transaction was at log time (.+)$", re.M)
_NOT_REACHED = "recovery ended before configured recovery target was reached"


@contextlib.contextmanager
def running(scratch: Scratch, user: str, *, preload: str, timeout: float) -> t.Iterator[str | None]:
    """The server, recovered to its target and promoted; the time of its last transaction.

    Raises ScratchError when it does not get there within ``timeout`` seconds.
    """
    argv = _server_argv(scratch, preload)
    with scratch.log.open("wb") as log:
        server = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
            preexec_fn=as_account(scratch.account),
        )
    try:
        _wait_until_promoted(scratch, server, user, timeout)
        found = _REACHED.search(_said(scratch))
        yield found.group(1).strip() if found else None
    finally:
        _stop(server)


def _server_argv(scratch: Scratch, preload: str) -> list[str]:
    config, hba = scratch.folder / "postgresql.conf", scratch.folder / "pg_hba.conf"
    config.write_text("")
    # The socket's folder is the account's alone.
    hba.write_text("local all all trust\n")
    for path in (config, hba):
        give_to(path, scratch.account)
    settings = {
        **_control_settings(scratch),
        **_HARMLESS,
        "config_file": str(config),
        "hba_file": str(hba),
        "ident_file": os.devnull,
        "unix_socket_directories": str(scratch.folder),
        "shared_preload_libraries": preload,
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    return [str(scratch.bin_dir / "postgres"), "-D", str(scratch.data), *options]


def _control_settings(scratch: Scratch) -> dict[str, str]:
    try:
        ran = subprocess.run(
            [str(scratch.bin_dir / "pg_controldata"), str(scratch.data)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "LC_ALL": "C"},
            cwd="/",
            preexec_fn=as_account(scratch.account),
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise ScratchError(
            f"the restored data directory cannot be read: {exc}. The live server was not touched."
        ) from exc
    lines = (line.split(":", 1) for line in ran.stdout.splitlines() if ":" in line)
    return {
        _FROM_CONTROL[name.strip()]: value.strip()
        for name, value in lines
        if name.strip() in _FROM_CONTROL
    }


def _wait_until_promoted(
    scratch: Scratch, server: subprocess.Popen[bytes], user: str, timeout: float
) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise ScratchError(_why_it_ended(scratch))
        if _is_promoted(scratch, user):
            return
        time.sleep(_PAUSE)
    raise ScratchError(
        f"recovery took longer than timeout ({timeout:g} s) and was ended. The live server was not "
        "touched. Give a longer timeout.",
        log=_said(scratch)[-LOG_SHOWN:],
    )


def _is_promoted(scratch: Scratch, user: str) -> bool:
    try:
        connection = connect(scratch.login(user), "postgres")
    except DatabaseUnreachableError:
        return False
    with contextlib.closing(connection):
        row = connection.execute("SELECT NOT pg_is_in_recovery()").fetchone()
        return bool(row and row[0])


def _why_it_ended(scratch: Scratch) -> str:
    said = _said(scratch)
    if _NOT_REACHED in said:
        return (
            "the archived WAL ends before target_time, or nothing was committed after it. The live "
            "server was not touched. Archive what is written so far (SELECT pg_switch_wal() on "
            "the live server), or choose an earlier target_time."
        )
    fatal = [line for line in said.splitlines() if "FATAL" in line or "PANIC" in line]
    return (
        f"the server on the restored data ended: {' '.join(fatal[-2:]) or said[-500:]}. The live "
        "server was not touched."
    )


def _said(scratch: Scratch) -> str:
    with contextlib.suppress(OSError):
        return scratch.log.read_text("utf-8", "replace")
    return ""


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.send_signal(signal.SIGQUIT)
    try:
        server.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
