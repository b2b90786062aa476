"""Whether a drill has left an environment broken: what whoever comes next has to know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rollback_playbook.errors import RecordError
from rollback_playbook.events.phases import CHANGING_PHASES
from rollback_playbook.record.drill_log import Drill, read_drills
from rollback_playbook.record.listing import IncidentEntry, list_incidents, summary_for

_GATED = frozenset({"Verify", "Confirm"})
#: What a person says of an environment that was mended by other means, and its gate has to agree.
_SAYS_SO = "mark-good"
_LAB = "lab"


def left_broken(root: Path, environment: str, *, state_dir: Path) -> Drill | None:
    """The last drill there, where it broke it and nothing has brought it back since.

    ``command`` of it is what brings the environment back. ``root`` has the incidents. A log or
    records that cannot be read stop nobody: then None. The lab itself says what is wrong with it,
    and ``lab mend`` is no incident.
    """
    if environment == _LAB:
        return None
    try:
        drills = [each for each in read_drills(state_dir) if each.environment == environment]
        if not drills or not drills[-1].left_broken:
            return None
        last = drills[-1]
        entries = list_incidents(root, environment=environment)
        return _unless_brought_back(last, [each for each in entries if each.declared >= last.time])
    except RecordError:
        return None


def _unless_brought_back(drill: Drill, since: Iterable[IncidentEntry]) -> Drill | None:
    for entry in since:
        phases = _phases(entry)
        if entry.exit_code == 0 and phases:
            gated = phases & CHANGING_PHASES and phases & _GATED
            if gated or entry.scenario in (_SAYS_SO, drill.scenario):
                return None
        elif entry.state == "interrupted" and phases & CHANGING_PHASES:
            return replace(drill, command=f"rollback-playbook continue {entry.id}")
    return drill


def _phases(entry: IncidentEntry) -> frozenset[str]:
    """None of a run in check mode, which proves nothing."""
    summary = summary_for(entry.folder)
    if summary.get("check"):
        return frozenset()
    return frozenset(str(phase["name"]) for phase in summary["phases"])
