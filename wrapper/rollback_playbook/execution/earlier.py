"""What the earlier attempts of an incident have done, read from its record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rollback_playbook.catalogue.scenarios import Scenario
from rollback_playbook.events.model import RecordEvent
from rollback_playbook.execution.outcome import LOCK, Progress

#: Facts that later phases need are set in these, which change nothing that users see.
_ALWAYS = ("Declare", "Assess")
#: Before the switch goes on: modules are made ready, and users are kept out if they are not.
#: Before users are let in, and before it is called over: the gate, since one that passed a while
#: ago proves nothing now.
_BEFORE = {
    "Pause": ("Prepare",),
    "Switch": ("Prepare", "Pause"),
    "Verify": ("Pause",),
    "Resume": ("Verify",),
    "Close": ("Verify", "Confirm"),
}


@dataclass
class Earlier:
    """``declared`` is what the incident was opened with; ``token`` is that of its lock, or 0."""

    declared: dict[str, Any] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    token: int = 0
    restore_id: str = ""

    def unfinished(self, scenario: Scenario) -> str:
        """The first phase that did not finish; the last one when all did."""
        names = [phase.name for phase in scenario.phases]
        left = (name for name in names if name not in self.progress.finished)
        return next(left, names[-1])

    def progress_before(self, phase: str, scenario: Scenario) -> Progress:
        """The progress with which an attempt from ``phase`` on begins."""
        names = [each.name for each in scenario.phases]
        kept = set(names[: names.index(phase)])
        before = self.progress
        return Progress(
            started=[name for name in before.started if name in kept],
            finished=before.finished & kept,
            acted={name: did for name, did in before.acted.items() if name in kept},
            gates={name: said for name, said in before.gates.items() if name in kept},
            decision=before.decision,
            changed_before=frozenset(before.changed),
            protected_users=before.protected_users and "Protect" in kept,
        )


def phases_from(phase: str, scenario: Scenario) -> tuple[str, ...]:
    """The phases to run from ``phase`` on, with those that it cannot do without."""
    names = [each.name for each in scenario.phases]
    wanted = {*_ALWAYS, *_BEFORE.get(phase, ()), *names[names.index(phase) :]}
    return tuple(dict.fromkeys(name for name in names if name in wanted))


def read_earlier(events: Iterable[RecordEvent]) -> Earlier:
    """Follows the record; runs of other scenarios, which only made traffic safe, are left out."""
    earlier = Earlier()
    scenario = ""
    running = ""
    for event in events:
        if event.type == "incident.declared":
            earlier.declared = dict(event.data)
            scenario = str(event.data.get("scenario", ""))
        elif event.type == "run.started":
            running = str(event.data.get("scenario", ""))
        if running in ("", scenario):
            _follow(earlier, event)
    # A phase may be several plays: the last one begun may have had another one to come.
    if earlier.progress.phase != "Close":
        earlier.progress.finished.discard(earlier.progress.phase)
    earlier.restore_id = str(earlier.progress.decision.get("restore_id", ""))
    return earlier


def _follow(earlier: Earlier, event: RecordEvent) -> None:
    if event.type == "phase.started":
        earlier.progress.finished.discard(str(event.data.get("name")))
    earlier.progress.observe(event.type, event.subject, event.data)
    if event.type == "lease.released":
        earlier.token = 0
    if event.type == "task.finished" and event.data.get("action") == LOCK:
        result = event.data.get("result") or {}
        token = result.get("token") if result.get("holder") else 0
        earlier.token = token if isinstance(token, int) else earlier.token
