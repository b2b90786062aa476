"""A line that a crash left unfinished, and the event that names it."""

from __future__ import annotations

import hashlib
from typing import Any

from rollback_playbook.events.model import Draft, RecordEvent, timestamp


class TornLine:
    """``record.torn`` has the fragment's length and SHA-256: nothing else can stand there."""

    TYPE = "record.torn"

    @staticmethod
    def draft(fragment: bytes) -> Draft:
        return Draft(type=TornLine.TYPE, data=_about(fragment), time=timestamp(), sync=True)

    @staticmethod
    def names(event: RecordEvent, fragment: bytes) -> bool:
        return event.type == TornLine.TYPE and event.data == _about(fragment)


def _about(fragment: bytes) -> dict[str, Any]:
    return {"bytes": len(fragment), "sha256": hashlib.sha256(fragment).hexdigest()}
