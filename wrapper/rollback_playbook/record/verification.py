"""Is the record as it was written, and is it whole? Two questions, answered offline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rollback_playbook.record.chain import GENESIS, Link, is_authentic, link_of, source_of
from rollback_playbook.record.completeness import Completeness, CompletenessCheck
from rollback_playbook.record.folder import IncidentFolder
from rollback_playbook.record.head import Head, read_head
from rollback_playbook.record.keys import Key, Keyring
from rollback_playbook.record.reading import parse_line, read_lines
from rollback_playbook.record.torn import TornLine


class Kind(StrEnum):
    """What is wrong with a line."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    REORDERED = "reordered"
    CUT_OFF = "cut off"
    WRONG_KEY = "wrong key"
    TORN = "torn"
    HEAD = "head"


@dataclass(frozen=True, slots=True)
class Finding:
    """The first bad line (counted from 1) and what happened to it; line 0 is a head file."""

    line: int
    kind: Kind
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of ``verify``: integrity in ``findings``, completeness beside it."""

    incident: str
    lines: int
    events: int
    last_hash: str
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
    """Check the whole record with the keys here.

    Streams: the memory it takes does not depend on the record's length. Stops at the first bad
    line, because nothing behind it hangs on the chain any more; ``findings`` names that line and
    what is wrong with the heads. Raises RecordError when the record or a key cannot be read.
    """
    chain = _ChainCheck(folder, keys)
    finding = chain.run()
    findings = [finding] if finding else list(_head_findings(folder, keys, chain))
    return Verification(
        incident=folder.id,
        lines=chain.lines,
        events=chain.sequence,
        last_hash=chain.hash,
        findings=tuple(findings),
        notes=tuple(chain.notes),
        completeness=chain.completeness.result(),
    )


class _ChainCheck:
    """Goes along the chain up to its end or to the first line that does not belong."""

    def __init__(self, folder: IncidentFolder, keys: Keyring) -> None:
        self.folder = folder
        self.sequence = 0
        self.hash = GENESIS
        self.lines = 0
        self.notes: list[str] = []
        self.hashes_at: dict[int, str] = {}
        self.completeness = CompletenessCheck()
        self._keys = list(keys)
        self._ring = keys
        self._key: Key | None = None
        self._source = source_of(folder.id)
        self._anchors = {head.sequence for head in _heads(folder, keys) if head is not None}

    def run(self) -> Finding | None:
        lines = read_lines(self.folder.events)
        for raw in lines:
            self.lines += 1
            link = self._good(raw)
            if link is None:
                torn = self._passed_torn(raw, lines)
                if torn is None:
                    return self._finding(raw)
                raw, link = torn
            self._go_on(link, raw)
        return None if self.sequence else self._nothing()

    def _good(self, raw: bytes) -> Link | None:
        """The line's link when it is authentic and the next of the chain."""
        if raw[-1:] != b"\n":
            return None
        link = link_of(raw[:-1])
        if link is None or link.sequence != self.sequence + 1 or link.prevhash != self.hash:
            return None
        return link if self._is_authentic(link) else None

    def _is_authentic(self, link: Link) -> bool:
        if self._key is not None and is_authentic(link, self._key.secret):
            return True
        for key in self._keys:
            if is_authentic(link, key.secret):
                self._key = key
                return True
        return False

    def _go_on(self, link: Link, raw: bytes) -> None:
        self.sequence = link.sequence
        self.hash = link.hash
        if link.sequence in self._anchors:
            self.hashes_at[link.sequence] = link.hash
        self.completeness.add(link, raw)

    def _passed_torn(self, raw: bytes, lines: Iterator[bytes]) -> tuple[bytes, Link] | None:
        """A torn line is no fault when the next one names it, in the chain and by its hash."""
        if raw[-1:] != b"\n":
            return None
        following = next(lines, b"")
        self.lines += bool(following)
        link = self._good(following)
        event = parse_line(following) if link is not None else None
        if link is None or event is None or not TornLine.names(event, raw[:-1]):
            self.lines -= bool(following)
            return None
        self.notes.append(f"line {self.lines - 1}: torn by a crash, and named by the next line")
        return following, link

    def _nothing(self) -> Finding:
        return Finding(1, Kind.CUT_OFF, "the record is empty")

    def _finding(self, raw: bytes) -> Finding:
        """Says what happened, from the rest of the record."""
        return _Diagnosis(self, raw).finding()

    def expects_key(self) -> str:
        """The key that the record names and that is not here, or an empty string."""
        for line in read_lines(self.folder.events):
            event = parse_line(line)
            named = str(event.data.get("key", "")) if event else ""
            return named if named and self._ring.get(named) is None else ""
        return ""


