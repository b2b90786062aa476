"""Whether an earlier incident of an environment stands in the way of a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rollback_playbook.errors import RefusedError
from rollback_playbook.events.phases import CHANGING_PHASES
from rollback_playbook.record.listing import IncidentEntry, list_incidents, summary_for

_LOOKED_AT = 50


def refuse_unfinished(
    root: Path,
    environment: str,
    *,
    but: str = "",
    is_beside: Callable[[str], bool] = lambda _: False,
) -> None:
    """Raises RefusedError when one still runs, or was killed after production was changed.

    ``but`` is the one that is being taken back. ``is_beside`` says of a scenario's name whether it
    runs beside everything else: a rollback does not wait for the proof of a backup. The lock of the
    environment says the same to other controllers; this says it also where a run was killed before
    it had the lock, or so long ago that the lock has expired.
    """
    entries = list_incidents(root, environment=environment, limit=_LOOKED_AT)
    settled = {but, *_undone(entries)}
    for entry in entries:
        if entry.state == "running" and not is_beside(entry.scenario):
            raise RefusedError(
                f"{entry.id} runs on {environment} right now, by {entry.operator}; nothing was "
                "changed",
                hint="wait for it, or --take-over with a --reason",
            )
        if entry.state == "interrupted" and entry.id not in settled and _changed_production(entry):
            raise RefusedError(
                f"{entry.id} was interrupted on {environment}; nothing was changed by this command",
                hint=f"rollback-playbook continue {entry.id}; or rollback-playbook undo "
                f"{entry.id}; or --take-over with a --reason",
            )
        if entry.exit_code == 0 and "Switch" in _phases(entry):
            return


def _undone(entries: Sequence[IncidentEntry]) -> Iterator[str]:
    """The incidents that were taken back, also to a state that is not healthy."""
    for entry in entries:
        if entry.exit_code in (0, 5):
            yield str(summary_for(entry.folder).get("undoes", ""))


def _changed_production(entry: IncidentEntry) -> bool:
    return bool(_phases(entry) & CHANGING_PHASES) and not summary_for(entry.folder).get("check")


def _phases(entry: IncidentEntry) -> set[str]:
    return {str(phase["name"]) for phase in summary_for(entry.folder)["phases"]}
