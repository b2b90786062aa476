"""The drill log: one line a drill, kept when the incidents themselves have been removed.

A line is written before a fault is caused and another one when the drill has ended: a drill that
was killed is known by its first line alone.
"""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rollback_playbook.errors import ExitCode, RecordError
from rollback_playbook.record.process import Liveness, liveness

_FILE = "drills.jsonl"
#: The key of a line that is written before the fault; earlier versions pass it over.
_BEGUN = "begun"
_KILLED = "killed after it began to break the environment"


@dataclass(frozen=True)
class Begun:
    """A drill that is about to break its environment.

    ``command`` is what brings the environment back, ``token`` that of its lease while the drill
    lives, ``process`` who runs it.
    """

    id: str
    time: str
    scenario: str
    environment: str
    command: str = ""
    token: int | None = None
    process: Mapping[str, Any] = field(default_factory=dict)


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
    #: The id of the line that was written before the fault.
    drill: str = ""
    #: Why it came to no end, in words; empty for one that has measured its scenario.
    broken_off: str = ""
    #: Whether the fault may still be there, and then what brings the environment back.
    left_broken: bool = False
    command: str = ""
    #: Of the lease that a drill which was killed has left.
    token: int | None = None

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
        time=str(summary.get("declared") or summary.get("opened") or ""),
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


def append_begun(state_dir: Path, begun: Begun) -> None:
    """The line of a drill before its fault, on the disk; raises RecordError."""
    _append(state_dir / _FILE, {_BEGUN: asdict(begun)})


def append_drill(state_dir: Path, drill: Drill) -> None:
    """One line more, on the disk; raises RecordError."""
    _append(state_dir / _FILE, asdict(drill))


def _append(path: Path, line: Mapping[str, Any]) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _write(descriptor, (json.dumps(line, ensure_ascii=False) + "\n").encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RecordError(
            f"the drill log {path} cannot be written: {error.strerror}",
            hint=f"free space in {path.parent}",
        ) from error


def _write(descriptor: int, line: bytes) -> None:
    """All of it or nothing, and behind a line that was torn, never in it."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        line = b"\n" + line
    written = 0
    try:
        while written < len(line):
            written += os.write(descriptor, line[written:])
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def read_drills(state_dir: Path, *, scenario: str = "") -> list[Drill]:
    """Every drill that has ended or was killed, the oldest first. Raises RecordError.

    A line that is none, such as a torn one, is left out; ``unread_lines`` counts them.
    """
    parsed = [each for each in map(_parsed, _lines(state_dir)) if each is not None]
    ended = {each.drill for each in parsed if isinstance(each, Drill)}
    drills = [found for each in parsed if (found := _ended(each, ended)) is not None]
    return [drill for drill in drills if not scenario or drill.scenario == scenario]


def unread_lines(state_dir: Path) -> int:
    """How many lines of the log are nothing that can be read here. Raises RecordError."""
    return sum(_parsed(line) is None for line in _lines(state_dir))


def _lines(state_dir: Path) -> Iterator[str]:
    """One at a time for what is garbage: it hides no other line."""
    path = state_dir / _FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise RecordError(f"the drill log {path} cannot be read: {error.strerror}") from error
    for line in content.split(b"\n"):
        if line.strip():
            yield line.decode(errors="replace")


def _ended(found: Begun | Drill, ended: set[str]) -> Drill | None:
    """A line before the fault is a drill of its own only where its process left no other."""
    if isinstance(found, Drill):
        return found
    if found.id in ended or liveness(found.process) is Liveness.ALIVE:
        return None
    return Drill(
        time=found.time,
        scenario=found.scenario,
        environment=found.environment,
        incident="",
        exit_code=int(ExitCode.INTERRUPTED),
        drill=found.id,
        broken_off=_KILLED,
        left_broken=True,
        command=found.command,
        token=found.token,
    )


def _parsed(line: str) -> Begun | Drill | None:
    """A later version may have written more; what is not known here is left out."""
    try:
        said = json.loads(line)
        if isinstance(said, dict) and _BEGUN in said:
            return Begun(**_known(Begun, said[_BEGUN]))
        return Drill(**_known(Drill, said))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _known(kind: type[Begun | Drill], said: Mapping[str, Any]) -> dict[str, Any]:
    """Raises ValueError for what is not of the kind that it should be."""
    names = {each.name: str(each.type) for each in fields(kind)}
    known = {name: value for name, value in said.items() if name in names}
    for name, value in known.items():
        if not _fits(value, names[name]):
            raise ValueError(name)
    return known


def _fits(value: Any, type_: str) -> bool:
    """Whether it is of the type that a field is annotated with."""
    if type_.startswith("Mapping[str, float]"):
        return isinstance(value, dict) and all(_is_number(each) for each in value.values())
    if type_.startswith("Mapping"):
        return isinstance(value, dict)
    if value is None:
        return "None" in type_
    if type_.startswith("float"):
        return _is_number(value)
    if type_.startswith("int"):
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, bool if type_ == "bool" else str)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value >= 0
    )


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
