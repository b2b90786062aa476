"""One incident of the command line: declare, assess, ask, run, close; and its failures."""

from __future__ import annotations

import getpass
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import click

from rollback_playbook.approval.confirmation import Question, confirm, refuse_unasked
from rollback_playbook.catalogue.environments import Environment
from rollback_playbook.catalogue.scenarios import Scenario, find
from rollback_playbook.cli.plan_text import print_plan
from rollback_playbook.cli.run_view import RunView
from rollback_playbook.cli.screens import Screen, choose_screen
from rollback_playbook.cli.settings import Settings
from rollback_playbook.cli.signals import held, interruptible
from rollback_playbook.errors import ExitCode, RecordError, RefusedError
from rollback_playbook.execution.incident_log import IncidentLog
from rollback_playbook.execution.outcome import Outcome, Progress
from rollback_playbook.execution.runner import Interrupt
from rollback_playbook.execution.session import Order, Session
from rollback_playbook.plan.history import History
from rollback_playbook.plan.hosts import ResolvedHosts
from rollback_playbook.record.folder import IncidentFolder
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


@dataclass(frozen=True)
class Wish:
    """What the operator asked for beside scenario and environment."""

    reason: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)
    #: Texts of vaulted files among them.
    secrets: tuple[str, ...] = ()
    #: What the inventory says of variables in play keywords.
    keywords: Mapping[str, Any] = field(default_factory=dict)
    limit: str = ""
    check: bool = False
    yes: str | None = None
    as_json: bool = False
    #: ``incident``, ``drill`` or ``undo``.
    kind: str = "incident"
    #: What the record says beyond that, such as which incident is undone.
    about: Mapping[str, Any] = field(default_factory=dict)
    measure: Measure | None = None
    #: Of an incident that is continued: where it goes on, and what was done before.
    phases: tuple[str, ...] = ()
    progress: Progress | None = None


