# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A set of files that belong together: as it is, as a backup has it, and put in its place.

A backup is a folder named by its time, which appears whole or not at all: the files by number, and
``manifest.json`` with the path, hash, mode and owner of each.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import typing as t
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError

_MANIFEST = "manifest.json"
_FORMAT = 1


class ConfigurationError(RollbackError):
    """The set cannot be backed up or restored; the message says what state was left."""


@dataclass(frozen=True)
class Kept:
    """One file: ``content`` is None where there is no such file."""

    path: str
    content: bytes | None
    mode: int = 0o644
    owner: int = 0
    group: int = 0

    @property
    def sha256(self) -> str | None:
        return None if self.content is None else hashlib.sha256(self.content).hexdigest()

    @property
    def public(self) -> bool:
        """Whether everybody on the host may read it, so that it may be shown."""
        return bool(self.mode & 0o004) and b"PRIVATE KEY" not in (self.content or b"")

    @property
    def text(self) -> str:
        """For a person: the content, or only its hash when it is not everybody's to read."""
        if self.content is None:
            return ""
        if not self.public:
            return f"(not shown: private; sha256 {self.sha256})\n"
        try:
            return self.content.decode()
        except UnicodeDecodeError:
            return f"(not shown: no text; sha256 {self.sha256})\n"


@dataclass(frozen=True)
class Backup:
    """A backup that is whole. ``automatic`` ones were made by a restore, of what it replaced."""

    id: str
    created: str
    label: str
    automatic: bool
    files: tuple[Kept, ...]


def observe(paths: t.Sequence[str]) -> list[Kept]:
    """The files as they are. Raises ConfigurationError for what is no plain file."""
    return [_observe(path) for path in paths]


def _observe(path: str) -> Kept:
    try:
        if not os.path.lexists(path):
            return Kept(path, None)
        status = Path(path).stat()
        if not Path(path).is_file():
            raise ConfigurationError(f"{path} is not a file. Nothing was changed.")
        return Kept(
            path,
            Path(path).read_bytes(),
            status.st_mode & 0o7777,
            status.st_uid,
            status.st_gid,
        )
    except OSError as exc:
        raise ConfigurationError(f"{path}: {exc.strerror}. Nothing was changed.") from exc


def differing(before: t.Sequence[Kept], after: t.Sequence[Kept]) -> list[tuple[Kept, Kept]]:
    """The pairs whose content, mode or owner differ."""
    return [pair for pair in zip(before, after) if pair[0] != pair[1]]


def put(files: t.Iterable[Kept]) -> None:
    """Each file in one step, as it is kept. Raises FileError or ConfigurationError half-way."""
    for file in files:
        if file.content is None:
            _atomic_file.remove(file.path)
            continue
        _atomic_file.replace(file.path, file.content, mode=file.mode)
        try:
            if os.geteuid() == 0:
                os.chown(file.path, file.owner, file.group)
            os.chmod(file.path, file.mode)  # noqa: PTH101 - after chown, which clears bits
        except OSError as exc:
            raise ConfigurationError(f"{file.path}: {exc.strerror}.") from exc


def back_up(
    folder: Path, files: t.Sequence[Kept], *, label: str, automatic: bool, name: str = ""
) -> Backup:
    """A new backup in ``folder``, whole and on the disk, named by its time where it has no name.

    Raises ConfigurationError.
    """
    require_name(name or "its time")
    now = datetime.now(timezone.utc)
    partial = None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=str(folder)))
        for number, file in enumerate(files):
            if file.content is not None:
                _atomic_file.replace(str(partial / str(number)), file.content, mode=0o600)
        manifest = {
            "format": _FORMAT,
            "created": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "label": label,
            "automatic": automatic,
            "files": [_entry(file) for file in files],
        }
        text = json.dumps(manifest, indent=2).encode()
        _atomic_file.replace(str(partial / _MANIFEST), text, mode=0o600)
        name = _name(partial, folder, now, name)
    except OSError as exc:
        raise ConfigurationError(
            f"{folder}: no backup could be made: {exc.strerror}. Nothing was changed."
        ) from exc
    finally:
        if partial is not None:
            shutil.rmtree(str(partial), ignore_errors=True)
    return Backup(name, str(manifest["created"]), label, automatic, tuple(files))


def require_name(name: str) -> None:
    """Raises ConfigurationError for what would be another folder, or a hidden one."""
    if not name or name.startswith(".") or "/" in name:
        raise ConfigurationError(f"{name!r} is no backup. Nothing was changed.")


def _name(partial: Path, folder: Path, now: datetime, name: str) -> str:
    """The backup's folder gets its name when it is whole; a taken name is never replaced."""
    if name:
        partial.rename(folder / name)
        return name
    while True:
        name = now.strftime("%Y%m%dT%H%M%S.%fZ")
        if not (folder / name).exists():
            partial.rename(folder / name)
            return name
        now = datetime.now(timezone.utc)


