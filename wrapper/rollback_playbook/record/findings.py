"""What can be wrong with a record."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What happened to a line, or to a file beside the record."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    REORDERED = "reordered"
    CUT_OFF = "cut off"
    TORN = "torn"
    WRONG_KEY = "wrong key"
    HEAD = "head"
    SUMMARY = "summary"
    EVIDENCE = "evidence"


@dataclass(frozen=True, slots=True)
class Finding:
    """``line`` counts from 1; 0 is a file beside the record."""

    line: int
    kind: Kind
    message: str
