"""What a health gate says while it has not decided: Ansible itself hears of it only at its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rollback_playbook.events.model import timestamp

#: The variable that names the file to ``health_gate`` (module_utils/_gate_watch.py).
VARIABLE = "ROLLBACK_PLAYBOOK_GATE_FILE"
_MOST_AT_ONCE = 1 << 20


class GateSamples:
    """Reads the file of a run's gates as it grows; a line that is not whole yet is left for later.

    A gate that runs on another machine writes there, which is nowhere: its samples come with its
    result.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gate.jsonl"
        self._read = 0

    def new(self) -> Iterator[dict[str, Any]]:
        """A job event for each line that was written since."""
        with suppress(OSError):
            if self.path.stat().st_size > self._read:
                yield from self._lines()

    def _lines(self) -> Iterator[dict[str, Any]]:
        with self.path.open("rb") as file:
            file.seek(self._read)
            added = file.read(_MOST_AT_ONCE)
        whole, _, _ = added.rpartition(b"\n")
        self._read += len(whole) + bool(whole)
        for line in whole.splitlines():
            with suppress(ValueError, TypeError, KeyError, OverflowError):
                yield _event(json.loads(line))


def _event(sample: dict[str, Any]) -> dict[str, Any]:
    """In the shape of a job event, without a counter: Ansible did not count it."""
    at = datetime.fromtimestamp(float(sample.pop("at")), UTC)
    return {"event": "gate_sampled", "created": timestamp(at), "event_data": sample}