def _entry(file: Kept) -> dict[str, t.Any]:
    return {
        "path": file.path,
        "sha256": file.sha256,
        "mode": format(file.mode, "04o"),
        "owner": file.owner,
        "group": file.group,
    }


def backups(folder: Path) -> list[str]:
    """The ids of the backups in ``folder``, the newest first."""
    try:
        names = [each.name for each in folder.iterdir() if (each / _MANIFEST).is_file()]
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise ConfigurationError(f"{folder}: {exc.strerror}. Nothing was changed.") from exc
    return sorted((name for name in names if not name.startswith(".")), reverse=True)


def read(folder: Path, name: str) -> Backup:
    """Raises ConfigurationError when it is not whole, or was changed since."""
    require_name(name)
    place = folder / name
    try:
        manifest = json.loads((place / _MANIFEST).read_text(encoding="utf-8"))
        files = tuple(_read(place, number, entry) for number, entry in enumerate(manifest["files"]))
        return Backup(
            name, manifest["created"], manifest["label"], bool(manifest["automatic"]), files
        )
    except FileNotFoundError as exc:
        known = ", ".join(backups(folder)[:5]) or "none"
        raise ConfigurationError(
            f"there is no whole backup {name} in {folder}; there are: {known}. Nothing was changed."
        ) from exc
    except (OSError, ValueError, LookupError, TypeError) as exc:
        raise ConfigurationError(
            f"backup {name} in {folder} cannot be read: {exc}. Nothing was changed."
        ) from exc


def _read(place: Path, number: int, entry: t.Mapping[str, t.Any]) -> Kept:
    content = None if entry["sha256"] is None else (place / str(number)).read_bytes()
    file = Kept(entry["path"], content, int(entry["mode"], 8), entry["owner"], entry["group"])
    if file.sha256 != entry["sha256"]:
        raise ConfigurationError(
            f"backup {place.name} is damaged: {file.path} is not what was kept. Nothing was "
            "changed."
        )
    return file if content is not None else Kept(entry["path"], None)


def newest(folder: Path, paths: t.Sequence[str]) -> Backup:
    """The newest backup of these files that was not made by a restore."""
    for name in backups(folder):
        found = read(folder, name)
        if not found.automatic and {file.path for file in found.files} >= set(paths):
            return found
    raise ConfigurationError(
        f"there is no backup of {', '.join(paths)} in {folder}. Nothing was changed."
    )


def chosen(backup: Backup, paths: t.Sequence[str]) -> list[Kept]:
    """These files of the backup, in this order. Raises ConfigurationError when one is not in it."""
    by_path = {file.path: file for file in backup.files}
    missing = [path for path in paths if path not in by_path]
    if missing:
        raise ConfigurationError(
            f"backup {backup.id} has no {', '.join(missing)}. Nothing was changed."
        )
    return [by_path[path] for path in paths]


def prune(folder: Path, retention: int) -> list[str]:
    """Remove all but the newest ``retention`` backups of each kind, those that a restore made and
    the others; 0 keeps all. One that is damaged stays. The ids of those removed."""
    kinds: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    for name in backups(folder) if retention > 0 else []:
        with contextlib.suppress(ConfigurationError):
            found = read(folder, name)
            kinds[found.automatic].append((found.created, name))
    gone = [
        name for made in kinds.values() for _created, name in sorted(made, reverse=True)[retention:]
    ]
    for name in gone:
        shutil.rmtree(str(folder / name), ignore_errors=True)
    return gone


@dataclass(frozen=True)
class Unfinished:
    """What a restore writes before it changes the first file, and removes after the reload."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / ".unfinished.json"

    def read(self) -> str | None:
        """The id of the backup of what was there before; None when no restore was cut short."""
        content = _atomic_file.read(str(self.path))
        if content is None:
            return None
        with contextlib.suppress(ValueError, LookupError, TypeError):
            return str(json.loads(content)["before"])
        return ""

    def write(self, before: str) -> None:
        _atomic_file.replace(str(self.path), json.dumps({"before": before}).encode(), mode=0o600)

    def remove(self) -> None:
        _atomic_file.remove(str(self.path))


def as_facts(files: t.Iterable[Kept]) -> list[dict[str, t.Any]]:
    """For a result: what each file is, without its content."""
    return [_entry(file) for file in files]


def summary(backup: Backup) -> dict[str, t.Any]:
    """For a result."""
    facts = {key: value for key, value in asdict(backup).items() if key != "files"}
    return {**facts, "files": [file.path for file in backup.files]}
