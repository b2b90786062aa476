# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups on disk: a folder with a dump, its manifest, and the proof of a restore, if there is one.

``<dest>/<id>/manifest.json``, ``<dest>/<id>/dump`` (a file or a folder, as pg_dump writes it),
``<dest>/<id>/proved.json``. Names that begin with a dot are backups that are not whole.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import typing as t
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_objects import DatabaseObject

MANIFEST = "manifest.json"
DUMP = "dump"
PROOF = "proved.json"
_VERSION = 1
_CHUNK = 1 << 20


class BackupError(RollbackError):
    """A backup that cannot be used: missing, cut, changed, or not the manifest's."""


@dataclass(frozen=True)
class Manifest:
    """What a backup holds, all of it seen in one snapshot of the database.

    Times are ISO 8601 in UTC; versions are PostgreSQL's numbers (180006). ``tables`` has ``rows``,
    ``digest`` and ``bytes`` for each; ``sequences`` the value ``before`` and ``after`` the dump,
    because sequences are not part of a snapshot. ``database_bytes`` is the size on the server,
    ``bytes`` that of the dump.
    """

    id: str
    database: str
    label: str
    format: str
    server_version: int
    client_version: int
    started: str
    finished: str
    bytes: int
    database_bytes: int
    algorithm: str
    properties: dict[str, t.Any]
    files: dict[str, dict[str, t.Any]]
    tables: dict[str, dict[str, t.Any]]
    large_objects: dict[str, t.Any]
    sequences: dict[str, dict[str, t.Any]]
    extensions: dict[str, str]
    roles: list[str]
    tablespaces: list[str]
    objects: list[DatabaseObject] = field(repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 of everything the manifest says; names the backup's content."""
        return _digest({"version": _VERSION, **asdict(self)})

    @property
    def major(self) -> int:
        """Major version of the server that was dumped."""
        return self.server_version // 10000


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


def without_rows(manifest: Manifest) -> Manifest:
    """What the manifest would say of a database made of the dump's definitions alone."""
    nothing = {"rows": 0, "digest": "0" * 64}
    return replace(
        manifest,
        tables={name: {**one, **nothing} for name, one in manifest.tables.items()},
        large_objects=nothing,
        # Wherever they stand: a dump has their values beside the rows.
        sequences={
            name: {"before": [-(1 << 63), 0], "after": [1 << 63, 1]} for name in manifest.sequences
        },
        objects=[
            replace(one, valid=one.valid and one.kind != "materialized view")
            for one in manifest.objects
        ],
    )


def manifest_text(manifest: Manifest) -> str:
    """The file's content."""
    document = {"version": _VERSION, **asdict(manifest), "manifest_sha256": manifest.digest}
    return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def read_manifest(backup: Path) -> Manifest:
    """The manifest of the backup in the folder ``backup``; raises BackupError."""
    path = backup / MANIFEST
    try:
        text = path.read_bytes().decode("utf-8")
        document = json.loads(text, parse_constant=_refuse)
    except FileNotFoundError:
        raise BackupError(
            f"there is no manifest: {path} does not exist. Without it nothing shows that the dump "
            "is whole. Nothing was changed; choose another backup."
        ) from None
    except (OSError, ValueError) as exc:
        raise BackupError(
            f"the manifest {path} cannot be read: {exc}. Nothing was changed; choose another "
            "backup."
        ) from exc
    manifest = _parsed(path, document)
    if manifest_text(manifest) != text:
        raise _damaged(path)
    return manifest


def _damaged(path: Path) -> BackupError:
    return BackupError(
        f"the manifest {path} is not as it was written: its own checksum differs. Nothing was "
        "changed; choose another backup."
    )


def _refuse(constant: str) -> t.NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _parsed(path: Path, document: t.Any) -> Manifest:
    if not isinstance(document, dict):
        raise _damaged(path)
    version = document.get("version")
    stated = document.pop("manifest_sha256", None)
    if stated != _digest(document):
        raise _damaged(path)
    if version != _VERSION:
        raise BackupError(
            f"the manifest {path} has version {version}; this release reads version {_VERSION}. "
            "Nothing was changed; use the release that wrote it."
        )
    try:
        objects = [DatabaseObject(**each) for each in document.pop("objects")]
        return Manifest(
            **{
                each.name: document[each.name] for each in fields(Manifest) if each.name in document
            },
            objects=objects,
        )
    except (KeyError, TypeError) as exc:
        raise _damaged(path) from exc


def _digest(document: t.Mapping[str, t.Any]) -> str:
    text = json.dumps(document, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def quick_problem(backup: Path, manifest: Manifest) -> str:
    """What is wrong with the files as far as names and sizes tell; empty when nothing is."""
    found = {name: path.stat().st_size for name, path in dump_files(backup).items()}
    for name in sorted(manifest.files.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in manifest.files:
            return f"{name} is not in the manifest"
        wanted = manifest.files[name]["bytes"]
        if found[name] != wanted:
            return f"{name} has {found[name]} bytes instead of {wanted}"
    return "" if found else "there is no dump"


def dump_files(backup: Path) -> dict[str, Path]:
    """The files of the dump by their name in the manifest."""
    dump = backup / DUMP
    paths = sorted(dump.rglob("*")) if dump.is_dir() else [dump]
    return {path.relative_to(backup).as_posix(): path for path in paths if path.is_file()}


def verify_files(
    backup: Path,
    manifest: Manifest,
    *,
    jobs: int = 1,
    progress: t.Callable[[int], None] = lambda _bytes: None,
) -> None:
    """Read the whole dump and compare it with the manifest; raises BackupError.

    ``progress`` is told the bytes of every piece that was read.
    """
    problem = quick_problem(backup, manifest)
    if not problem:
        names = sorted(manifest.files, key=lambda name: -manifest.files[name]["bytes"])
        with concurrent.futures.ThreadPoolExecutor(max(jobs, 1)) as pool:
            for name, digest in zip(
                names, pool.map(lambda name: file_digest(backup / name, progress), names)
            ):
                if digest != manifest.files[name]["sha256"]:
                    problem = f"{name} has another SHA-256 than the manifest says"
    if problem:
        raise BackupError(
            f"backup {manifest.id} is damaged, or its manifest belongs to another dump: {problem}. "
            f"Nothing was changed; choose another backup than {backup}.",
            problem=problem,
        )


def file_digest(path: Path, progress: t.Callable[[int], None] = lambda _bytes: None) -> str:
    """SHA-256 of a file, read in pieces; raises BackupError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as stream:
            while True:
                piece = stream.read(_CHUNK)
                if not piece:
                    return digest.hexdigest()
                digest.update(piece)
                progress(len(piece))
    except OSError as exc:
        raise BackupError(
            f"{path} cannot be read: {exc.strerror}. Nothing was changed; choose another backup."
        ) from exc


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


def write_durably(path: Path, text: str) -> None:
    """Write a file whole or not at all, also when the machine stops."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