class _Diagnosis:
    """Looks at a bad line and at everything behind it."""

    def __init__(self, chain: _ChainCheck, raw: bytes) -> None:
        self._chain = chain
        self._raw = raw
        self._expected = chain.sequence + 1
        self._bad = chain.lines
        self._own = self._authentic(raw)

    def finding(self) -> Finding:
        if self._own is not None:
            return self._misplaced(self._own)
        behind = self._authentic_behind()
        if not behind:
            return self._nothing_behind()
        if self._expected in behind and behind[self._expected] == self._bad + 1:
            return self._as(Kind.INSERTED, "is not of this record: the chain goes on behind it")
        if self._expected in behind:
            return self._as(Kind.INSERTED, "and more behind it are not of this record")
        return self._as(Kind.CHANGED, f"is no longer what was written as event {self._expected}")

    def _misplaced(self, own: Link) -> Finding:
        """An authentic line in the wrong place."""
        if self._raw[-1:] != b"\n" and own.sequence == self._expected:
            return self._as(Kind.CUT_OFF, "lost its end")
        if own.sequence < self._expected:
            return self._as(Kind.INSERTED, f"is event {own.sequence} once more")
        behind = self._authentic_behind()
        if own.sequence in behind:
            return self._as(Kind.INSERTED, f"is a copy of event {own.sequence}, which comes later")
        if self._expected in behind:
            return self._as(
                Kind.REORDERED,
                f"is event {own.sequence}; event {self._expected} stands on line "
                f"{behind[self._expected]}",
            )
        missing = own.sequence - self._expected
        return self._as(
            Kind.REMOVED,
            f"is event {own.sequence}: {missing} event{'s' * (missing > 1)} before it "
            f"{'are' if missing > 1 else 'is'} missing",
        )

    def _nothing_behind(self) -> Finding:
        key = self._chain.expects_key() if self._expected == 1 else ""
        if key:
            return self._as(Kind.WRONG_KEY, f"and all others need the key {key}, which is not here")
        if self._raw[-1:] != b"\n":
            return self._as(Kind.TORN, "is not whole: a crash, or somebody, cut it")
        return self._as(Kind.CHANGED, f"is no longer what was written as event {self._expected}")

    def _authentic_behind(self) -> dict[int, int]:
        """Sequence → line of the authentic lines behind the bad one: only what is asked for."""
        wanted = {self._expected, *([self._own.sequence] if self._own else [])}
        found: dict[int, int] = {}
        for number, line in enumerate(read_lines(self._chain.folder.events), start=1):
            link = self._authentic(line) if number > self._bad else None
            if link is not None:
                key = link.sequence if link.sequence in wanted else -1
                found.setdefault(key, number)
        return found

    def _authentic(self, raw: bytes) -> Link | None:
        link = link_of(raw.removesuffix(b"\n"))
        return link if link is not None and self._chain._is_authentic(link) else None

    def _as(self, kind: Kind, message: str) -> Finding:
        return Finding(self._bad, kind, f"line {self._bad} {message}")


def _heads(folder: IncidentFolder, keys: Keyring) -> tuple[Head | None, Head | None]:
    return read_head(folder.head), read_head(keys.head_path(folder.id))


def _head_findings(folder: IncidentFolder, keys: Keyring, chain: _ChainCheck) -> Iterator[Finding]:
    """Whether the record still reaches as far as it did when its head was written."""
    for path in (folder.head, keys.head_path(folder.id)):
        finding = _head_finding(path, keys, chain)
        if finding is not None:
            yield finding


def _head_finding(path: Path, keys: Keyring, chain: _ChainCheck) -> Finding | None:
    head = read_head(path)
    if head is None:
        if not path.exists():
            chain.notes.append(f"there is no head at {path}: a cut tail would not show there")
            return None
        return Finding(0, Kind.HEAD, f"the head {path} cannot be read")
    key = keys.get(head.key)
    if key is None:
        return Finding(0, Kind.WRONG_KEY, f"the head {path} needs the key {head.key}")
    if head.incident != chain.folder.id or not head.is_authentic(key.secret):
        return Finding(0, Kind.HEAD, f"the head {path} was changed, or is of another incident")
    if head.sequence > chain.sequence:
        return Finding(
            chain.lines + 1,
            Kind.CUT_OFF,
            f"events {chain.sequence + 1} to {head.sequence} are cut off behind line "
            f"{chain.lines} (head {path})",
        )
    if chain.hashes_at.get(head.sequence, head.hash) != head.hash:
        return Finding(0, Kind.HEAD, f"the head {path} is of another record of this incident")
    return None
