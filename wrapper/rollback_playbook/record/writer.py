"""Writing a record: one event, one line, one ``write``."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rollback_playbook.errors import RecordError
from rollback_playbook.events.canonical import canonical
from rollback_playbook.events.model import Draft, RecordEvent, timestamp, utc_text
from rollback_playbook.record.chain import Sealer
from rollback_playbook.record.folder import (
    IncidentFolder,
    file_name,
    free_path,
    to_json,
    write_private,
)
from rollback_playbook.record.head import Head, write_head
from rollback_playbook.record.keys import Key, Keyring
from rollback_playbook.record.redaction.protocol import Redaction
from rollback_playbook.record.summary import SummaryBuilder, sealed_summary
from rollback_playbook.record.tail import Tail, tail_after
from rollback_playbook.record.torn import TornLine

#: After one of these the summary is written anew.
_MILESTONES = frozenset(
    {
        "approval.granted", "decision.made", "gate.failed", "gate.passed", "incident.closed",
        "incident.declared", "note.added", "outage.measured", "phase.finished",
        "phase.started", "record.continued", "record.opened", "run.finished", "run.started",
    }
)  # fmt: skip


class RecordWriter:
    """Appends to one record; several writers, in several processes, may share it.

    Made by ``create_incident`` or ``reopen``. What is handed to ``append`` goes through the
    redaction first. When ``append`` returns, the line is with the kernel: the death of this
    process cannot lose it. With ``sync`` it is on the disk.
    """

    def __init__(
        self,
        folder: IncidentFolder,
        *,
        keys: Keyring,
        key: Key,
        redaction: Redaction,
        tail: Tail,
        summary: SummaryBuilder,
    ) -> None:
        self.folder = folder
        self._keys = keys
        self._key = key
        self._redaction = redaction
        self._tail = tail
        self._summary = summary
        self._lock = threading.Lock()
        self._sealer = Sealer(folder.id)
        self._descriptor = _opened(folder)
        self._closed = False

    @property
    def incident(self) -> str:
        return self.folder.id

    @property
    def sequence(self) -> int:
        """The sequence of the last event."""
        return self._tail.sequence

    def append(
        self,
        type: str,
        data: Mapping[str, Any],
        *,
        subject: str = "",
        time: datetime | str | None = None,
        counter: int | None = None,
        sync: bool = False,
    ) -> RecordEvent:
        """Write one event; returns it as it was written, redacted.

        Raises RecordError when it could not be written whole (nothing of it is left then) or
        not be synced; the record can be appended to again.
        """
        moment = timestamp(time) if isinstance(time, datetime) else time or ""
        return self.append_draft(
            Draft(
                type=type, data=dict(data), subject=subject, time=moment, counter=counter, sync=sync
            )
        )

    def append_draft(self, draft: Draft) -> RecordEvent:
        """Write what a converter made; as ``append``."""
        clean, data = self._clean(draft)
        with self._lock:
            if self._closed:
                raise RecordError(f"the record of {self.incident} is closed already")
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                try:
                    return self._append(clean, data)
                finally:
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            except OSError as error:
                raise self._error(error) from error

    def evidence(self, name: str, content: str | bytes) -> str:
        """Keep a text beside the record, redacted; ``evidence.kept`` has its size and SHA-256.

        Returns the path within the incident's folder. An earlier one of the same name stays.
        Raises RecordError.
        """
        text = content if isinstance(content, str) else content.decode(errors="replace")
        try:
            self.folder.evidence.mkdir(mode=0o700, exist_ok=True)
            path = free_path(self.folder.evidence / file_name(self._redaction.text(name)))
            clean = self._write_redacted(path, text)
        except OSError as error:
            raise self._error(error) from error
        digest = hashlib.sha256(clean).hexdigest()
        data = {"path": f"evidence/{path.name}", "bytes": len(clean), "sha256": digest}
        self.append("evidence.kept", data, sync=True)
        return str(data["path"])

    def write_file(self, name: str, text: str) -> None:
        """Put a derived text, such as the report, into the incident's folder; redacted."""
        try:
            self._write_redacted(self.folder.path / file_name(self._redaction.text(name)), text)
        except OSError as error:
            raise self._error(error) from error

    def _write_redacted(self, path: Path, text: str) -> bytes:
        clean = self._redaction.text(text).encode(errors="replace")
        write_private(path, clean)
        return clean

    def sync(self) -> None:
        """Everything written so far is on the disk when this returns; raises RecordError."""
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise self._error(error) from error

    def close(self) -> Head:
        """Write the summary and the head, sync, and let go of the file. Raises RecordError."""
        with self._lock:
            if self._closed:
                raise RecordError(f"the record of {self.incident} is closed already")
            self._closed = True
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
                self._require_file()
                self._catch_up()
                os.fsync(self._descriptor)
                self._write_summary(durable=True)
                head = self._head()
                write_head(self.folder, self._keys, head, self._key, durable=True)
            except OSError as error:
                raise self._error(error) from error
            finally:
                os.close(self._descriptor)
        return head

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if not self._closed:
            self.close()

    def redacted(self, draft: Draft) -> Draft:
        """The draft as it would be written: for showing it when it cannot be written."""
        return self._clean(draft)[0]

    def _clean(self, draft: Draft) -> tuple[Draft, bytes]:
        data, text = self._redaction.encoded(draft.data)
        subject = self._redaction.text(draft.subject) if draft.subject else ""
        time = utc_text(draft.time) or timestamp()
        if data is draft.data and subject == draft.subject and time == draft.time:
            return draft, text
        clean = Draft(
            type=draft.type,
            data=data,
            subject=subject,
            time=time,
            counter=draft.counter,
            sync=draft.sync,
        )
        return clean, text

    def _append(self, draft: Draft, data: bytes) -> RecordEvent:
        if draft.sync or draft.type in _MILESTONES:
            self._require_file()
        self._catch_up()
        if self._tail.torn:
            torn = TornLine.draft(self._tail.torn)
            self._put(torn, canonical(torn.data), before=b"\n")
        event = self._put(draft, data, before=b"\n" if self._tail.unended else b"")
        if draft.sync:
            os.fdatasync(self._descriptor)
        if event.type in _MILESTONES:
            self._write_derived()
        return event

    def _put(self, draft: Draft, data: bytes, *, before: bytes = b"") -> RecordEvent:
        event, line = self._sealer.line(
            draft,
            data=data,
            sequence=self._tail.sequence + 1,
            prevhash=self._tail.hash,
            key=self._key,
        )
        self._write(before + line if before else line)
        self._tail.advance(event, len(before) + len(line))
        self._summary.apply(event)
        return event

    def _write(self, line: bytes) -> None:
        """All of ``line`` or nothing: a full disk may take the first half of it."""
        written = 0
        try:
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._tail.size)
            raise

    def _catch_up(self) -> None:
        """Goes on behind what another writer of this record has written meanwhile."""
        if os.lseek(self._descriptor, 0, os.SEEK_END) == self._tail.size:
            return
        self._tail, events = tail_after(self.folder.events, self._tail, self._keys)
        for event in events:
            self._summary.apply(event)

    def _require_file(self) -> None:
        """Not with every event, for its cost: what is written to a removed file is lost."""
        if os.fstat(self._descriptor).st_nlink == 0:
            raise RecordError(
                f"the record {self.folder.events} was removed while it was being written"
            )

    def _write_derived(self) -> None:
        """Summary and head are written again at the end; a failure now loses nothing."""
        with suppress(OSError):
            self._write_summary(durable=False)
            write_head(self.folder, self._keys, self._head(), self._key, durable=False)

    def _write_summary(self, *, durable: bool) -> None:
        content = {**self._summary.as_dict(), "bytes": self._tail.size}
        sealed_content = to_json(sealed_summary(content, self._key))
        write_private(self.folder.summary, sealed_content, durable=durable)

    def _head(self) -> Head:
        return Head(
            incident=self.incident,
            sequence=self._tail.sequence,
            hash=self._tail.hash,
            time=timestamp(),
            closed=self._summary.is_closed,
            key=self._key.id,
        )

    def _error(self, error: OSError) -> RecordError:
        return RecordError(
            f"the record of {self.incident} cannot be written: {error.strerror or error}",
            hint=f"free space in {self.folder.path}; what was recorded so far stays readable",
        )


def _opened(folder: IncidentFolder) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(folder.events, flags, 0o600)
    except OSError as error:
        raise RecordError(
            f"the record {folder.events} cannot be opened: {error.strerror}"
        ) from error
