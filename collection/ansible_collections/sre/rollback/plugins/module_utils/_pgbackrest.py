# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What pgBackRest has, and how to ask it for a cluster as it was at a moment.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_account import as_account

_INFO_SECONDS = 120
_LINES_SHOWN = 8


class PgBackRestError(RollbackError):
    """pgBackRest cannot give what was asked for. No server was touched."""


@dataclass(frozen=True)
class Stanza:
    """A stanza, the configuration it is in, and the account that may read its repository."""

    name: str
    config: str | None
    account: str | None

    def argv(self, *arguments: str) -> list[str]:
        """The command line of pgBackRest; raises PgBackRestError when it is not installed."""
        program = shutil.which("pgbackrest")
        if program is None:
            raise PgBackRestError(
                "pgbackrest is not on PATH. No server was touched. Install pgBackRest on this host."
            )
        config = [f"--config={self.config}"] if self.config else []
        return [program, *config, f"--stanza={self.name}", "--log-level-file=off", *arguments]


@dataclass(frozen=True)
class BaseBackup:
    """A backup of the whole cluster; ``size`` in bytes when restored."""

    label: str
    stopped: dt.datetime
    size: int
    major: str


def base_backup_before(stanza: Stanza, moment: dt.datetime) -> BaseBackup:
    """The newest backup that was complete at ``moment``. Raises PgBackRestError."""
    backups = _parse_info(stanza, _info(stanza))
    usable = [backup for backup in backups if backup.stopped <= moment]
    if not usable:
        oldest = min((backup.stopped for backup in backups), default=None)
        raise PgBackRestError(
            f"stanza {stanza.name!r} has no backup that was complete at {moment.isoformat()}"
            + (f"; the oldest is of {oldest.isoformat()}" if oldest else "; it has none at all")
            + ". No server was touched. Choose a later target_time."
        )
    return max(usable, key=lambda backup: backup.stopped)


def _info(stanza: Stanza) -> t.Any:
    argv = stanza.argv("--output=json", "--log-level-console=off", "info")
    try:
        ran = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=True,
            timeout=_INFO_SECONDS,
            cwd="/",
            preexec_fn=as_account(stanza.account),
        )
        return json.loads(ran.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as exc:
        said = getattr(exc, "stderr", "") or str(exc)
        raise PgBackRestError(
            f"pgbackrest info failed: {last_lines(said)}. No server was touched."
        ) from exc


def _parse_info(stanza: Stanza, info: t.Any) -> list[BaseBackup]:
    """Fields as in https://pgbackrest.org/command.html#command-info."""
    entry = next((each for each in info if each.get("name") == stanza.name), {})
    status = entry.get("status", {"code": 1, "message": "unknown"})
    if status["code"] != 0:
        raise PgBackRestError(
            f"pgBackRest says of stanza {stanza.name!r}: {status['message']}. No server was "
            "touched. Look at it with: pgbackrest info"
        )
    majors = {each["id"]: str(each["version"]) for each in entry["db"]}
    return [
        BaseBackup(
            label=backup["label"],
            stopped=dt.datetime.fromtimestamp(backup["timestamp"]["stop"], dt.timezone.utc),
            size=int(backup["info"]["size"]),
            major=majors.get(backup["database"]["id"], ""),
        )
        for backup in entry["backup"]
        if not backup.get("error")
    ]


def restore_argv(
    stanza: Stanza, backup: BaseBackup, moment: dt.datetime, *, data: Path, tablespaces: Path
) -> list[str]:
    """The command that writes the cluster below ``data``, set to stop at ``moment``.

    Tablespaces go below ``tablespaces``: pgBackRest would else put them where the live ones are.
    """
    return stanza.argv(
        f"--pg1-path={data}",
        f"--tablespace-map-all={tablespaces}",
        f"--set={backup.label}",
        "--type=time",
        f"--target={moment.strftime('%Y-%m-%d %H:%M:%S.%f+00')}",
        "--target-action=promote",
        "--archive-mode=off",
        "--log-level-console=warn",
        "restore",
    )


def last_lines(text: str) -> str:
    """The end of a program's output in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines[-_LINES_SHOWN:]) or "nothing"
