"""A drill on an environment of one's own: its inventory says how it is broken, and who asks."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollback_playbook.catalogue.environments import Environment
from rollback_playbook.catalogue.scenarios import Scenario, find
from rollback_playbook.cli import drill_verdict as verdict
from rollback_playbook.cli.drill_steps import Felt, judge, step, tell_fault
from rollback_playbook.cli.incident_run import print_finish, run_incident
from rollback_playbook.cli.settings import Settings
from rollback_playbook.cli.signals import interruptible
from rollback_playbook.drill import users
from rollback_playbook.drill.definition import Definition, definition_of
from rollback_playbook.drill.playing import play
from rollback_playbook.drill.prober import Prober, Sample, seen
from rollback_playbook.errors import ExitCode, RefusedError, RollbackError, UsageError
from rollback_playbook.execution.outcome import Progress
from rollback_playbook.plan.hosts import resolve_hosts

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
#: The last seconds of the drill, in which every answer has to be right.
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
    """See that it is well, keep what is gone back to, break it, roll it back, look again."""
    found = find(scenario, settings.playbook_dirs)
    environment = settings.environment(name)
    definition = _definition(settings, environment, *(phase.hosts for phase in found.phases))
    return _Drill(settings, found, environment, definition, as_json=as_json).run()


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
        as_json: bool,
    ) -> None:
        self._settings = settings
        self._scenario = scenario
        self._environment = environment
        self._definition = definition
        self._fault = definition.fault_for(scenario.name)
        self._as_json = as_json
        self._felt: Felt | None = None
        self._end: list[Sample] = []

    def run(self) -> Drill:
        with tempfile.TemporaryDirectory(prefix="rollback-playbook-drill-") as folder:
            prober = users.asking(
                self._definition.urls,
                Path(folder) / "prober.jsonl",
                rate=self._definition.rate,
                timeout=self._definition.timeout,
            )
            try:
                finished = self._drill(prober)
            finally:
                prober.stop()
        print_finish(finished)
        drill = judge(self._settings, finished, self._felt, [_served(self._end)])
        self._mend(drill)
        return drill

    def _drill(self, prober: Prober) -> Finished:
        name = self._environment.name
        step(f"users of {name} ask for {', '.join(self._definition.urls)}")
        self._require_good(prober)
        self._keep_what_is_good()
        step(f"{name} is broken: {self._fault.playbook}")
        broken = time.time()
        self._cause()
        self._tell_fault(prober, since=broken)
        step(f"rollback-playbook {self._scenario.name} -i {name}")
        rollback = time.time()
        return self._run(
            self._scenario.name,
            reason=f"drill: {self._fault.playbook.stem}",
            variables=self._fault.variables,
            kind="drill",
            measure=lambda progress: self._measure(
                prober, progress, broken=broken, rollback=rollback
            ),
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
                    f"{self._environment.name} says what is found; drill_url in the inventory is "
                    "what users ask for",
                )
            time.sleep(_LOOK_SECONDS)

    def _keep_what_is_good(self) -> None:
        scenario, variables = _BEFORE.get(self._scenario.level, ("mark-good", ()))
        step(f"what it goes back to: rollback-playbook {scenario} -i {self._environment.name}")
        kept = self._run(scenario, reason="before a drill", variables=variables)
        if kept.exit_code is not ExitCode.HEALTHY:
            raise RollbackError(
                f"{scenario} failed, so nothing was broken: {kept.outcome.summary}",
                hint=kept.outcome.next_step,
            )

    def _cause(self) -> None:
        try:
            self._play(self._fault.playbook)
        except RefusedError as error:
            raise RefusedError(
                f"{error} of {self._environment.name}; nothing was broken"
            ) from error
        except RollbackError as error:
            raise RollbackError(
                f"the fault was not caused as it should: {error}; {self._environment.name} may be "
                "broken in part",
                hint=f"look at it; rollback-playbook {self._scenario.name} -i "
                f"{self._environment.name} brings it back where it is broken",
            ) from error

    def _play(self, playbook: Path) -> None:
        with interruptible(lambda text: click.echo(text, err=True), lambda: None) as interrupt:
            play(
                playbook,
                self._environment.inventory,
                self._settings.ansible_environment,
                interrupt,
            )

    def _tell_fault(self, prober: Prober, *, since: float) -> None:
        until = time.monotonic() + _FAULT_SECONDS
        while seen(prober.so_far(), since=since).failed == 0 and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
        if tell_fault(prober.so_far(), since=since).failed == 0:
            click.echo("  so they do not feel it, or not where drill_url looks", err=True)

    def _measure(
        self, prober: Prober, progress: Progress, *, broken: float, rollback: float
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        samples = prober.stop()
        self._felt = Felt.of(
            samples, progress, broken=broken, rollback=rollback, rate=self._definition.rate
        )
        self._end = [each for each in samples if each.ended > samples[-1].ended - _END_SECONDS]
        yield "outage.measured", self._felt.as_event()

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
            self._play(self._fault.mend)
        except RollbackError as error:
            raise RollbackError(
                f"the drill went well and {self._environment.name} could not be mended after it: "
                f"{error}",
                hint="put back what the fault changed before the next drill",
            ) from error


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
