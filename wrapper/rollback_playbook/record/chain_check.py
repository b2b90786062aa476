"""Along the chain, line by line, up to its end or to the first line that does not belong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rollback_playbook.record.chain import Follower, Link, is_authentic
from rollback_playbook.record.completeness import CompletenessCheck
from rollback_playbook.record.keys import Key, Keyring
from rollback_playbook.record.reading import parse_line, read_lines
from rollback_playbook.record.torn import TornLine

_EVIDENCE = b'"type":"evidence.kept"}\n'


class ChainCheck:
    """One pass over a record of ``size`` bytes, in memory that does not grow with it.

    ``anchors`` are the sequences whose hashes are asked for afterwards (``hashes``).
    """

    def __init__(self, path: Path, size: int, keys: Keyring, anchors: frozenset[int]) -> None:
        self.lines = 0
        self.hashes: dict[int, str] = {}
        self.torn: list[int] = []
        self.evidence: list[bytes] = []
        self.used: set[str] = set()
        self.completeness = CompletenessCheck()
        self._path = path
        self._size = size
        self._keys = tuple(keys)
        self._key: Key | None = None
        self._anchors = anchors
        self._follower = Follower(path.parent.name)

    @property
    def sequence(self) -> int:
        """The sequence of the last good line."""
        return self._follower.sequence

    @property
    def hash(self) -> str:
        """The hash of the last good line."""
        return self._follower.hash.decode()

    def holds(self, link: Link) -> bool:
        """Whether a line was written with one of the keys here, wherever it stands."""
        return any(is_authentic(link, key) for key in self._keys)

    def first_bad(self) -> bytes | None:
        """The first line that does not belong, and whose number is ``lines``; None without one."""
        lines = read_lines(self._path, self._size)
        for raw in lines:
            self.lines += 1
            if not self._take(raw) and not self._passes_torn(raw, lines):
                return raw
        return None

    def _take(self, raw: bytes) -> bool:
        """Most lines have the key of the line before."""
        if self._key is None or not self._follower.take(raw, self._key):
            key = next((each for each in self._keys if self._follower.take(raw, each)), None)
            if key is None:
                return False
            self._key = key
            self.used.add(key.id)
        self.completeness.add(raw)
        if self._follower.sequence in self._anchors:
            self.hashes[self.sequence] = self.hash
        if raw.endswith(_EVIDENCE):
            self.evidence.append(raw)
        return True

    def _passes_torn(self, raw: bytes, lines: Iterator[bytes]) -> bool:
        """A torn line is no fault when the next one names it, in the chain and by its hash."""
        if raw[-1:] != b"\n":
            return False
        following = next(lines, b"")
        event = parse_line(following)
        if event is None or not TornLine.names(event, raw[:-1]) or not self._take(following):
            return False
        self.torn.append(self.lines)
        self.lines += 1
        return True
