"""Along the chain, line by line, up to its end or to the first line that does not belong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rollback_playbook.record.chain import GENESIS, Link, is_authentic, link_of, source_of
from rollback_playbook.record.completeness import CompletenessCheck
from rollback_playbook.record.keys import Key, Keyring
from rollback_playbook.record.reading import parse_line, read_lines
from rollback_playbook.record.torn import TornLine


class Authenticity:
    """Which of the keys here wrote a line; most lines have the key of the line before."""

    def __init__(self, keys: Keyring) -> None:
        self._keys = list(keys)
        self._last: Key | None = None
        self.used: set[str] = set()

    def holds(self, link: Link) -> bool:
        if self._last is not None and is_authentic(link, self._last.secret):
            return True
        for key in self._keys:
            if is_authentic(link, key.secret):
                self._last = key
                self.used.add(key.id)
                return True
        return False


class ChainCheck:
    """One pass over a record of ``size`` bytes, in memory that does not grow with it.

    ``anchors`` are the sequences whose hashes are asked for afterwards (``hashes``).
    """

    def __init__(
        self, path: Path, size: int, authenticity: Authenticity, anchors: frozenset[int]
    ) -> None:
        self.lines = 0
        self.sequence = 0
        self.hash = GENESIS
        self.hashes: dict[int, str] = {}
        self.torn: list[int] = []
        self.evidence: list[bytes] = []
        self.completeness = CompletenessCheck()
        self._source = f'","source":"{source_of(path.parent.name)}","'.encode()
        self._path = path
        self._size = size
        self._authenticity = authenticity
        self._anchors = anchors

    def first_bad(self) -> bytes | None:
        """The first line that does not belong, and whose number is ``lines``; None without one."""
        lines = read_lines(self._path, self._size)
        for raw in lines:
            self.lines += 1
            link = self._next(raw)
            if link is not None:
                self._take(link, raw)
            elif not self._passes_torn(raw, lines):
                return raw
        return None

    def _next(self, raw: bytes) -> Link | None:
        """The line's link when it is authentic and hangs on the line before."""
        if raw[-1:] != b"\n":
            return None
        link = link_of(raw[:-1])
        if link is None or link.sequence != self.sequence + 1 or link.prevhash != self.hash:
            return None
        if link.sequence == 1 and self._source not in link.body:
            return None
        return link if self._authenticity.holds(link) else None

    def _take(self, link: Link, raw: bytes) -> None:
        self.sequence = link.sequence
        self.hash = link.hash
        if link.sequence in self._anchors:
            self.hashes[link.sequence] = link.hash
        if link.type == "evidence.kept":
            self.evidence.append(raw)
        self.completeness.add(link, raw)

    def _passes_torn(self, raw: bytes, lines: Iterator[bytes]) -> bool:
        """A torn line is no fault when the next one names it, in the chain and by its hash."""
        if raw[-1:] != b"\n":
            return False
        following = next(lines, b"")
        link = self._next(following)
        event = parse_line(following) if link is not None else None
        if link is None or event is None or not TornLine.names(event, raw[:-1]):
            return False
        self.torn.append(self.lines)
        self.lines += 1
        self._take(link, following)
        return True
