"""The drill log: one line a drill, kept when the incidents themselves have been removed."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rollback_playbook.errors import RecordError

_FILE = "drills.jsonl"


@dataclass(frozen=True)
class Drill:
    """One drill: when, of what, how long each phase took, what users felt, how it ended.

    Times in seconds. ``exit_code`` is the drill's own: it is not 0 when the scenario ended well
    and something was not proved all the same.
    """

    time: str
    scenario: str
    environment: str
    incident: str
    exit_code: int
    version: str = ""
    release_from: str = ""
    release_to: str = ""
    seconds: float | None = None
    target_seconds: float | None = None
    outage_seconds: float | None = None
    failed_requests: int | None = None
    phases: Mapping[str, float] = field(default_factory=dict)

    @property
    def in_time(self) -> bool | None:
        """Whether the target was met; None when one of the two is not known."""
        if self.seconds is None or self.target_seconds is None:
            return None
        return self.seconds <= self.target_seconds


def drill_of(summary: Mapping[str, Any], *, exit_code: int) -> Drill:
    """The line of a drill, from the summary of its incident."""
    decision = summary.get("decision") or {}
    outage = summary.get("outage") or {}
    return Drill(
        time=str(summary.get("declared") or ""),
        scenario=str(summary.get("scenario") or ""),
        environment=str(summary.get("environment") or ""),
        incident=str(summary.get("id") or ""),
        exit_code=exit_code,
        version=str(summary.get("version") or ""),
        release_from=str(decision.get("release_from") or ""),
        release_to=str(decision.get("release_to") or ""),
        seconds=summary.get("seconds"),
        target_seconds=summary.get("target_seconds"),
        outage_seconds=outage.get("seconds"),
        failed_requests=outage.get("failed"),
        phases={
            str(phase["name"]): float(phase["seconds"])
            for phase in summary.get("phases", ())
            if phase.get("seconds") is not None
        },
    )


def append_drill(state_dir: Path, drill: Drill) -> None:
    """One line more, on the disk; raises RecordError."""
    path = state_dir / _FILE
    line = (json.dumps(asdict(drill), ensure_ascii=False) + "\n").encode()
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RecordError(f"the drill log {path} cannot be written: {error.strerror}") from error


def read_drills(state_dir: Path, *, scenario: str = "") -> list[Drill]:
    """Every drill, the oldest first; a torn line is left out. Raises RecordError."""
    path = state_dir / _FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"the drill log {path} cannot be read: {error}") from error
    drills = [found for line in text.splitlines() if (found := _parsed(line)) is not None]
    return [drill for drill in drills if not scenario or drill.scenario == scenario]


def _parsed(line: str) -> Drill | None:
    """A later version may have written more; what is not known here is left out."""
    known = {each.name for each in fields(Drill)}
    try:
        return Drill(**{name: value for name, value in json.loads(line).items() if name in known})
    except (ValueError, TypeError, AttributeError):
        return None


def trend(drills: Sequence[Drill]) -> float | None:
    """How much longer the last drill took than those like it before: 0.2 is a fifth.

    Those of its scenario on its environment; None without one that ended well.
    """
    if not drills or drills[-1].seconds is None:
        return None
    last = drills[-1]
    before = [
        each.seconds
        for each in drills[:-1]
        if (each.scenario, each.environment) == (last.scenario, last.environment)
        and each.exit_code == 0
        and each.seconds
    ]
    return last.seconds / statistics.median(before) - 1 if before and last.seconds else None
