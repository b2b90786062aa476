"""Is the record as it was written, and is it whole? Two questions, answered offline."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rollback_playbook.errors import RecordError
from rollback_playbook.record.chain_check import ChainCheck
from rollback_playbook.record.completeness import Completeness
from rollback_playbook.record.diagnosis import Diagnosis
from rollback_playbook.record.findings import Finding, Kind
from rollback_playbook.record.folder import IncidentFolder, read_json
from rollback_playbook.record.head import Head, has_head, read_head
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.reading import parse_line
from rollback_playbook.record.summary import is_sealed


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of ``verify``: integrity in ``findings``, completeness beside it."""

    incident: str
    lines: int
    events: int
    last_hash: str
    keys: tuple[str, ...]
    findings: tuple[Finding, ...]
    #: What is worth knowing and no fault: a torn line that was named when the record went on.
    notes: tuple[str, ...]
    completeness: Completeness

    @property
    def intact(self) -> bool:
        return not self.findings

    @property
    def ok(self) -> bool:
        return self.intact and self.completeness.complete


def verify(folder: IncidentFolder, keys: Keyring) -> Verification:
    """Check the record, its heads, its summary and its evidence with the keys here.

    Streams: memory does not grow with the record. Of the record it names the first bad line;
    nothing behind it hangs on the chain any more. Works on a record that is being written.
    Raises RecordError when the record or a key cannot be read.
    """
    heads = _Heads(folder, keys)
    size = _size_of(folder.events)
    chain = ChainCheck(folder.events, size, keys, heads.sequences)
    bad = chain.first_bad()
    if bad is not None:
        findings = [Diagnosis(folder.events, size, chain).finding(bad, keys)]
    else:
        findings = [*heads.findings(chain), *_beside(folder, keys, chain)]
    return Verification(
        incident=folder.id,
        lines=chain.lines,
        events=chain.sequence,
        last_hash=chain.hash,
        keys=tuple(sorted(chain.used)),
        findings=tuple(findings),
        notes=(*_torn_notes(chain), *heads.notes()),
        completeness=chain.completeness.result(),
    )


def _size_of(path: Path) -> int:
    """The size between two writes: a line that is just being written is not looked at."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            return file.seek(0, 2)
    except OSError as error:
        raise RecordError(f"the record {path} cannot be read: {error.strerror}") from error


def _torn_notes(chain: ChainCheck) -> Iterator[str]:
    for line in chain.torn:
        yield f"line {line} was torn by a crash; the next line names it"


class _Heads:
    """The two copies of the head, read before the record so that neither runs ahead of it."""

    def __init__(self, folder: IncidentFolder, keys: Keyring) -> None:
        self._folder = folder
        self._keys = keys
        paths = (folder.head, keys.head_path(folder.id))
        self._heads = {path: read_head(path) for path in paths}
        self.sequences = frozenset(head.sequence for head in self._heads.values() if head)

    @property
    def closed(self) -> bool:
        return any(head.closed for head in self._heads.values() if head)

    def findings(self, chain: ChainCheck) -> Iterator[Finding]:
        found = False
        for path, head in self._heads.items():
            finding = self._finding(path, head, chain)
            if finding is not None:
                found = True
                yield finding
        if not chain.sequence and not found:
            yield Finding(1, Kind.CUT_OFF, "the record is empty")

    def notes(self) -> Iterator[str]:
        for path in self._heads:
            if not has_head(path):
                yield f"there is no head at {path}: a cut tail would not show there"

    def _finding(self, path: Path, head: Head | None, chain: ChainCheck) -> Finding | None:
        if head is None:
            unreadable = f"the head {path} cannot be read"
            return Finding(0, Kind.HEAD, unreadable) if has_head(path) else self._gone(path)
        key = self._keys.get(head.key)
        if key is None:
            return Finding(0, Kind.WRONG_KEY, f"the head {path} needs the key {head.key}")
        if head.incident != self._folder.id or not head.is_authentic(key):
            return Finding(0, Kind.HEAD, f"the head {path} was changed, or is of another incident")
        if head.sequence > chain.sequence:
            return Finding(
                chain.lines + 1,
                Kind.CUT_OFF,
                f"cut off behind line {chain.lines}: events {chain.sequence + 1} to "
                f"{head.sequence} are gone (head {path})",
            )
        if chain.hashes.get(head.sequence) != head.hash:
            return Finding(0, Kind.HEAD, f"the head {path} is of another record of this incident")
        return None

    def _gone(self, path: Path) -> Finding | None:
        """A closed record has both: one without the other was removed."""
        if not self.closed:
            return None
        return Finding(0, Kind.HEAD, f"the head {path} was removed")


def _beside(folder: IncidentFolder, keys: Keyring, chain: ChainCheck) -> Iterator[Finding]:
    """The files beside the record: its summary, and the evidence it has the hashes of."""
    summary = read_json(folder.summary)
    if summary is not None or _has_content(folder.summary):
        key = keys.get(str((summary or {}).get("sealed_with", "")))
        if summary is None or key is None or not is_sealed(summary, key):
            yield Finding(0, Kind.SUMMARY, f"the summary {folder.summary} was changed")
    for raw in chain.evidence:
        event = parse_line(raw)
        if event is None or "sha256" not in event.data:
            continue
        finding = _evidence_finding(folder, str(event.data.get("path", "")), event.data)
        if finding is not None:
            yield finding


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _evidence_finding(
    folder: IncidentFolder, name: str, about: dict[str, object]
) -> Finding | None:
    path = folder.path / name
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return Finding(0, Kind.EVIDENCE, f"the evidence {name} cannot be read: {error.strerror}")
    if digest != about.get("sha256"):
        return Finding(0, Kind.EVIDENCE, f"the evidence {name} was changed")
    return None
