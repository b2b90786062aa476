# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of a dump: all there, as they were written, on the disk for good.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import typing as t
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import BackupError

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import Manifest

DUMP = "dump"
_CHUNK = 1 << 20


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
