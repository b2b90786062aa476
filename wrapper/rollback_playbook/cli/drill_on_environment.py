"""A drill on an environment of one's own: its inventory says how it is broken, and who asks."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollback_playbook.catalogue.environments import Environment
from rollback_playbook.catalogue.scenarios import Scenario, find
from rollback_playbook.cli.drill_permission import definition_for, refuse_broken
from rollback_playbook.cli.drill_steps import judge, step
from rollback_playbook.cli.drill_underway import BrokenOffError, Underway
from rollback_playbook.cli.drill_watching import Watch
from rollback_playbook.cli.incident_run import print_finish, run_incident
from rollback_playbook.cli.incident_steps import operator
from rollback_playbook.cli.settings import Settings
from rollback_playbook.cli.signals import held, interruptible
from rollback_playbook.drill import users
from rollback_playbook.drill.definition import Definition
from rollback_playbook.drill.playing import play
from rollback_playbook.errors import ExitCode, RefusedError, RollbackError
from rollback_playbook.execution.lease import Lease, LeaseKeeper, lease_renewer, take_lease
from rollback_playbook.execution.outcome import Progress
from rollback_playbook.execution.run_folder import passing_folder
from rollback_playbook.execution.runner import Interrupt, PlaybookRun

if TYPE_CHECKING:
    from rollback_playbook.cli.incident_steps import Finished
    from rollback_playbook.record.drill_log import Drill

#: What gives a drill something to go back to, by the level of its scenario: what is restored has
#: to be in a backup first. The others go back to the release that is running.
_BACKUP = ("backup", ())
_BEFORE: dict[str, tuple[str, tuple[str, ...]]] = {
    "2": ("backup", ("backup_database=false",)),
    "3": _BACKUP,
    "decided": _BACKUP,
}
#: Somebody who marked the running release bad knew why: a drill does not take that back.
_MARK = ("mark-good", ("release_over_bad=false",))


def drills_of(settings: Settings, name: str) -> tuple[str, ...]:
    """The scenarios that an environment can be drilled with, in the order of its inventory."""
    return tuple(definition_for(settings, settings.environment(name)).faults)


def drill_on_environment(settings: Settings, scenario: str, name: str, *, as_json: bool) -> Drill:
    """See that it is well, keep what is gone back to, break it, roll it back, look again.

    Raises RefusedError also where an earlier drill has left it broken.
    """
    found = find(scenario, settings.playbook_dirs)
    environment = settings.environment(name)
    definition = definition_for(
        settings,
        environment,
        *(phase.hosts for phase in found.phases),
        may_lack=found.may_lack,
    )
    typed = shlex.quote(name if "/" not in name else environment.inventory)
    refuse_broken(settings, environment, typed)
    return _Drill(settings, found, environment, definition, typed=typed, as_json=as_json).run()


class _Drill:
    """One drill on an environment that may be broken."""

    def __init__(
        self,
        settings: Settings,
        scenario: Scenario,
        environment: Environment,
        definition: Definition,
        *,
        typed: str,
        as_json: bool,
    ) -> None:
        self._settings = settings
        self._scenario = scenario
        self._environment = environment
        self._definition = definition
        self._fault = definition.fault_for(scenario.name)
        #: What ``-i`` takes for the environment, for who types it after us.
        self._typed = typed
        self._as_json = as_json

    def run(self) -> Drill:
        """Raises BrokenOffError where it came to no end."""
        with passing_folder() as folder:
            prober = users.asking(self._definition.users, folder / "prober.jsonl")
            try:
                drill = self._drill(Watch(self._definition, prober))
            finally:
                prober.stop()
        self._mend(drill)
        return drill

    def _drill(self, watch: Watch) -> Drill:
        try:
            watch.require_good(
                hint=f"rollback-playbook plan {self._scenario.name} -i {self._typed} says what is "
                "found; drill_url in the inventory is what users ask for"
            )
            self._keep_what_is_good()
        except KeyboardInterrupt as stopped:
            raise self._unbroken() from stopped
        with ExitStack() as until_over:
            with interruptible(_say, lambda: None) as interrupt:
                lease = self._taken(until_over, interrupt)
                underway = until_over.enter_context(
                    Underway(
                        self._settings,
                        self._scenario.name,
                        self._environment.name,
                        command=self._command,
                        lease=lease,
                    )
                )
                broken = self._break(watch, interrupt, underway)
            return self._roll_back(watch, lease, underway, broken=broken)

    def _unbroken(self) -> BrokenOffError:
        return BrokenOffError(
            f"the drill was stopped; nothing of {self._environment.name} was broken",
            exit_code=ExitCode.INTERRUPTED,
        )

    @property
    def _command(self) -> str:
        """What brings the environment back, to be typed as it is."""
        given = "".join(f" -e {shlex.quote(each)}" for each in self._fault.variables)
        return f"rollback-playbook {self._scenario.name} -i {self._typed}{given}"

    def _taken(self, until_over: ExitStack, interrupt: Interrupt) -> LeaseKeeper:
        """The lease of the environment: nobody else begins anything while it is being broken."""
        reason = self._reason
        request = PlaybookRun(
            playbook=self._fault.playbook,
            inventory=self._environment.inventory,
            environment=self._settings.ansible_environment,
            variables={
                "incident_id": f"drill of {self._scenario.name}",
                "incident_operator": operator(),
                "incident_reason": reason,
                "incident_lock_renewed": True,
            },
        )
        keeper = LeaseKeeper(lease_renewer(request), interrupt, lambda: True)
        until_over.enter_context(keeper)
        problem = take_lease(request, keeper, interrupt)
        if interrupt.asked:
            raise self._unbroken()
        if problem:
            raise RefusedError(f"{problem.removesuffix('.')}. Nothing was broken")
        return keeper

    @property
    def _reason(self) -> str:
        return f"drill: {self._fault.playbook.stem}"

    def _break(self, watch: Watch, interrupt: Interrupt, underway: Underway) -> float:
        """When the fault began to be caused."""
        step(f"{self._environment.name} is broken: {self._fault.playbook}")
        broken = time.time()
        try:
            self._play(self._fault.playbook, interrupt)
        except RefusedError as error:
            underway.nothing_was_broken()
            raise RefusedError(
                f"{error} of {self._environment.name}; nothing was broken"
            ) from error
        underway.is_broken()
        watch.tell_fault(interrupt, since=broken)
        return broken

    def _roll_back(
        self, watch: Watch, lease: LeaseKeeper, underway: Underway, *, broken: float
    ) -> Drill:
        step(f"rollback-playbook {self._scenario.name} -i {self._environment.name}")
        rollback = time.time()
        underway.rolls_back()
        lock = {"incident_lock_token": lease.hand_over()}
        runs: list[Progress] = []

        def measure(progress: Progress) -> Iterator[tuple[str, dict[str, Any]]]:
            runs.append(progress)
            felt = watch.measure(progress, broken=broken, rollback=rollback)
            yield "outage.measured", felt.as_event()

        finished = self._run(
            self._scenario.name,
            reason=self._reason,
            variables=(*self._fault.variables, json.dumps(lock)),
            kind="drill",
            measure=measure,
        )
        with held(_say):
            if not any(run.locked or "Declare" in run.finished for run in runs):
                # Refused or stopped before it went on with the lease.
                lease.end(Lease.RELEASED)
            print_finish(finished)
            return judge(self._settings, finished, watch.felt, [watch.served()], underway=underway)

    def _run(
        self,
        scenario: str,
        *,
        reason: str,
        variables: Sequence[str],
        kind: str = "incident",
        measure: Callable[[Progress], Iterator[tuple[str, dict[str, Any]]]] | None = None,
    ) -> Finished:
        return run_incident(
            self._settings,
            scenario,
            self._environment.inventory,
            reason=reason,
            variables=variables,
            as_json=self._as_json,
            kind=kind,
            measure=measure,
        )

    def _keep_what_is_good(self) -> None:
        scenario, variables = _BEFORE.get(self._scenario.level, _MARK)
        step(f"what it goes back to: rollback-playbook {scenario} -i {self._environment.name}")
        kept = self._run(scenario, reason="before a drill", variables=variables)
        if kept.exit_code is ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
        if kept.exit_code is not ExitCode.HEALTHY:
            refused = kept.exit_code is ExitCode.REFUSED
            raise (RefusedError if refused else RollbackError)(
                f"{scenario} failed, so nothing was broken: {kept.outcome.summary}",
                hint=kept.outcome.next_step,
            )

    def _play(self, playbook: Path, interrupt: Interrupt) -> None:
        play(
            playbook,
            self._environment.inventory,
            self._settings.ansible_environment,
            interrupt,
            seconds=self._fault.seconds,
        )

    def _mend(self, drill: Drill) -> None:
        """What a scenario rightly leaves in an incident is no state to begin the next drill in.

        A drill that failed is left as it is: somebody has to look at it.
        """
        if self._fault.mend is None:
            return
        if drill.exit_code != ExitCode.HEALTHY:
            click.echo(f"  not mended, so that it can be looked at: {self._fault.mend}", err=True)
            return
        try:
            step(f"it is mended: {self._fault.mend}")
            with interruptible(_say, lambda: None) as interrupt:
                self._play(self._fault.mend, interrupt)
        except (RollbackError, KeyboardInterrupt) as error:
            stopped = isinstance(error, KeyboardInterrupt)
            raise BrokenOffError(
                f"the drill went well and {self._environment.name} could not be mended after it: "
                f"{'it was stopped' if stopped else error}",
                hint=f"put back what the fault changed before the next drill: {self._fault.mend}",
                exit_code=ExitCode.INTERRUPTED if stopped else ExitCode.FAILED,
            ) from error


def _say(text: str) -> None:
    click.echo(text, err=True)
