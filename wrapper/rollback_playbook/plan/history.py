"""What earlier runs of a scenario tell about the next one: its times, and its last drill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from rollback_playbook.errors import RecordError
from rollback_playbook.events.model import RecordEvent
from rollback_playbook.plan.left_broken import left_broken
from rollback_playbook.record.drill_log import Drill, read_drills
from rollback_playbook.record.listing import IncidentEntry, list_incidents, summary_for
from rollback_playbook.record.reading import read_events

_RUNS = 10
#: Tasks are told from the records themselves, which are long.
_RECORDS = 3

#: A step of a scenario: its phase and its role, or its own name where it has no role.
Step = tuple[str, str]
Name = TypeVar("Name", str, Step)


@dataclass(frozen=True)
class History:
    """Medians in seconds; ``environment`` is where they come from, ``runs`` how many there were."""

    runs: int = 0
    environment: str = ""
    total: float | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    steps: Mapping[Step, float] = field(default_factory=dict)
    drill: Drill | None = None
    #: The drill that has left the environment broken.
    broken_by: Drill | None = None


def history_of(root: Path, scenario: str, environment: str, *, state_dir: Path) -> History:
    """Of the runs that ended well: on this environment, or on any where it has none.

    ``root`` has the incidents, ``state_dir`` the drill log.
    """
    found = History(
        drill=_last_drill(state_dir, scenario),
        broken_by=left_broken(root, environment, state_dir=state_dir),
    )
    try:
        every = [entry for entry in list_incidents(root, scenario=scenario) if entry.exit_code == 0]
    except RecordError:
        return found
    real = [entry for entry in every if not summary_for(entry.folder).get("check")]
    here = [entry for entry in real if entry.environment == environment]
    runs = (here or real)[:_RUNS]
    if not runs:
        return found
    return replace(
        found,
        runs=len(runs),
        environment=runs[0].environment,
        total=_median([entry.seconds for entry in runs]),
        phases=_medians(_phase_times(summary_for(entry.folder)) for entry in runs),
        steps=_medians(_step_times(entry) for entry in runs[:_RECORDS]),
    )


def _last_drill(state_dir: Path, scenario: str) -> Drill | None:
    """A drill has passed when it says so itself: a scenario can end well and the fault be felt."""
    try:
        drills = read_drills(state_dir, scenario=scenario)
    except RecordError:
        return None
    return next((each for each in reversed(drills) if each.exit_code == 0), None)


def _phase_times(summary: Mapping[str, Any]) -> dict[str, float]:
    """A phase that ran twice, as Assess does, counts as it ran last."""
    found = {}
    for phase in summary["phases"]:
        if isinstance(phase.get("seconds"), (int, float)) and phase["status"] in ("ok", "rescued"):
            found[str(phase["name"])] = float(phase["seconds"])
    return found


def _step_times(entry: IncidentEntry) -> dict[Step, float]:
    """Seconds of the tasks of each role in each phase of the last run in the record."""
    try:
        return _seconds_by_step(read_events(entry.folder.events))
    except RecordError:
        return {}


def _seconds_by_step(events: Iterable[RecordEvent]) -> dict[Step, float]:
    found: dict[Step, float] = {}
    roles: dict[str, str] = {}
    for event in events:
        data = event.data
        if event.type == "run.started":
            found, roles = {}, {}
        elif event.type == "task.started":
            task = str(data.get("task", ""))
            roles[task] = str(data.get("role") or task)
        elif event.type == "task.finished" and isinstance(data.get("seconds"), (int, float)):
            task = str(data.get("task", ""))
            step = (str(data.get("phase", "")), roles.get(task, task))
            found[step] = found.get(step, 0.0) + float(data["seconds"])
    return found


def _medians(found: Iterable[Mapping[Name, float]]) -> dict[Name, float]:
    by_name: dict[Name, list[float]] = {}
    for times in found:
        for name, seconds in times.items():
            by_name.setdefault(name, []).append(seconds)
    return {name: median(seconds) for name, seconds in by_name.items()}


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
