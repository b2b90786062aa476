"""Where an incident keeps what: one private directory under the root."""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rollback_playbook.errors import RecordError, UsageError

_ID = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-[a-z0-9]+)+")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_LONGEST_NAME = 40
_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class IncidentFolder:
    """The directory of one incident (0700) and the files in it (0600)."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def summary(self) -> Path:
        return self.path / "incident.json"

    @property
    def head(self) -> Path:
        return self.path / "head.json"

    @property
    def report(self) -> Path:
        return self.path / "report.md"

    @property
    def evidence(self) -> Path:
        return self.path / "evidence"


def is_incident_id(name: str) -> bool:
    """Whether ``name`` is an incident's id: sortable by time, safe as a file's name."""
    return _ID.fullmatch(name) is not None


def find_incident(root: Path, incident: str) -> IncidentFolder:
    """The folder of an incident, by its id or by an unmistakable end or beginning of it.

    Raises UsageError when there is none, or more than one.
    """
    names = [path.name for path in _incident_paths(root)]
    found = [incident] if incident in names else [n for n in names if _matches(n, incident)]
    if len(found) == 1:
        return IncidentFolder(root / found[0])
    if not found:
        raise UsageError(
            f"there is no incident {incident!r} in {root}", hint="rollback-playbook incidents list"
        )
    raise UsageError(f"{incident!r} means more than one incident: {', '.join(sorted(found))}")


def _matches(name: str, part: str) -> bool:
    return bool(part) and (name.startswith(part) or name.endswith(f"-{part}"))


def incident_folders(root: Path) -> list[IncidentFolder]:
    """Every incident under the root, newest first."""
    return [IncidentFolder(path) for path in sorted(_incident_paths(root), reverse=True)]


def _incident_paths(root: Path) -> list[Path]:
    try:
        return [path for path in root.iterdir() if is_incident_id(path.name) and path.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RecordError(f"the incidents in {root} cannot be read: {error.strerror}") from error


def make_folder(root: Path, *, scenario: str, environment: str, at: datetime) -> IncidentFolder:
    """A new incident's folder; nobody else gets the same one."""
    moment = at.astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    prefix = f"{moment}-{_name(scenario)}-{_name(environment)}"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_ATTEMPTS):
            folder = IncidentFolder(root / f"{prefix}-{secrets.token_hex(2)}")
            try:
                folder.path.mkdir(mode=0o700)
            except FileExistsError:
                continue
            folder.evidence.mkdir(mode=0o700)
            return folder
    except OSError as error:
        raise RecordError(
            f"no incident can be opened in {root}: {error.strerror}",
            hint="free space there or choose another folder with --state-dir",
        ) from error
    raise RecordError(f"no free incident id begins with {prefix}")


def _name(text: str) -> str:
    return _NOT_IN_NAMES.sub("-", text.lower())[:_LONGEST_NAME].strip("-") or "x"


def write_private(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace ``path`` in one step: readers see the old content or the new, and never part.

    What is not ``durable`` may be old or empty after a power cut. Raises OSError.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file of ours, or None when it is missing or is no JSON object."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def to_json(content: Mapping[str, Any]) -> bytes:
    """JSON for a person to read."""
    return (json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode()


def free_path(path: Path) -> Path:
    """``path``, or the first of ``name-2.txt``, ``name-3.txt`` … that nothing has yet."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(each for each in itertools.chain([path], numbered) if not each.exists())


def file_name(name: str) -> str:
    """``name`` as a plain file name, so that nothing is written outside of its folder."""
    plain = _NOT_PLAIN.sub("-", name).strip("-.")
    return plain[:_LONGEST_FILE_NAME] or "unnamed"


_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_FILE_NAME = 120
