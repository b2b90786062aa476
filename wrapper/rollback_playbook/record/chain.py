"""How an event becomes a line that depends on all lines before it.

The line is the canonical JSON of the event; ``hash`` is the HMAC-SHA256 of the canonical JSON of
everything else in it, ``prevhash`` included. Keys are sorted, so ``hash`` always stands between
``data`` and ``id``, and taking it out of the line's bytes gives back the bytes that were hashed:
verifying needs no parsing. An unescaped quote cannot occur inside a JSON string, which is why
looking for ``,"hash":"`` from the end cannot be misled by an event's data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from rollback_playbook.events.canonical import canonical
from rollback_playbook.events.model import SPEC_VERSION, Draft, RecordEvent, sequence_text
from rollback_playbook.record.keys import Key

#: The ``prevhash`` of a record's first line.
GENESIS = "0" * 64

_HASH = b',"hash":"'
_PREVHASH = b'"prevhash":"'
_SEQUENCE = b'","sequence":"'
_TYPE = b',"type":"'
_COUNTER = b'{"counter":'
_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Link:
    """What a line says about its place: nothing of it is proved until ``is_authentic``."""

    sequence: int
    prevhash: str
    hash: str
    body: bytes
    type: str
    counter: int | None


def source_of(incident: str) -> str:
    """The CloudEvents source of an incident's events."""
    return f"/incidents/{incident}"


class Sealer:
    """Makes the lines of one incident."""

    def __init__(self, incident: str) -> None:
        self._incident = incident
        self._source = source_of(incident)
        self._between = between(incident)

    def line(
        self, draft: Draft, *, data: bytes, sequence: int, prevhash: str, key: Key
    ) -> tuple[RecordEvent, bytes]:
        """The event and its line, with the newline. ``data`` is the canonical JSON of its data.

        Raises ValueError when the type is not made of dotted words.
        """
        text = sequence_text(sequence)
        number = text.encode()
        front = b'{"data":%b' % data
        if draft.counter is not None:
            front = b'{"counter":%d,"data":%b' % (draft.counter, data)
        back = self._between % (number, prevhash.encode(), number) + _end(draft)
        digest = key.mac(front + back[1:])
        line = b'%b,"hash":"%b%b\n' % (front, digest.encode(), back)
        return self._event(draft, text, sequence, prevhash, digest), line

    def _event(
        self, draft: Draft, text: str, sequence: int, prevhash: str, digest: str
    ) -> RecordEvent:
        return RecordEvent(
            id=f"{self._incident}.{text}",
            source=self._source,
            type=draft.type,
            time=draft.time,
            subject=draft.subject,
            data=draft.data,
            sequence=sequence,
            prevhash=prevhash,
            hash=digest,
            counter=draft.counter,
        )


def between(incident: str) -> bytes:
    """What stands between ``hash`` and ``subject``, for a sequence, a prevhash, a sequence."""
    return (
        f'","id":"{incident}.%b","prevhash":"%b","sequence":"%b",'
        f'"source":"{source_of(incident)}","specversion":"{SPEC_VERSION}",'
    ).encode()


def _end(draft: Draft) -> bytes:
    if not _is_type(draft.type):
        raise ValueError(f"{draft.type!r} is not an event type")
    subject = b'"subject":%b,' % _quoted(draft.subject) if draft.subject else b""
    return b'%b"time":"%b","type":"%b"}' % (subject, draft.time.encode(), draft.type.encode())


@lru_cache(maxsize=4096)
def _quoted(subject: str) -> bytes:
    return canonical(subject)


@lru_cache(maxsize=256)
def _is_type(text: str) -> bool:
    return _TYPE_FORM.fullmatch(text) is not None


_TYPE_FORM = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


def link_of(line: bytes) -> Link | None:
    """The place a line (without its newline) claims, or None when it has not a line's form."""
    at = line.rfind(_HASH)
    if at < 0:
        return None
    end = at + len(_HASH) + _DIGITS
    prev = line.rfind(_PREVHASH) + len(_PREVHASH)
    sequence = prev + _DIGITS
    kind = line.rfind(_TYPE) + len(_TYPE)
    well_formed = (
        line[end : end + 7] == b'","id":'
        and prev >= end
        and line[sequence : sequence + len(_SEQUENCE)] == _SEQUENCE
        and kind > sequence
        and line[-2:] == b'"}'
    )
    if not well_formed:
        return None
    return _link(line, at, end, prev, kind)


def _link(line: bytes, at: int, end: int, prev: int, kind: int) -> Link | None:
    start = prev + _DIGITS + len(_SEQUENCE)
    try:
        counter = None
        if line.startswith(_COUNTER):
            counter = int(line[len(_COUNTER) : line.index(b",")])
        return Link(
            sequence=int(line[start : line.index(b'"', start)]),
            prevhash=line[prev : prev + _DIGITS].decode("ascii"),
            hash=line[at + len(_HASH) : end].decode("ascii"),
            body=line[:at] + line[end + 1 :],
            type=line[kind:-2].decode("ascii"),
            counter=counter,
        )
    except ValueError:
        return None


def is_authentic(link: Link, key: Key) -> bool:
    """Whether the line was written by a holder of the key, and not changed since."""
    return key.is_of(link.body, link.hash)


class Follower:
    """Recognises the next line of a chain: what must stand in it is known beforehand.

    Says the same as ``link_of`` and ``is_authentic``, several times as fast.
    """

    def __init__(self, incident: str) -> None:
        self._between = between(incident)
        self.sequence = 0
        self.hash = GENESIS.encode()

    def take(self, raw: bytes, key: Key) -> bool:
        """Whether ``raw`` is the next line, with its newline; if so it is the last one now."""
        sequence = b"%010d" % (self.sequence + 1)
        at = raw.rfind(self._between % (sequence, self.hash, sequence))
        start = at - _DIGITS
        if start < len(_HASH) or raw[start - len(_HASH) : start] != _HASH or raw[-3:] != b'"}\n':
            return False
        body = raw[: start - len(_HASH)] + raw[at + 1 : -1]
        digest = key.mac(body).encode()
        if digest != raw[start:at]:
            return False
        self.sequence += 1
        self.hash = digest
        return True


def type_of(raw: bytes) -> bytes:
    """The type of a line that was recognised."""
    return raw[raw.rfind(_TYPE) + len(_TYPE) : -3]


def counter_of(raw: bytes) -> int | None:
    """The counter of a line that was recognised."""
    return int(raw[len(_COUNTER) : raw.index(b",")]) if raw.startswith(_COUNTER) else None
