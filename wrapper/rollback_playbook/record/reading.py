"""Reading a record, whatever state a crash left it in."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from rollback_playbook.errors import RecordError
from rollback_playbook.events.model import RecordEvent

#: A longer line is no line of ours: results are bounded far below.
MAX_LINE = 16 * 1024 * 1024
_BLOCK = 256 * 1024


def read_events(path: Path) -> Iterator[RecordEvent]:
    """The events of a record in the order of its lines.

    Lines that are no events (a torn one after a crash) are passed over: naming them is
    ``verify``'s task. Raises RecordError when the file cannot be read.
    """
    for line in read_lines(path):
        event = parse_line(line)
        if event is not None:
            yield event


def parse_line(line: bytes) -> RecordEvent | None:
    """The event of a line, or None."""
    try:
        return RecordEvent.from_dict(json.loads(line))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def read_lines(path: Path, size: int | None = None) -> Iterator[bytes]:
    """Every line with its newline, up to ``size`` bytes; the last one may lack it.

    Reads whole lines in blocks, which takes a third of the time of one line after the other.
    Raises RecordError when the file cannot be read.
    """
    left = sys.maxsize if size is None else size
    try:
        with path.open("rb") as file:
            while block := file.read(min(_BLOCK, left)):
                if not block.endswith(b"\n"):
                    block += file.readline(min(MAX_LINE, left - len(block)))
                left -= len(block)
                yield from BytesIO(block)
    except OSError as error:
        raise RecordError(f"the record {path} cannot be read: {error.strerror}") from error
