"""The end of a record: where the next line goes, and what it must hang on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rollback_playbook.errors import RecordError
from rollback_playbook.events.model import RecordEvent
from rollback_playbook.record.chain import GENESIS, Link, is_authentic, link_of
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.reading import MAX_LINE, parse_line, read_lines

#: How far back a good last line is looked for before the record is given up.
_LOOK_BACK = 1_000


@dataclass(slots=True)
class Tail:
    """Size of the file in bytes, the last good line, and what a crash left behind it.

    ``unended``: the last line is whole but for its newline.
    """

    size: int = 0
    sequence: int = 0
    hash: str = GENESIS
    torn: bytes = b""
    unended: bool = False

    def advance(self, event: RecordEvent, written: int) -> None:
        """One more good line of so many bytes."""
        self.size += written
        self.sequence, self.hash = event.sequence, event.hash
        self.torn, self.unended = b"", False


def tail_of(path: Path, keys: Keyring, on_event: Callable[[RecordEvent], None]) -> Tail:
    """The tail of a record on disk; ``on_event`` gets its events on the way.

    Raises RecordError when it cannot be read, or when no key here fits its last lines.
    """
    recent: deque[Link] = deque(maxlen=_LOOK_BACK)
    size, torn, unended = 0, b"", False
    for line in read_lines(path):
        size += len(line)
        link = link_of(line.removesuffix(b"\n"))
        if not line.endswith(b"\n"):
            unended = link is not None and _fits(link, keys)
            torn = b"" if unended else line
        event = parse_line(line) if not torn else None
        if link is not None and event is not None:
            recent.append(link)
            on_event(event)
    good = next((each for each in reversed(recent) if _fits(each, keys)), None)
    if good is None and size > len(torn):
        raise RecordError(
            f"no key in {keys.folder} fits the record {path}: it cannot be continued",
            hint="put the key that its first line names back into that folder",
        )
    if good is None:
        return Tail(size=size, torn=torn)
    return Tail(size, good.sequence, good.hash, torn, unended)


def tail_after(path: Path, tail: Tail, keys: Keyring) -> tuple[Tail, list[RecordEvent]]:
    """The tail after others have written behind ``tail``, and the events they wrote.

    Only lines that continue the chain count. When the file has become shorter than it was, the
    chain goes on from the line that was last: the gap shows.
    """
    with path.open("rb") as file:
        shortened = file.seek(0, 2) < tail.size
        size = file.tell()
        file.seek(max(0, size - MAX_LINE) if shortened else tail.size)
        added = file.read()
    if shortened:
        return Tail(size, tail.sequence, tail.hash, added.rpartition(b"\n")[2]), []
    events = []
    sequence, digest = tail.sequence, tail.hash
    *lines, torn = added.split(b"\n")
    for event in _continuing(lines, digest, keys):
        events.append(event)
        sequence, digest = event.sequence, event.hash
    fragment = torn if lines else tail.torn + torn
    return Tail(size, sequence, digest, fragment), events


def _continuing(lines: list[bytes], digest: str, keys: Keyring) -> Iterator[RecordEvent]:
    for line in lines:
        link = link_of(line)
        if link is None or link.prevhash != digest or not _fits(link, keys):
            continue
        event = parse_line(line)
        if event is not None:
            digest = link.hash
            yield event


def _fits(link: Link, keys: Keyring) -> bool:
    return any(is_authentic(link, key) for key in keys)
