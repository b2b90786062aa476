"""Assess alone, for a plan: it only looks, so nothing is locked and nothing is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rollback_playbook.catalogue.environments import Environment
from rollback_playbook.catalogue.scenarios import Scenario
from rollback_playbook.events.conversion import EventConverter
from rollback_playbook.execution.incident_log import decision_in
from rollback_playbook.execution.outcome import Progress
from rollback_playbook.execution.runner import Interrupt, JobEvent, PlaybookRun, run

_PHASE = "Assess"


@dataclass(frozen=True)
class Assessment:
    """What Assess decided, or in ``failure`` why it did not. Neither is redacted."""

    decision: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""


def assess(
    scenario: Scenario,
    environment: Environment,
    *,
    ansible_environment: Mapping[str, str],
    limit: str = "",
    variables: Mapping[str, Any],
) -> Assessment:
    """Run the scenario's Assess; an empty assessment where it has none."""
    if not scenario.has(_PHASE):
        return Assessment()
    request = PlaybookRun(
        playbook=scenario.path,
        inventory=environment.inventory,
        environment=ansible_environment,
        variables=variables,
        limit=limit,
        tags=(_PHASE,),
    )
    converter, progress = EventConverter(), Progress()
    decisions: list[Mapping[str, Any]] = []

    def on_event(event: JobEvent) -> None:
        for draft in converter.convert(event):
            progress.observe(draft.type, draft.subject, draft.data)
            decision = decision_in(draft)
            if decision is not None:
                decisions.append(decision)

    result = run(request, on_event, Interrupt())
    if result.rc == 0:
        return Assessment(decision=decisions[-1] if decisions else {})
    words = "; ".join(f"{each.host}: {each.message}" for each in progress.failures)
    return Assessment(failure=words or " ".join(result.output_tail) or "Ansible did not start")
