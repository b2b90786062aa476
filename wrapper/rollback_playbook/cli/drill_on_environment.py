"""A drill on an environment of one's own: its inventory says how it is broken, and who asks."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollback_playbook.catalogue.environments import Environment
from rollback_playbook.catalogue.scenarios import Scenario, find
from rollback_playbook.cli import drill_verdict as verdict
from rollback_playbook.cli.drill_steps import Felt, judge, step, tell_fault
from rollback_playbook.cli.drill_underway import BrokenOffError, Underway
from rollback_playbook.cli.incident_run import print_finish, run_incident
from rollback_playbook.cli.incident_steps import operator
from rollback_playbook.cli.plan_text import broken_words
from rollback_playbook.cli.settings import Settings
from rollback_playbook.cli.signals import held, interruptible
from rollback_playbook.drill import users
from rollback_playbook.drill.definition import Definition, definition_of
from rollback_playbook.drill.playing import play
from rollback_playbook.drill.prober import Prober, Sample, seen
from rollback_playbook.errors import ExitCode, RefusedError, RollbackError, UsageError
from rollback_playbook.execution.lease import Lease, LeaseKeeper, lease_renewer, take_lease
from rollback_playbook.execution.outcome import Progress
from rollback_playbook.execution.run_folder import passing_folder
from rollback_playbook.execution.runner import Interrupt, PlaybookRun
from rollback_playbook.plan.hosts import resolve_hosts
from rollback_playbook.plan.left_broken import left_broken

if TYPE_CHECKING:
    from rollback_playbook.cli.incident_steps import Finished
    from rollback_playbook.record.drill_log import Drill

#: So many right answers in a row, and the environment is well; so many seconds more than it takes
#: to ask for them.
_WELL = 10
_WELL_SECONDS = 15.0
#: How long the fault is looked at before the rollback, in seconds; a fault that nobody felt by
#: then may be one that users do not feel, such as damaged rows.
_FAULT_SECONDS = 10.0
#: How long users are watched after the scenario has ended, unless they are well sooner.
_END_SECONDS = 2.0
_LOOK_SECONDS = 0.1

#: What gives a drill something to go back to, by the level of its scenario: what is restored has
#: to be in a backup first. The others go back to the release that is running.
_BACKUP = ("backup", ())
_BEFORE: dict[str, tuple[str, tuple[str, ...]]] = {
    "2": ("backup", ("backup_database=false",)),
    "3": _BACKUP,
    "decided": _BACKUP,
}


def drills_of(settings: Settings, name: str) -> tuple[str, ...]:
    """The scenarios that an environment can be drilled with, in the order of its inventory."""
    return tuple(_definition(settings, settings.environment(name)).faults)


def drill_on_environment(settings: Settings, scenario: str, name: str, *, as_json: bool) -> Drill:
    """See that it is well, keep what is gone back to, break it, roll it back, look again.

    Raises RefusedError also where an earlier drill has left it broken.
    """
    found = find(scenario, settings.playbook_dirs)
    environment = settings.environment(name)
    definition = _definition(settings, environment, *(phase.hosts for phase in found.phases))
    typed = shlex.quote(name if "/" not in name else environment.inventory)
    _refuse_broken(settings, environment, typed)
    return _Drill(settings, found, environment, definition, typed=typed, as_json=as_json).run()


def _refuse_broken(settings: Settings, environment: Environment, typed: str) -> None:
    """What a drill keeps beforehand has to be good: damaged data must not become a backup."""
    drill = left_broken(settings.incidents_dir, environment.name, state_dir=settings.state_dir)
    if drill is None:
        return
    again = f"rollback-playbook releases mark-good -i {typed}"
    words = broken_words(drill.scenario, drill.environment, when=drill.time, why=drill.broken_off)
    raise RefusedError(
        f"{words}; nothing was changed",
        hint=f"{drill.command}; or, where it is well already, {again}",
    )


def _definition(settings: Settings, environment: Environment, *patterns: str) -> Definition:
    """The drills of an environment, from the variables of its hosts.

    Raises RefusedError where it may not be broken or one of the patterns matches nothing, and
    UsageError where its inventory is wrong.
    """
    if find_spec("httpx") is None:
        raise UsageError(
            "nobody can ask what users see: httpx is not installed",
            hint="pip install 'rollback-playbook[drill]'",
        )
    hosts = resolve_hosts(
        environment.inventory, ["all", *patterns], "", environment=settings.ansible_environment
    )
    if hosts.protected is not False:
        raise RefusedError(
            f"{environment.name} is protected, and a drill breaks what it is run on; nothing was "
            "changed",
            hint="rollback_protected: false in the inventory of an environment that may be broken",
        )
    return definition_of(
        environment.name, environment.inventory, hosts.said, settings.scenario_files()
    )


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
        self._felt: Felt | None = None
        self._end: list[Sample] = []
        #: Whether the scenario has gone on with the lease.
        self._declared = False

    def run(self) -> Drill:
        """Raises BrokenOffError where it came to no end."""
        with passing_folder() as folder:
            prober = users.asking(
                self._definition.urls,
                folder / "prober.jsonl",
                rate=self._definition.rate,
                timeout=self._definition.timeout,
            )
            try:
                drill = self._drill(prober)
            finally:
                prober.stop()
        self._mend(drill)
        return drill

    def _drill(self, prober: Prober) -> Drill:
        step(f"users of {self._environment.name} ask for {', '.join(self._definition.urls)}")
        try:
            self._require_good(prober)
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
                broken = self._break(prober, interrupt, underway)
            return self._roll_back(prober, lease, underway, broken=broken)

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

    def _break(self, prober: Prober, interrupt: Interrupt, underway: Underway) -> float:
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
        self._tell_fault(prober, interrupt, since=broken)
        return broken

    def _roll_back(
        self, prober: Prober, lease: LeaseKeeper, underway: Underway, *, broken: float
    ) -> Drill:
        step(f"rollback-playbook {self._scenario.name} -i {self._environment.name}")
        rollback = time.time()
        underway.rolls_back()
        lock = {"incident_lock_token": lease.hand_over()}
        finished = self._run(
            self._scenario.name,
            reason=self._reason,
            variables=(*self._fault.variables, json.dumps(lock)),
            kind="drill",
            measure=lambda progress: self._measure(
                prober, progress, broken=broken, rollback=rollback
            ),
        )
        with held(_say):
            if not self._declared:
                lease.end(Lease.RELEASED)
            print_finish(finished)
            return judge(
                self._settings, finished, self._felt, [_served(self._end)], underway=underway
            )

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

    def _require_good(self, prober: Prober) -> None:
        """A drill begins on a system that works, so that what is wrong later is the fault."""
        until = time.monotonic() + _WELL_SECONDS + _WELL / self._definition.rate
        while True:
            last = prober.so_far()[-_WELL:]
            if len(last) == _WELL and all(each.good for each in last):
                return
            if time.monotonic() > until:
                raise RefusedError(
                    f"{self._environment.name} is not well before anything was broken: "
                    f"{_told(last)}; nothing was changed",
                    hint=f"rollback-playbook plan {self._scenario.name} -i "
                    f"{self._typed} says what is found; drill_url in the inventory is "
                    "what users ask for",
                )
            time.sleep(_LOOK_SECONDS)

    def _keep_what_is_good(self) -> None:
        scenario, variables = _BEFORE.get(self._scenario.level, ("mark-good", ()))
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

    def _tell_fault(self, prober: Prober, interrupt: Interrupt, *, since: float) -> None:
        until = time.monotonic() + _FAULT_SECONDS
        while seen(prober.so_far(), since=since).failed == 0 and time.monotonic() < until:
            _stop_if_asked(interrupt)
            time.sleep(_LOOK_SECONDS)
        if tell_fault(prober.so_far(), since=since).failed == 0:
            click.echo("  so they do not feel it, or not where drill_url looks", err=True)
        _stop_if_asked(interrupt)

    def _measure(
        self, prober: Prober, progress: Progress, *, broken: float, rollback: float
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        self._declared = "Declare" in progress.started
        ended = time.time()
        self._watch_the_end(prober, ended)
        samples = prober.stop()
        self._end = [each for each in samples if each.at >= ended][-_WELL:]
        self._felt = Felt.of(
            samples, progress, broken=broken, rollback=rollback, rate=self._definition.rate
        )
        yield "outage.measured", self._felt.as_event()

    def _watch_the_end(self, prober: Prober, ended: float) -> None:
        """What users ask for before the scenario has ended says nothing of how it ended."""
        until = time.monotonic() + _END_SECONDS + 1 / self._definition.rate
        while time.monotonic() < until:
            last = [each for each in prober.so_far() if each.at >= ended][-_WELL:]
            if len(last) == _WELL and all(each.good for each in last):
                return
            time.sleep(_LOOK_SECONDS)

    def _mend(self, drill: Drill) -> None:
        """What a scenario rightly leaves in an incident is no state to begin the next drill in.

        A drill that failed is left as it is: somebody has to look at it.
        """
        if self._fault.mend is None:
            return
        if drill.exit_code != ExitCode.HEALTHY:
            click.echo(f"  not mended, so that it can be looked at: {self._fault.mend}", err=True)
            return
        step(f"it is mended: {self._fault.mend}")
        try:
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


def _stop_if_asked(interrupt: Interrupt) -> None:
    interrupt.catch_up()
    if interrupt.asked:
        raise KeyboardInterrupt


def _served(end: Sequence[Sample]) -> verdict.Line:
    """Whether users got what they asked for in the end."""
    bad = any(not each.good for each in end) or not end
    return not bad, f"users {'still fail' if bad else 'are served again'}: {_told(end)}"


def _told(samples: Sequence[Sample]) -> str:
    if not samples:
        return "nobody got an answer"
    bad = [each for each in samples if not each.good]
    if not bad:
        return f"the last {len(samples)} requests were answered"
    why = "no answer" if bad[-1].status == 0 else f"status {bad[-1].status}"
    return f"{len(bad)} of the last {len(samples)} requests failed, {why} from {bad[-1].path}"
