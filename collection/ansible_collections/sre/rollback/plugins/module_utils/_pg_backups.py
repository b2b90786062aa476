# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups on disk: a folder with a dump, its manifest, and the proof of a restore, if there is one.

``<dest>/<id>/manifest.json``, ``<dest>/<id>/dump`` (a file or a folder, as pg_dump writes it),
``<dest>/<id>/proved.json``. Names that begin with a dot are backups that are not whole.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._pg_dump_files import (
    quick_problem,
    sync,
    write_durably,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import (
    MANIFEST,
    BackupError,
    Manifest,
    read_manifest,
)

PROOF = "proved.json"


@dataclass(frozen=True)
class Backup:
    """A backup as a list shows it. Without ``complete``, ``problem`` says what is wrong with it.

    Complete means that every file is there in its full size; only ``verify_files`` reads them.
    ``proved`` says when and where a restore of it was proved, if ever.
    """

    id: str
    path: str
    database: str
    label: str
    format: str
    bytes: int
    started: str
    finished: str
    server_version: int
    complete: bool
    problem: str
    proved: dict[str, t.Any] | None


def list_backups(dest: Path, database: str | None = None) -> list[Backup]:
    """The backups in ``dest``, the newest first; raises BackupError when it cannot be listed.

    A folder whose manifest cannot be read is listed for every ``database``, because nobody knows
    which it was of.
    """
    try:
        folders = [path for path in dest.iterdir() if path.is_dir() and path.name[0] != "."]
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise BackupError(f"{dest} cannot be listed: {exc.strerror}. Nothing was changed.") from exc
    backups = [describe(path) for path in folders]
    wanted = [one for one in backups if database is None or one.database in ("", database)]
    return sorted(wanted, key=lambda one: (one.finished, _written(one)), reverse=True)


def _written(backup: Backup) -> int:
    """When its manifest was written, in ns: ``finished`` knows seconds, and two may share one."""
    try:
        return (Path(backup.path) / MANIFEST).stat().st_mtime_ns
    except OSError:
        return 0


def describe(backup: Path) -> Backup:
    """One backup, whole or not; its files are not read."""
    try:
        manifest = read_manifest(backup)
    except BackupError as exc:
        return Backup(backup.name, str(backup), "", "", "", 0, "", "", 0, False, str(exc), None)
    problem = quick_problem(backup, manifest)
    return Backup(
        id=manifest.id,
        path=str(backup),
        database=manifest.database,
        label=manifest.label,
        format=manifest.format,
        bytes=manifest.bytes,
        started=manifest.started,
        finished=manifest.finished,
        server_version=manifest.server_version,
        complete=not problem,
        problem=problem,
        proved=read_proof(backup, manifest),
    )


def read_proof(backup: Path, manifest: Manifest) -> dict[str, t.Any] | None:
    """When and where a restore of this very backup was proved, and how long it took."""
    try:
        proof = json.loads((backup / PROOF).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(proof, dict) or proof.pop("manifest_sha256", None) != manifest.digest:
        return None
    return proof


def write_proof(backup: Path, manifest: Manifest, proof: t.Mapping[str, t.Any]) -> None:
    """Note that a restore of this backup was proved; raises OSError where that cannot be noted."""
    text = json.dumps({**proof, "manifest_sha256": manifest.digest}, ensure_ascii=False, indent=1)
    write_durably(backup / PROOF, text + "\n")


def withdraw_proof(backup: Path) -> None:
    """What was proved once does not hold any more; raises OSError where that cannot be noted."""
    (backup / PROOF).unlink(missing_ok=True)
    sync(backup)
