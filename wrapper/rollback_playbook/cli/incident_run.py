"""A scenario on the command line: resolve, declare, assess, ask, run, report."""

from __future__ import annotations

import getpass
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from rollback_playbook.approval.confirmation import confirm
from rollback_playbook.catalogue.collection import require_same_version
from rollback_playbook.catalogue.environments import Environment
from rollback_playbook.catalogue.scenarios import Scenario, find
from rollback_playbook.cli.run_view import RunView
from rollback_playbook.cli.screens import Screen, choose_screen
from rollback_playbook.cli.settings import Settings
from rollback_playbook.cli.variables import parse_variables
from rollback_playbook.errors import ExitCode, RecordError, RefusedError
from rollback_playbook.execution.incident_log import IncidentLog
from rollback_playbook.execution.outcome import Outcome, Progress
from rollback_playbook.execution.runner import Interrupt
from rollback_playbook.execution.session import Order, Session
from rollback_playbook.plan.hosts import ResolvedHosts, resolve_hosts
from rollback_playbook.plan.secret_values import secrets_in
from rollback_playbook.record.folder import IncidentFolder
from rollback_playbook.record.incidents import create_incident
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.redaction import Redactor
from rollback_playbook.record.writer import RecordWriter

#: Scenarios that put traffic into a safe state.
_TRAFFIC = {"paused": "traffic-pause", "resumed": "traffic-resume"}


#: Events to add to the record when the run has ended: their types and data.
Measure = Callable[[Progress], Iterable[tuple[str, dict[str, Any]]]]


@dataclass(frozen=True)
class Finished:
    """How an incident ended, and where it is kept."""

    outcome: Outcome
    folder: IncidentFolder

    @property
    def exit_code(self) -> ExitCode:
        return self.outcome.exit_code


def run_incident(
    settings: Settings,
    name: str,
    environment_name: str,
    *,
    reason: str = "",
    version: str | None = None,
    backup: str | None = None,
    check: bool = False,
    limit: str = "",
    variables: Sequence[str] = (),
    yes: str | None = None,
    take_over: bool = False,
    as_json: bool = False,
    measure: Measure | None = None,
) -> Finished:
    """Run one scenario against one environment, from the first question to the report.

    ``measure`` is asked, before the record is closed, what users saw meanwhile.

    Everything that can be refused without opening an incident (an unknown name, an inventory
    that cannot be read, hosts that match nothing) is refused here first.
    """
    wrapper_version = require_same_version()
    scenario = find(name, settings.playbook_dirs)
    environment = settings.environment(environment_name)
    chosen = _chosen(version=version, backup=backup, take_over=take_over)
    extra = {**chosen, **parse_variables(variables)}
    hosts = resolve_hosts(
        environment.inventory,
        [phase.hosts for phase in scenario.phases],
        limit,
        environment=settings.ansible_environment,
    )
    writer = create_incident(
        settings.incidents_dir,
        scenario=scenario.name,
        environment=environment.name,
        keys=Keyring(settings.keys_dir),
        redaction=Redactor(
            secrets=[*hosts.vaulted, *secrets_in(hosts.variables), *secrets_in(extra)]
        ),
    )
    run = _IncidentRun(
        settings=settings,
        scenario=scenario,
        environment=environment,
        hosts=hosts,
        writer=writer,
        screen=_screen(scenario, environment, writer, as_json=as_json),
        reason=reason or "no reason given",
        extra=extra,
        limit=limit,
        check=check,
        yes=yes,
        measure=measure,
    )
    return run.finish(wrapper_version)


def _chosen(*, version: str | None, backup: str | None, take_over: bool) -> dict[str, Any]:
    """The options that are variables of the roles."""
    chosen: dict[str, Any] = {}
    if version:
        chosen["release_version"] = version
    if backup:
        chosen["database_backup"] = backup
    if take_over:
        chosen["incident_lock_take_over"] = True
    return chosen


def _screen(
    scenario: Scenario, environment: Environment, writer: RecordWriter, *, as_json: bool
) -> Screen:
    view = RunView.of((phase.name for phase in scenario.phases), scenario.target_seconds)
    title = f"{scenario.name} · {environment.name} · {writer.incident}"
    return choose_screen(view, title=title, as_json=as_json)


