"""How a run ended: decided from the record's events, never from Ansible's return code alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rollback_playbook.catalogue.scenarios import Scenario
from rollback_playbook.errors import ExitCode
from rollback_playbook.events.actions import says_what_it_had_begun
from rollback_playbook.events.phases import CHANGING_PHASES
from rollback_playbook.execution.runner import RunResult

_BAD = frozenset({"failed", "unreachable"})
#: The module that takes the lease of the environment and gives it back.
LOCK = "sre.rollback.environment_lock"
_TRAFFIC = "sre.rollback.traffic"
#: What ``ansible.builtin.command`` says of any program that failed.
_PROGRAM_FAILED = "non-zero return code"
#: Characters of a program's output that are told, its last.
_SAID_LENGTH = 300


@dataclass(frozen=True)
class Failure:
    """The task that ended the run, in the words of its module."""

    phase: str
    host: str
    task: str
    message: str
    unreachable: bool = False

    def __str__(self) -> str:
        return f"{self.phase}, {self.host}: {self.message}"


@dataclass
class Progress:
    """What has been seen of a run so far."""

    started: list[str] = field(default_factory=list)
    finished: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    #: Whether a task of the phase did something: one that was skipped did not.
    acted: dict[str, bool] = field(default_factory=dict)
    gates: dict[str, str] = field(default_factory=dict)
    decision: Mapping[str, Any] = field(default_factory=dict)
    #: Phases in which an earlier attempt of the same incident changed something.
    changed_before: frozenset[str] = frozenset()
    #: Whether users are kept out from Protect on: they are harmed until it is switched.
    protected_users: bool = False
    #: Whether the environment is locked for this run.
    locked: bool = False
    #: By host, what the items of the loop that runs have failed of: the loop itself does not say.
    items: dict[str, list[str]] = field(default_factory=dict)

    @property
    def phase(self) -> str:
        """The phase that was running last."""
        return self.started[-1] if self.started else ""

    @property
    def production_changed(self) -> bool:
        """Whether a task of a phase that touches production changed something."""
        return bool((self.changed | self.changed_before) & CHANGING_PHASES)

    @property
    def refused_to_go_on(self) -> bool:
        """Whether an incident that is continued ended before this attempt changed anything."""
        unchanged = not self.changed & CHANGING_PHASES
        return bool(self.changed_before) and unchanged and self.phase in ("Declare", "Assess")

    def observe(self, kind: str, subject: str, data: Mapping[str, Any]) -> None:
        """Take one event of the record in; ``subject`` is the host it is about."""
        if kind in ("phase.started", "phase.finished"):
            self._observe_phase(kind, data)
        elif kind == "item.finished" and data.get("status") in _BAD:
            self.items.setdefault(subject, []).append(failure_message(data))
        elif kind == "task.finished":
            self._observe_task(subject, data)
        elif kind in ("gate.passed", "gate.failed"):
            self.gates[self.phase] = str(data.get("outcome", kind.removeprefix("gate.")))
        elif kind == "decision.made":
            self.decision = data
        elif kind == "lease.released":
            self.locked = False
        elif kind == "stats.recorded":
            self._forget_rescued(data.get("rescued_tasks") or ())

    def _forget_rescued(self, tasks: Iterable[Mapping[str, Any]]) -> None:
        """Only Ansible's statistics tell which failures ended nothing: those before the last."""
        for task in tasks:
            for failure in self.failures:
                if (failure.host, failure.task) == (task.get("host"), task.get("task")):
                    self.failures.remove(failure)
                    break

    def _observe_phase(self, kind: str, data: Mapping[str, Any]) -> None:
        """A phase with a failed host was not finished, only ended; one without any never began."""
        name, status = str(data["name"]), data.get("status")
        if kind == "phase.started":
            self.started.append(name)
        elif status in ("ok", "rescued"):
            self.finished.add(name)
        elif status == "skipped" and self.phase == name:
            self.started.pop()

    def _observe_task(self, host: str, data: Mapping[str, Any]) -> None:
        status, items = data.get("status"), self.items.pop(host, [])
        if data.get("action") == LOCK and status not in _BAD:
            self.locked = bool((data.get("result") or {}).get("holder"))
        if data.get("action") == _TRAFFIC and self.phase == "Protect" and _keeps_out(data):
            self.protected_users = True
        self.acted[self.phase] = self.acted.get(self.phase, False) or status != "skipped"
        if status == "changed" or (status in _BAD and self._may_have_changed(data)):
            self.changed.add(self.phase)
        if status in _BAD and not data.get("ignored"):
            self.failures.append(
                Failure(
                    phase=self.phase,
                    host=host,
                    task=str(data.get("task", "")),
                    message="; ".join(items) or failure_message(data),
                    unreachable=status == "unreachable",
                )
            )

    def _may_have_changed(self, data: Mapping[str, Any]) -> bool:
        """Whether a task that failed had begun to change something, or does not say."""
        result = data.get("result") or {}
        if result.get("undo") or result.get("changed"):
            return True
        silent = data["status"] == "failed" and not says_what_it_had_begun(str(data.get("action")))
        return silent and self.phase in CHANGING_PHASES


def _keeps_out(data: Mapping[str, Any]) -> bool:
    """Whether users are kept out once this task of the traffic module has ended.

    One that only looked ahead is ``ok`` and tells how it would be undone; one that found them kept
    out has nothing to undo; one that failed half-way has.
    """
    status, undo = data.get("status"), (data.get("result") or {}).get("undo")
    return status == "changed" or (status == "ok" and not undo) or (status in _BAD and bool(undo))


def failure_message(data: Mapping[str, Any]) -> str:
    """What a failed task says of itself: its module's message, or at least its name.

    A program that failed has said more than its module does.
    """
    result = data.get("result") or {}
    text = str(result.get("msg") or "").strip()
    if text in ("", _PROGRAM_FAILED):
        said = " ".join(str(result.get("stderr") or result.get("stdout") or "").split())
        text = ": ".join(filter(None, (text, said[-_SAID_LENGTH:])))
    return text or f"{data.get('task')}: {data.get('status')}"


@dataclass(frozen=True)
class Outcome:
    """The end of an incident: its exit code, what is true now, and what to do next."""

    name: str
    exit_code: ExitCode
    summary: str
    next_step: str = ""


def safe_traffic(progress: Progress) -> str:
    """What must be done with the users' traffic after a run that did not finish.

    Before anything was switched they get back what they had, unless that harms them and Protect
    has kept them out; once the switch began they wait for a gate that passes, since half a rollback
    may damage what they write. Where nothing keeps users out (every task of Pause was skipped)
    there is nothing to do.
    """
    if "Resume" in progress.finished:
        return "untouched"
    if progress.protected_users:
        return "paused"
    if "Pause" not in progress.started:
        return "untouched"
    if "Pause" in progress.finished and progress.acted.get("Pause") is False:
        return "untouched"
    return "paused" if progress.phase in ("Switch", "Verify", "Resume") else "resumed"


def not_made_safe(outcome: Outcome, progress: Progress, command: str) -> Outcome:
    """The outcome when users' traffic could not be put into that state; ``command`` does it."""
    return replace(
        outcome,
        summary=f"{outcome.summary}. Traffic could not be {safe_traffic(progress)} either",
        next_step=f"{command}; {outcome.next_step.replace(_users(progress), '')}",
    )


def leaves_nothing_open(scenario: Scenario, progress: Progress) -> bool:
    """Whether a run that ended before its Close left nothing half-way: then nobody else need wait.

    That is so before the first phase that touches production, behind one that went through and
    had nothing to change, and of an undo that has taken everything back: the gate is red then
    because what was broken before is broken again.
    """
    if _is_undo(scenario):
        return "Confirm" in progress.gates
    # A phase has several plays: that one of them was finished says nothing of the one it ended in.
    unclear = {*progress.started} - progress.finished | {progress.phase}
    touched = unclear | progress.changed | progress.changed_before
    return not touched & CHANGING_PHASES


def decide(
    scenario: Scenario, progress: Progress, result: RunResult, incident: str = "INCIDENT"
) -> Outcome:
    """The outcome of a run that has ended; ``incident`` is what to type for going on with it."""
    if result.interrupted:
        return _interrupted(scenario, progress, incident)
    if result.rc == 0:
        return _completed(scenario, progress, incident)
    if not progress.started:
        return _never_started(result)
    if progress.phase in ("Verify", "Confirm"):
        return _not_proved(scenario, progress, incident)
    if progress.refused_to_go_on:
        return Outcome(
            "interrupted",
            ExitCode.REFUSED,
            f"{_why(progress, result)}; it is as the attempt before has left it",
            _go_on(scenario, incident),
        )
    if not progress.production_changed:
        summary = _unchanged(progress, result)
        return Outcome("refused", ExitCode.REFUSED, summary, _without_unreachable(progress))
    return Outcome(
        "failed",
        ExitCode.FAILED,
        f"{_why(progress, result)}. {_done_and_not(scenario, progress)}",
        f"{_users(progress)}mend the cause, then {_go_on(scenario, incident)}",
    )


def _without_unreachable(progress: Progress) -> str:
    """What to do where nothing else than hosts that cannot be reached has ended the run."""
    gone = list(dict.fromkeys(failure.host for failure in progress.failures))
    if not gone or not all(failure.unreachable for failure in progress.failures):
        return ""
    names = ", ".join(gone)
    left_out = ":".join(["all", *(f"!{name}" for name in gone)])
    return (
        f"make {names} reachable; or type the same with --limit '{left_out}', which leaves what is "
        "out of reach as it is"
    )


def checked(progress: Progress, result: RunResult) -> Outcome:
    """The end of a run in check mode, which probes and changes nothing, however it ends."""
    if result.interrupted:
        return Outcome("interrupted", ExitCode.INTERRUPTED, "interrupted; nothing was changed")
    if result.rc != 0 and not progress.started:
        return _never_started(result)
    if result.rc != 0:
        summary = f"it would not go through: {_unchanged(progress, result)}"
        return Outcome("refused", ExitCode.REFUSED, summary, _without_unreachable(progress))
    level = progress.decision.get("level", "")
    reasons = "; ".join(progress.decision.get("reasons", ()))
    found = f", level {level} ({reasons})" if level else ""
    return Outcome("checked", ExitCode.HEALTHY, f"it would go through{found}; nothing was changed")


def _unchanged(progress: Progress, result: RunResult) -> str:
    # Many a module says so, too.
    why = _why(progress, result).removesuffix(". Nothing was changed")
    return f"{why}; nothing was changed"


def _completed(scenario: Scenario, progress: Progress, incident: str) -> Outcome:
    command = f"rollback-playbook incidents report {incident}"
    review = f"nobody approved it before; review it: {command}" if scenario.reviewed_after else ""
    gated = [phase for phase in ("Verify", "Confirm") if scenario.has(phase)]
    missing = [phase for phase in gated if progress.gates.get(phase) != "passed"]
    if missing:
        return Outcome(
            "not proved",
            ExitCode.NOT_PROVED,
            f"every step went through, but no gate passed in {' and '.join(missing)}",
            "look at the services by hand before you call it over",
        )
    if not gated:
        return Outcome("done", ExitCode.HEALTHY, "done")
    if progress.decision.get("level") == "none":
        reasons = "; ".join(progress.decision.get("reasons", ()))
        return Outcome(
            "healthy",
            ExitCode.HEALTHY,
            f"nothing to roll back ({reasons}); healthy, as it was found",
        )
    return Outcome("healthy", ExitCode.HEALTHY, f"{_deed(scenario)} and healthy", review)


def _deed(scenario: Scenario) -> str:
    return {"undo": "taken back", "operation": "done"}.get(scenario.level, "rolled back")


def _is_undo(scenario: Scenario) -> bool:
    return scenario.level == "undo"


