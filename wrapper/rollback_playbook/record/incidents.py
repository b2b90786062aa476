"""Opening an incident's record, and opening it again."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rollback_playbook.errors import RecordError
from rollback_playbook.record.folder import IncidentFolder, make_folder
from rollback_playbook.record.keys import Key, Keyring
from rollback_playbook.record.process import this_process
from rollback_playbook.record.redaction.protocol import Redaction
from rollback_playbook.record.summary import SCHEMA, SummaryBuilder
from rollback_playbook.record.tail import Tail, tail_of
from rollback_playbook.record.writer import RecordWriter


def create_incident(
    root: Path,
    *,
    scenario: str,
    environment: str,
    keys: Keyring,
    redaction: Redaction,
    now: datetime | None = None,
    imported_from: str = "",
) -> RecordWriter:
    """A new incident with its directory and the first line of its record.

    The first line, ``record.opened``, says which key seals the record and which process writes
    it. Raises RecordError when the directory or the key cannot be made.
    """
    key = keys.active()
    folder = make_folder(
        root, scenario=scenario, environment=environment, at=now or datetime.now(UTC)
    )
    writer = RecordWriter(
        folder,
        keys=keys,
        key=key,
        redaction=redaction,
        tail=Tail(),
        summary=SummaryBuilder(),
    )
    about: dict[str, Any] = {"scenario": scenario, "environment": environment}
    if imported_from:
        about["imported_from"] = imported_from
    writer.append("record.opened", {**_about_writer(key), **about}, sync=True)
    _sync_folder(root)
    return writer


def reopen(
    folder: IncidentFolder, *, keys: Keyring, redaction: Redaction, continuing: bool = False
) -> RecordWriter:
    """The record of an earlier incident, to append to it.

    A line that a crash left torn is ended and named. ``continuing`` is for the process that
    takes the incident's run up again: it becomes the record's owner, under the active key.
    Notes need no more than the key of the record. Raises RecordError.
    """
    summary = SummaryBuilder()
    tail = tail_of(folder.events, keys, summary.apply)
    key = keys.active() if continuing else _key_of(summary, keys)
    writer = RecordWriter(
        folder, keys=keys, key=key, redaction=redaction, tail=tail, summary=summary
    )
    if continuing:
        writer.append("record.continued", _about_writer(key), sync=True)
    return writer


def add_note(
    folder: IncidentFolder,
    text: str,
    *,
    author: str,
    keys: Keyring,
    redaction: Redaction,
    corrects: int | None = None,
) -> None:
    """Append a person's words; with ``corrects`` they replace what that event says.

    The corrected event stays as it is. Works while a run writes the same record.
    Raises RecordError, also when there is no event of that sequence.
    """
    with reopen(folder, keys=keys, redaction=redaction) as writer:
        if corrects is None:
            writer.append("note.added", {"author": author, "text": text}, sync=True)
            return
        if not 1 <= corrects <= writer.sequence:
            raise RecordError(f"the record of {folder.id} has no event {corrects}")
        data = {"author": author, "text": text, "corrects": corrects}
        writer.append("correction.added", data, sync=True)


def _about_writer(key: Key) -> dict[str, Any]:
    return {"schema": SCHEMA, "key": key.id, "writer": this_process()}


def _key_of(summary: SummaryBuilder, keys: Keyring) -> Key:
    key_id = str(summary.as_dict().get("key", ""))
    key = keys.get(key_id) if key_id else keys.active()
    if key is None:
        raise RecordError(
            f"the key {key_id} of this record is not in {keys.folder}",
            hint="put its file back into that folder",
        )
    return key


def _sync_folder(path: Path) -> None:
    """A new directory survives a power cut only when its parent is synced too."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