class IncidentSteps:
    """The order of the steps of one incident, and what becomes of each failure."""

    def __init__(
        self,
        settings: Settings,
        scenario: Scenario,
        environment: Environment,
        *,
        hosts: ResolvedHosts,
        writer: RecordWriter,
        history: History,
        plan_for: Callable[[Mapping[str, Any]], dict[str, Any]],
        wish: Wish,
    ) -> None:
        self._settings = settings
        self._scenario = scenario
        self._environment = environment
        self._hosts = hosts
        self._writer = writer
        self._plan_for = plan_for
        self._wish = wish
        self._screen = self._choose_screen(history)
        self._log = IncidentLog(writer, self._screen.show, wish.progress or Progress())

    def _choose_screen(self, history: History) -> Screen:
        names = self._wish.phases or [phase.name for phase in self._scenario.phases]
        view = RunView.of(names, self._scenario.target_seconds, predicted=history.phases)
        title = f"{self._scenario.name} · {self._environment.name} · {self._writer.incident}"
        return choose_screen(view, title=title, as_json=self._wish.as_json)

    def finish(self, version: str) -> Finished:
        """Run to the end; the record is closed whatever happens.

        A signal after the approval is the run's, or comes too late to change how it has ended.
        """
        with ExitStack() as approved:
            return self._finish(version, approved)

    def _finish(self, version: str, approved: ExitStack) -> Finished:
        try:
            self._declare(version)
            outcome = self._run(approved)
        except RefusedError as error:
            outcome = Outcome("refused", error.exit_code, str(error), error.hint)
        except (click.Abort, KeyboardInterrupt):
            outcome = Outcome("refused", ExitCode.INTERRUPTED, "not approved; nothing was changed")
        except BaseException as error:
            with suppress(RecordError):
                self._writer.evidence("traceback.txt", traceback.format_exc())
            self._close(Outcome("failed", ExitCode.BUG, f"{type(error).__name__}: {error}"))
            raise
        return Finished(self._close(outcome), self._writer.folder)

    def _declare(self, version: str) -> None:
        about = {
            "operator": operator(),
            "reason": self._reason,
            "version": version,
            **self._wish.about,
        }
        if self._wish.progress is not None:
            self._log.append("incident.continued", {**about, "phases": list(self._wish.phases)})
            return
        self._log.append(
            "incident.declared",
            {
                "id": self._writer.incident,
                "kind": self._wish.kind,
                "scenario": self._scenario.name,
                "playbook": str(self._scenario.path),
                "environment": self._environment.name,
                "inventory": self._environment.inventory,
                "target_seconds": self._scenario.target_seconds,
                "hosts": list(self._hosts.names),
                "fingerprint": self._hosts.fingerprint,
                "limit": self._wish.limit,
                "variables": dict(self._wish.variables),
                "check": self._wish.check,
                **about,
            },
        )

    @property
    def _reason(self) -> str:
        return self._wish.reason or "no reason given"

    def _run(self, approved: ExitStack) -> Outcome:
        """The plan is recorded before anything runs, and again with what Assess has found."""
        if not self._wish.check:
            refuse_unasked(self._question, interactive=sys.stdin.isatty())
        plan = self._planned()
        if self._looks_ahead:
            refused = self._with_signals(Session.assess)
            if refused is not None:
                return refused
            plan = self._planned()
        self._log.append("approval.granted", {"by": operator(), "how": self._approve(plan)})
        approved.enter_context(held(self._screen.say))
        outcome = self._with_signals(Session.roll_back)
        if outcome is None:
            raise RuntimeError("a rollback ended without an outcome")
        return outcome

    @property
    def _looks_ahead(self) -> bool:
        if self._wish.check or self._wish.progress is not None:
            return False
        return self._scenario.looks_ahead(
            asked=not self._question.answer,
            variables={**self._hosts.said, **self._wish.variables},
        )

    def _with_signals(self, step: Callable[[Session], Outcome | None]) -> Outcome | None:
        """Signals mean a stop at a safe point while Ansible runs; a prompt is simply left."""
        with interruptible(self._screen.say, self._hung_up) as interrupt, self._screen:
            return step(self._session(interrupt))

    def _hung_up(self) -> None:
        note = {"author": "rollback-playbook", "text": "the terminal was lost; the run goes on"}
        self._log.append("note.added", note)

    def _session(self, interrupt: Interrupt) -> Session:
        traffic = {
            state: find(name, self._settings.playbook_dirs) for state, name in _TRAFFIC.items()
        }
        order = Order(
            scenario=self._scenario,
            environment=self._environment,
            operator=operator(),
            reason=self._reason,
            ansible_environment=self._settings.ansible_environment,
            traffic=traffic,
            variables={
                "incident_id": self._writer.incident,
                "incident_operator": operator(),
                "incident_reason": self._reason,
                **self._wish.keywords,
                **self._wish.variables,
            },
            limit=self._wish.limit,
            check=self._wish.check,
            phases=self._wish.phases,
            incident=self._writer.incident,
        )
        return Session(order, self._log, interrupt)

    def _planned(self) -> Mapping[str, Any]:
        """What is shown is what was recorded."""
        return self._log.append("plan.made", self._plan_for(self._log.progress.decision)).data

    @property
    def _question(self) -> Question:
        return Question(
            self._environment.name,
            protected=self._hosts.protected,
            changes_production=self._scenario.changes_production,
            yes=self._wish.yes,
        )

    def _approve(self, plan: Mapping[str, Any]) -> str:
        if self._wish.check:
            return "check mode"
        print_plan(plan)
        return confirm(
            self._question,
            interactive=sys.stdin.isatty(),
            ask=lambda question: str(click.prompt(question, err=True)),
        )

    def _close(self, outcome: Outcome) -> Outcome:
        """The outcome as it was recorded: what Ansible printed may hold a secret."""
        with held(self._screen.say):
            return self._closed(outcome)

    def _closed(self, outcome: Outcome) -> Outcome:
        if self._wish.measure is not None:
            for kind, data in self._wish.measure(self._log.progress):
                self._log.append(kind, data)
        closing = {
            "outcome": outcome.name,
            "exit_code": int(outcome.exit_code),
            "summary": outcome.summary,
            "next": outcome.next_step,
        }
        said = self._log.append("incident.closed", closing).data
        try:
            self._writer.close()
            write_report(self._writer)
        except RecordError as error:
            self._screen.say(f"The record could not be closed: {error}")
        return replace(outcome, summary=said["summary"], next_step=said["next"])


def write_report(writer: RecordWriter) -> None:
    """The report beside the record, made from the record alone."""
    from rollback_playbook.report.rendering import render

    writer.write_file("report.md", render(writer.folder, "md"))


def operator() -> str:
    """Who runs this command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
