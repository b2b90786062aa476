"""One archive with the record, its report and its evidence, to hand over or to keep."""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rollback_playbook.errors import RecordError, RefusedError
from rollback_playbook.record.folder import IncidentFolder
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.schema import schema_text
from rollback_playbook.record.verification import Verification, verify
from rollback_playbook.report.rendering import render

_README = """This is the record of the incident {id}.

events.jsonl      the record, one event a line
head.json         which event was the last
incident.json     the summary
report.md, .html  the report
evidence/         what was kept beside
verification.json what checking the record said when this archive was made
record.schema.json  the form of the events

The key of the record is not in here. To check the record, unpack the archive into the
incidents directory of a machine that has the key {key}, and run

    rollback-playbook incidents verify {id}
"""


def export_incident(folder: IncidentFolder, target: Path, *, keys: Keyring) -> Path:
    """Write ``<id>.tar.gz`` (0600), into ``target`` when that is a directory; returns its path.

    Appears whole or not at all. Raises RefusedError when the file exists already, RecordError
    when it cannot be written.
    """
    path = target / f"{folder.id}.tar.gz" if target.is_dir() else target
    if path.exists():
        raise RefusedError(f"{path} exists already; nothing was written")
    verification = verify(folder, keys)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                _write(file, folder, verification)
                file.flush()
                os.fsync(file.fileno())
            Path(name).rename(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def _write(file: io.BufferedIOBase, folder: IncidentFolder, verification: Verification) -> None:
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for path in _kept(folder):
            name = f"{folder.id}/{path.relative_to(folder.path)}"
            archive.add(path, arcname=name, recursive=False, filter=_private)
        for name, text in _made(folder, verification):
            _add_text(archive, f"{folder.id}/{name}", text)


def _kept(folder: IncidentFolder) -> Iterator[Path]:
    """Plain files only: a link would carry in what lies elsewhere."""
    own = (folder.events, folder.head, folder.summary)
    evidence = sorted(folder.evidence.rglob("*")) if folder.evidence.is_dir() else []
    return (path for path in (*own, *evidence) if path.is_file() and not path.is_symlink())


def _made(folder: IncidentFolder, verification: Verification) -> Iterator[tuple[str, str]]:
    yield "report.md", render(folder, "md", verification=verification)
    yield "report.html", render(folder, "html", verification=verification)
    yield "record.schema.json", schema_text()
    checked = {**asdict(verification), "intact": verification.intact, "ok": verification.ok}
    yield "verification.json", json.dumps(checked, indent=2, sort_keys=True) + "\n"
    yield "README.txt", _README.format(id=folder.id, key=", ".join(verification.keys) or "of it")


def _private(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o600
    return entry


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    archive.addfile(_private(_entry(name, len(content))), io.BytesIO(content))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry
