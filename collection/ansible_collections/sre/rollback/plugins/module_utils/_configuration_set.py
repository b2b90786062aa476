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
import re
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
_NOTE = ".unfinished"
_TIMED = re.compile(r"\d{8}T\d{6}\.\d{6}Z$")
_CHOOSE = (
    "To take an older one on purpose, name it with backup (configuration_backup of the role "
    "configuration)."
)


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
    manifest = _manifest(folder, name)
    with _named(folder, name):
        place = folder / name
        files = tuple(_read(place, number, entry) for number, entry in enumerate(manifest["files"]))
        return Backup(
            name, manifest["created"], manifest["label"], bool(manifest["automatic"]), files
        )


def _manifest(folder: Path, name: str) -> dict[str, t.Any]:
    """What a backup says it is of, without a look at its contents. Raises ConfigurationError."""
    require_name(name)
    with _named(folder, name):
        manifest = json.loads((folder / name / _MANIFEST).read_text(encoding="utf-8"))
        _paths, _automatic = [entry["path"] for entry in manifest["files"]], manifest["automatic"]
        return dict(manifest)


@contextlib.contextmanager
def _named(folder: Path, name: str) -> t.Iterator[None]:
    """Raises ConfigurationError for a backup that cannot be read."""
    try:
        yield
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
    """The newest backup of these files that was not made by a restore.

    Raises ConfigurationError when that one is damaged: an older one is for somebody to choose. Of
    the others only the manifest is read.
    """
    for name in backups(folder):
        try:
            manifest = _manifest(folder, name)
        except ConfigurationError as exc:
            # Only a restore makes backups of other names.
            if _TIMED.match(name):
                raise ConfigurationError(
                    f"{exc} It may be the newest of these files. {_CHOOSE}"
                ) from exc
            continue
        kept = {entry["path"] for entry in manifest["files"]}
        if manifest["automatic"] or not kept >= set(paths):
            continue
        try:
            return read(folder, name)
        except ConfigurationError as exc:
            raise ConfigurationError(f"{exc} It is the newest of these files. {_CHOOSE}") from exc
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
    the others; 0 keeps all. One that is damaged stays, and so does one that a restore which was
    cut short has to be finished with. The ids of those removed."""
    kinds: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    needed = {each.before for each in unfinished(folder)}
    for name in backups(folder) if retention > 0 else []:
        with contextlib.suppress(ConfigurationError):
            found = read(folder, name)
            kinds[found.automatic].append((found.created, name))
    gone = [
        name
        for made in kinds.values()
        for _created, name in sorted(made, reverse=True)[retention:]
        if name not in needed
    ]
    for name in gone:
        shutil.rmtree(str(folder / name), ignore_errors=True)
    return gone


@dataclass(frozen=True)
class Unfinished:
    """A restore that was cut short, as its note in the folder of the backups tells.

    The note is written before the first file changes and removed after the reload. There is one for
    each set of files, so that a restore of other files neither needs nor removes it.
    """

    note: Path
    #: Id of the backup of what was there before; empty when the note does not tell.
    before: str
    #: The files; None when that is not known, so that they may be any.
    paths: frozenset[str] | None

    def replaced(self) -> list[Kept]:
        """What was there before. Raises ConfigurationError when that is not whole any more."""
        if not self.before or self.paths is None:
            return []
        try:
            return chosen(read(self.note.parent, self.before), sorted(self.paths))
        except ConfigurationError as exc:
            raise ConfigurationError(
                f"{exc} It is of what a restore that was cut short replaced. Remove {self.note} to "
                "restore without it."
            ) from exc

    def end(self) -> None:
        """Its files are whole and were read: there is nothing left to do."""
        _atomic_file.remove(str(self.note))


def begin(folder: Path, paths: t.Iterable[str], before: str) -> Unfinished:
    """A restore of these files begins. Raises FileError."""
    names = frozenset(paths)
    key = hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]
    begun = Unfinished(folder / f"{_NOTE}-{key}.json", before, names)
    said = {"before": before, "paths": sorted(names)}
    _atomic_file.replace(str(begun.note), json.dumps(said).encode(), mode=0o600)
    return begun


def unfinished(folder: Path) -> list[Unfinished]:
    """The restores that were cut short. Raises ConfigurationError, FileError."""
    try:
        notes = [each for each in folder.iterdir() if each.name.startswith(_NOTE)]
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise ConfigurationError(f"{folder}: {exc.strerror}. Nothing was changed.") from exc
    return [_unfinished(folder, note) for note in sorted(notes) if note.suffix == ".json"]


def _unfinished(folder: Path, note: Path) -> Unfinished:
    with contextlib.suppress(ValueError, LookupError, TypeError):
        said = json.loads(_atomic_file.read(str(note)) or b"")
        before = str(said["before"])
        if "paths" in said:
            return Unfinished(note, before, frozenset(map(str, said["paths"])))
        # A note of 0.1.0 was of all the files in the backup that it names.
        with contextlib.suppress(ConfigurationError):
            files = _manifest(folder, before)["files"]
            return Unfinished(note, before, frozenset(entry["path"] for entry in files))
    return Unfinished(note, "", None)


def unfinished_of(folder: Path, paths: t.Iterable[str]) -> list[Unfinished]:
    """Those that a restore of these files finishes.

    Raises ConfigurationError when one is of some of these files and of others too: the others would
    stay half-written, and nobody would know.
    """
    names = frozenset(paths)
    found = [each for each in unfinished(folder) if each.paths is None or each.paths & names]
    for each in found:
        if each.paths is not None and not each.paths <= names:
            raise ConfigurationError(
                f"a restore of {', '.join(sorted(each.paths))} was cut short, and this one is of "
                "some of these files alone. Nothing was changed. Restore them together first, or "
                f"restore backup {each.before} without naming files, which takes that one back."
            )
    return found


def as_facts(files: t.Iterable[Kept]) -> list[dict[str, t.Any]]:
    """For a result: what each file is, without its content."""
    return [_entry(file) for file in files]


def summary(backup: Backup) -> dict[str, t.Any]:
    """For a result."""
    facts = {key: value for key, value in asdict(backup).items() if key != "files"}
    return {**facts, "files": [file.path for file in backup.files]}
