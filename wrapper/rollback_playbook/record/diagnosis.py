"""What happened to the first bad line, judged from it and from everything behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rollback_playbook.record.chain import Link, link_of
from rollback_playbook.record.chain_check import ChainCheck
from rollback_playbook.record.findings import Finding, Kind
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.reading import parse_line, read_lines


class Diagnosis:
    """Made when ``chain`` has stopped at a bad line."""

    def __init__(self, path: Path, size: int, chain: ChainCheck) -> None:
        self._path = path
        self._size = size
        self._chain = chain
        self._line = chain.lines
        #: The event due on that line.
        self._expected = chain.sequence + 1

    def finding(self, raw: bytes, keys: Keyring) -> Finding:
        own = self._authentic(raw)
        if own is not None:
            return self._misplaced(own, whole=raw.endswith(b"\n"))
        at, others = self._behind(self._expected)
        if at is None and not others:
            return self._alone(raw, keys)
        if at is None:
            return self._is(Kind.CHANGED, f"is no longer what was written as {self._event()}")
        more = f"and {at - self._line - 1} more lines are" if at > self._line + 1 else "is"
        return self._is(Kind.INSERTED, f"{more} not of this record: the chain goes on behind")

    def _misplaced(self, own: Link, *, whole: bool) -> Finding:
        """A line of this record in the wrong place."""
        if own.sequence == self._expected:
            if whole:
                return self._is(Kind.CHANGED, "is of another incident, or of another chain")
            return self._is(Kind.CUT_OFF, "has lost its end")
        if own.sequence < self._expected:
            return self._is(Kind.INSERTED, f"is event {own.sequence} once more")
        again, _ = self._behind(own.sequence)
        if again is not None:
            return self._is(
                Kind.INSERTED, f"is a copy of event {own.sequence}, which stands on line {again}"
            )
        at, _ = self._behind(self._expected)
        if at is not None:
            return self._is(
                Kind.REORDERED, f"is event {own.sequence}; {self._event()} stands on line {at}"
            )
        last = own.sequence - 1
        gone = self._event() if last == self._expected else f"events {self._expected} to {last}"
        return self._is(Kind.REMOVED, f"is event {own.sequence}: {gone} removed before it")

    def _alone(self, raw: bytes, keys: Keyring) -> Finding:
        """Nothing behind the line is of this record, as far as the keys here can tell."""
        key = self._missing_key(keys) if self._expected == 1 else ""
        if key:
            return self._is(Kind.WRONG_KEY, f"and all others need the key {key}, which is not here")
        if not raw.endswith(b"\n"):
            return self._is(Kind.TORN, "is not whole: a crash, or somebody, cut it")
        return self._is(Kind.CHANGED, f"is no longer what was written as {self._event()}")

    def _missing_key(self, keys: Keyring) -> str:
        first = next(read_lines(self._path, self._size), b"")
        event = parse_line(first)
        named = str(event.data.get("key", "")) if event else ""
        return named if named and keys.get(named) is None else ""

    def _behind(self, sequence: int) -> tuple[int | None, bool]:
        """The line on which that event stands, and whether there is any other authentic line."""
        others = False
        for number, link in self._authentic_behind():
            if link.sequence == sequence:
                return number, others
            others = True
        return None, others

    def _authentic_behind(self) -> Iterator[tuple[int, Link]]:
        for number, raw in enumerate(read_lines(self._path, self._size), start=1):
            if number > self._line:
                link = self._authentic(raw)
                if link is not None:
                    yield number, link

    def _authentic(self, raw: bytes) -> Link | None:
        link = link_of(raw.removesuffix(b"\n"))
        return link if link is not None and self._chain.holds(link) else None

    def _event(self) -> str:
        return f"event {self._expected}"

    def _is(self, kind: Kind, message: str) -> Finding:
        return Finding(self._line, kind, f"line {self._line} {message}")