class _IncidentRun:
    """One incident of the command line: the order of its steps, and their failures."""

    def __init__(
        self,
        *,
        settings: Settings,
        scenario: Scenario,
        environment: Environment,
        hosts: ResolvedHosts,
        writer: RecordWriter,
        screen: Screen,
        reason: str,
        extra: Mapping[str, Any],
        limit: str,
        check: bool,
        yes: str | None,
        measure: Measure | None,
    ) -> None:
        self._settings = settings
        self._scenario = scenario
        self._environment = environment
        self._hosts = hosts
        self._writer = writer
        self._screen = screen
        self._reason = reason
        self._extra = extra
        self._limit = limit
        self._check = check
        self._yes = yes
        self._measure = measure
        self._log = IncidentLog(writer, screen.show, Progress())

    def finish(self, wrapper_version: str) -> Finished:
        """Run to the end; the record is closed whatever happens."""
        with _interruptible() as interrupt:
            try:
                self._declare(wrapper_version)
                outcome = self._run(interrupt)
            except RefusedError as error:
                outcome = Outcome("refused", error.exit_code, str(error), error.hint)
            except BaseException as error:
                self._close(Outcome("failed", ExitCode.BUG, f"{type(error).__name__}: {error}"))
                raise
        self._close(outcome)
        return Finished(outcome, self._writer.folder)

    def _declare(self, wrapper_version: str) -> None:
        self._log.append(
            "incident.declared",
            {
                "id": self._writer.incident,
                "scenario": self._scenario.name,
                "environment": self._environment.name,
                "operator": _operator(),
                "reason": self._reason,
                "target_seconds": self._scenario.target_seconds,
                "version": wrapper_version,
                "hosts": list(self._hosts.names),
                "fingerprint": self._hosts.fingerprint,
                "limit": self._limit,
                "check": self._check,
            },
        )

    def _run(self, interrupt: Interrupt) -> Outcome:
        session = Session(self._order(), self._log, interrupt)
        refused = None
        if self._scenario.decides_first and not self._check:
            with self._screen:
                refused = session.assess()
        if refused is not None:
            return refused
        self._log.append("approval.granted", {"by": _operator(), "how": self._approve()})
        with self._screen:
            return session.roll_back()

    def _order(self) -> Order:
        traffic = {
            state: find(name, self._settings.playbook_dirs) for state, name in _TRAFFIC.items()
        }
        return Order(
            scenario=self._scenario,
            environment=self._environment,
            operator=_operator(),
            reason=self._reason,
            ansible_environment=self._settings.ansible_environment,
            traffic=traffic,
            variables={
                "incident_id": self._writer.incident,
                "incident_operator": _operator(),
                "incident_reason": self._reason,
                **self._extra,
            },
            limit=self._limit,
            check=self._check,
        )

    def _approve(self) -> str:
        if self._check:
            return "check mode"
        return confirm(
            self._environment.name,
            protected=bool(self._hosts.variable("rollback_protected")),
            yes=self._yes,
            interactive=sys.stdin.isatty(),
            ask=lambda question: str(click.prompt(question, err=True)),
        )

    def _close(self, outcome: Outcome) -> None:
        if self._measure is not None:
            for kind, data in self._measure(self._log.progress):
                self._log.append(kind, data)
        closing = {
            "outcome": outcome.name,
            "exit_code": int(outcome.exit_code),
            "summary": outcome.summary,
            "next": outcome.next_step,
        }
        self._log.append("incident.closed", closing)
        try:
            self._writer.close()
            write_report(self._writer)
        except RecordError as error:
            self._screen.say(f"The record could not be closed: {error}")


def write_report(writer: RecordWriter) -> None:
    """The report beside the record, made from the record alone."""
    from rollback_playbook.report.rendering import render

    writer.write_file("report.md", render(writer.folder, "md"))


def print_finish(finished: Finished) -> None:
    """What the operator reads last: the outcome, what to do next, where the record is."""
    outcome = finished.outcome
    good = outcome.exit_code is ExitCode.HEALTHY
    mark = click.style("✓" if good else "✗", fg="green" if good else "red", bold=True)
    click.echo(f"{mark} {outcome.summary}", err=True)
    if outcome.next_step:
        click.echo(f"  next: {outcome.next_step}", err=True)
    click.echo(f"  record: {finished.folder.path}", err=True)


def _operator() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


@contextmanager
def _interruptible() -> Iterator[Interrupt]:
    """SIGINT, SIGTERM and SIGHUP ask for a stop at a safe point; the handlers are put back."""
    interrupt = Interrupt()

    def ask(_number: int, _frame: object) -> None:
        interrupt.ask()

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in signals}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
