"""One incident from its declaration to its close: assess, run, make safe, decide the outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rollback_playbook.catalogue.environments import Environment
from rollback_playbook.catalogue.scenarios import Scenario
from rollback_playbook.errors import ExitCode
from rollback_playbook.events.conversion import EventConverter
from rollback_playbook.execution.incident_log import IncidentLog
from rollback_playbook.execution.lease import LeaseKeeper, lease_renewer
from rollback_playbook.execution.outcome import (
    Outcome,
    Progress,
    checked,
    decide,
    lease_lost,
    leaves_nothing_open,
    not_made_safe,
    safe_traffic,
)
from rollback_playbook.execution.runner import (
    Interrupt,
    JobEvent,
    PlaybookRun,
    RunResult,
    run,
)


@dataclass(frozen=True)
class Order:
    """What the operator asked for, resolved."""

    scenario: Scenario
    environment: Environment
    operator: str
    reason: str
    ansible_environment: Mapping[str, str]
    #: Scenarios that put traffic into a safe state, by the state.
    traffic: Mapping[str, Scenario]
    variables: Mapping[str, Any] = field(default_factory=dict)
    limit: str = ""
    check: bool = False
    #: The phases to run, of an incident that is continued; all of them when empty.
    phases: tuple[str, ...] = ()
    #: What to type for this incident.
    incident: str = "INCIDENT"


class Session:
    """Runs the plays of one order and keeps its log."""

    def __init__(self, order: Order, log: IncidentLog, interrupt: Interrupt) -> None:
        self._order = order
        self._log = log
        self._interrupt = interrupt
        self._lease_lost = ""

    def assess(self) -> Outcome | None:
        """Run Assess alone, which changes nothing; an outcome when that ends the incident."""
        result = self._play(self._order.scenario, tags=("Assess",))
        progress = self._log.progress
        if result.rc == 0 and not result.interrupted:
            self._log.progress = replace(
                progress, started=[], finished=set(), changed=set(), failures=[], gates={}
            )
            return None
        return self._decide(result)

    def roll_back(self) -> Outcome:
        """Run the scenario; when it does not finish, put the users' traffic into a safe state."""
        result = self._play(self._order.scenario, tags=self._order.phases)
        if self._lease_lost:
            return lease_lost(self._log.progress, self._lease_lost)
        if self._order.check:
            return self._with_record(checked(self._log.progress, result), result)
        outcome = self._decide(result)
        if result.rc != 0 and outcome.exit_code is not ExitCode.REFUSED:
            outcome = self._make_safe(outcome)
        return self._with_record(self._with_lock(outcome), result)

    def _with_lock(self, outcome: Outcome) -> Outcome:
        """Whoever comes next would otherwise learn of the lock by being refused."""
        if not self._log.progress.locked:
            return outcome
        locked = f"{self._order.environment.name} stays locked: anything else needs --take-over"
        return replace(outcome, next_step="; ".join(filter(None, [outcome.next_step, locked])))

    def _decide(self, result: RunResult) -> Outcome:
        order = self._order
        return decide(order.scenario, self._log.progress, result, order.incident)

    def _play(self, scenario: Scenario, tags: tuple[str, ...] = ()) -> RunResult:
        order = self._order
        converter = EventConverter(check=order.check)
        request = PlaybookRun(
            playbook=scenario.path,
            inventory=order.environment.inventory,
            environment=order.ansible_environment,
            variables={**order.variables, "incident_lock_renewed": not order.check},
            limit=order.limit,
            tags=tags,
            check=order.check,
        )
        self._log.append(
            "run.started", {"scenario": scenario.name, "tags": list(tags), "check": order.check}
        )
        result = self._run_holding_the_lease(request, self._log.follow(converter, only=tags))
        for draft in converter.close():
            self._log.write(draft)
        self._log.append(
            "run.finished",
            {
                "scenario": scenario.name,
                "rc": result.rc,
                "status": result.status,
                "seconds": round(result.seconds, 3),
                "expected": result.events_expected,
                "recorded": result.events_received,
            },
        )
        return result

    def _run_holding_the_lease(
        self, request: PlaybookRun, on_event: Callable[[JobEvent], None]
    ) -> RunResult:
        if request.check:
            return run(request, on_event, self._interrupt)
        renew = lease_renewer(request)
        with LeaseKeeper(renew, self._interrupt, self._is_done) as lease:
            result = run(request, lease.watch(on_event), self._interrupt)
        self._lease_lost = lease.lost
        if lease.released is not None:
            self._log.append("lease.released", {"token": lease.released})
        return result

    def _is_done(self) -> bool:
        return leaves_nothing_open(self._order.scenario, self._log.progress)

    def _make_safe(self, outcome: Outcome) -> Outcome:
        """Nothing in a playbook can do this: rescue and always never run for a host that is gone.

        The traffic scenario runs without Declare and Close: the environment stays locked.
        """
        state = safe_traffic(self._log.progress)
        scenario = self._order.traffic.get(state)
        if scenario is None:
            return outcome
        if self._interrupt.now:
            return replace(outcome, summary=f"{outcome.summary}. Traffic was left as it is")
        self._log.append("compensation.started", {"text": f"users' traffic is being {state}"})
        before, self._log.progress = self._log.progress, Progress()
        phase = "Pause" if state == "paused" else "Resume"
        self._interrupt.rearm()
        result = self._play(scenario, tags=(phase,))
        self._log.progress = before
        done = result.rc == 0
        said = f"users' traffic {'is' if done else 'could not be'} {state}"
        self._log.append("compensation.finished", {"state": state, "done": done, "text": said})
        if done:
            return outcome
        command = f"rollback-playbook {scenario.name} -i {self._order.environment.name}"
        return not_made_safe(outcome, before, command)

    def _with_record(self, outcome: Outcome, result: RunResult) -> Outcome:
        """A healthy system whose record has a gap is not the whole of what was promised."""
        if result.events_received < result.events_expected and not self._log.error:
            missing = result.events_expected - result.events_received
            self._log.error = f"{missing} of {result.events_expected} events never arrived"
        if not self._log.error:
            return outcome
        code = outcome.exit_code
        healthy = code is ExitCode.HEALTHY
        return replace(
            outcome,
            exit_code=ExitCode.RECORD_INCOMPLETE if healthy else code,
            summary=f"{outcome.summary}; but the record is incomplete: {self._log.error}",
            next_step="; ".join(
                filter(None, ["keep the screen's output: it is all there is", outcome.next_step])
            ),
        )
