# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The manifest of a backup: what it holds, and that it is as it was written.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import typing as t
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_objects import DatabaseObject

MANIFEST = "manifest.json"
_VERSION = 1


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


def utc(when: datetime.datetime) -> str:
    """A time as manifests write it."""
    return when.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
