"""The head: which line is the last, sealed, in the incident's folder and beside the keys."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rollback_playbook.events.canonical import canonical
from rollback_playbook.record.folder import IncidentFolder, read_json, to_json, write_private
from rollback_playbook.record.keys import Key, Keyring


@dataclass(frozen=True, slots=True)
class Head:
    """The last line of a record at a time; ``mac`` seals the rest with the key named."""

    incident: str
    sequence: int
    hash: str
    time: str
    closed: bool
    key: str
    mac: str = ""

    def sealed(self, key: Key) -> Head:
        return replace(self, mac=key.mac(self._content()))

    def is_authentic(self, key: Key) -> bool:
        return key.is_of(self._content(), self.mac)

    def _content(self) -> bytes:
        return canonical({name: value for name, value in asdict(self).items() if name != "mac"})


def write_head(
    folder: IncidentFolder, keys: Keyring, head: Head, key: Key, *, durable: bool
) -> None:
    """Both copies; raises OSError."""
    content = to_json(asdict(head.sealed(key)))
    write_private(folder.head, content, durable=durable)
    copy = keys.head_path(folder.id)
    copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(copy, content, durable=durable)


def has_head(path: Path) -> bool:
    """Whether there is a head at all; a power cut may leave an empty file."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def read_head(path: Path) -> Head | None:
    """The head in a file, or None when there is none or it is malformed."""
    content: dict[str, Any] | None = read_json(path)
    if content is None:
        return None
    with suppress(TypeError):
        head = Head(**content)
        texts = (head.incident, head.hash, head.time, head.key, head.mac)
        if isinstance(head.sequence, int) and all(isinstance(each, str) for each in texts):
            return head
    return None