def _go_on(scenario: Scenario, incident: str) -> str:
    """What to type next. Undoing an undo is possible and hardly ever what is wanted."""
    command = f"rollback-playbook continue {incident}"
    return command if _is_undo(scenario) else f"{command}; or rollback-playbook undo {incident}"


def _never_started(result: RunResult) -> Outcome:
    tail = " ".join(line.strip() for line in result.output_tail[-6:]) or f"rc {result.rc}"
    return Outcome(
        "refused", ExitCode.REFUSED, f"Ansible did not start: {tail}; nothing was changed"
    )


def _not_proved(scenario: Scenario, progress: Progress, incident: str) -> Outcome:
    if not scenario.changes_production:
        return Outcome(
            "not proved",
            ExitCode.NOT_PROVED,
            f"not proved healthy: {_failures(progress)}. Done: {_names(progress)}; nothing in "
            "production was changed",
            f"mend what the gate names, then rollback-playbook continue {incident}",
        )
    paused = safe_traffic(progress) == "paused"
    state = "users still get the maintenance answer" if paused else "users are on it"
    breakers = "" if _is_undo(scenario) else "; breakers stay open"
    return Outcome(
        "not proved",
        ExitCode.NOT_PROVED,
        f"{_deed(scenario)}, but not proved healthy: {_failures(progress)}; {state}{breakers}",
        f"mend what the gate names, then {_go_on(scenario, incident)}",
    )


def _interrupted(scenario: Scenario, progress: Progress, incident: str) -> Outcome:
    if not progress.production_changed:
        return Outcome("interrupted", ExitCode.INTERRUPTED, "interrupted; nothing was changed")
    return Outcome(
        "interrupted",
        ExitCode.INTERRUPTED,
        f"interrupted in {progress.phase}. {_done_and_not(scenario, progress)}",
        f"{_users(progress)}{_go_on(scenario, incident)}",
    )


def lease_lost(progress: Progress, reason: str) -> Outcome:
    """The end of a run whose environment is somebody else's by now: hands off, traffic too."""
    if not progress.production_changed:
        return Outcome("refused", ExitCode.REFUSED, f"stopped: {reason} Production is unchanged")
    return Outcome(
        "failed",
        ExitCode.FAILED,
        f"stopped in {progress.phase}: {reason} Done: {_names(progress)}",
        "talk to the other holder; nothing more was changed, users' traffic neither",
    )


def _why(progress: Progress, result: RunResult) -> str:
    if progress.failures:
        return _failures(progress)
    if result.rc is None:
        return f"Ansible was killed in {progress.phase}"
    return f"Ansible ended with {result.rc} in {progress.phase}"


def _failures(progress: Progress) -> str:
    told = [
        each
        for number, each in enumerate(progress.failures, start=1)
        if not _is_told_again(each, progress.failures[number:])
    ]
    shown = "; ".join(str(failure).rstrip(".") for failure in told[:3])
    more = len(told) - 3
    return shown + (f"; and {more} more" if more > 0 else "") or "no reason was reported"


def _is_told_again(failure: Failure, later: Sequence[Failure]) -> bool:
    """Whether a later one of the host says it with more around it: a task that fails for others."""
    return any(
        failure.host == each.host and failure.message.rstrip(".") in each.message for each in later
    )


def _names(progress: Progress) -> str:
    done = [phase for phase in dict.fromkeys(progress.started) if phase in progress.finished]
    return ", ".join(done) or "nothing"


def _done_and_not(scenario: Scenario, progress: Progress) -> str:
    left = [phase.name for phase in scenario.phases if phase.name not in progress.finished]
    return f"Done: {_names(progress)}. Not done: {', '.join(left)}"


def _users(progress: Progress) -> str:
    """What they have meanwhile, once traffic is as :func:`safe_traffic` wants it."""
    if progress.protected_users and "Switch" not in progress.started:
        return "users get the maintenance answer meanwhile, and an undo lets them in; "
    return {
        "paused": "users get the maintenance answer meanwhile; ",
        "resumed": "users have what they had before; ",
        "untouched": "",
    }[safe_traffic(progress)]
