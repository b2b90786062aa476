"""What every drill does, wherever it is: it says its steps, tells what was seen, and judges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from rollback_playbook.cli import drill_verdict as verdict
from rollback_playbook.cli.incident_steps import Finished
from rollback_playbook.cli.settings import Settings
from rollback_playbook.drill.prober import RATE, Sample, Seen, seen
from rollback_playbook.errors import ExitCode
from rollback_playbook.execution.outcome import Progress

if TYPE_CHECKING:
    from rollback_playbook.cli.drill_underway import Underway
    from rollback_playbook.record.drill_log import Drill


@dataclass(frozen=True)
class Felt:
    """What users felt since the fault, and since the rollback began; moments since the epoch."""

    broken: float
    rollback: float
    since_fault: Seen
    since_rollback: Seen
    #: Whether users were kept out from the beginning, because service harmed them.
    protected: bool

    @classmethod
    def of(
        cls,
        samples: Sequence[Sample],
        progress: Progress,
        *,
        broken: float,
        rollback: float,
        rate: float = RATE,
    ) -> Felt:
        """From everything that users saw, ``rate`` times a second, and what the run did."""
        return cls(
            broken,
            rollback,
            protected=progress.protected_users,
            since_fault=seen(samples, since=broken, rate=rate),
            since_rollback=seen(samples, since=rollback, rate=rate),
        )

    def as_event(self) -> dict[str, Any]:
        """The data of ``outage.measured``."""
        return {
            **self.since_rollback.as_event(),
            "since": "the start of the rollback",
            "since_first_fault": self.since_fault.as_event(),
        }


def step(text: str) -> None:
    """Say what is done next; addresses in an inventory may hold a secret."""
    from rollback_playbook.record.redaction import Redactor

    click.secho(f"\n{Redactor().text(text)}", bold=True, err=True)


def tell_fault(samples: Iterable[Sample], *, since: float) -> Seen:
    """Say what users see of the fault; return it."""
    found = seen(samples, since=since)
    click.echo(
        f"  users see it: {found.failed} of {found.requests} requests failed, "
        f"{found.wrong} answers were wrong",
        err=True,
    )
    return found


def judge(
    settings: Settings,
    finished: Finished,
    felt: Felt | None,
    proofs: Iterable[verdict.Line],
    *,
    underway: Underway,
    outage_target: float | None = None,
    is_mended: bool = False,
) -> Drill:
    """Print what was proved and how long it took, and write down how the drill ended.

    ``outage_target``: seconds that the rollback may cost users; None where nobody has said. A
    target time that is missed is told and no failure: a busy machine is not a broken one.
    ``is_mended``: whether the fault is taken out afterwards, however the drill has ended.
    """
    from rollback_playbook.record.keys import Keyring
    from rollback_playbook.record.verification import verify

    record = verify(finished.folder, Keyring(settings.keys_dir))
    proved = [
        verdict.healthy(finished.exit_code),
        *proofs,
        verdict.record(record.ok, record.events),
    ]
    drill = _drill(finished, proved, command="" if is_mended else underway.command)
    unwritten = underway.over(drill)
    if unwritten is not None:
        drill = _unwritten(drill)
    for good, text in [
        *proved,
        *_outage(felt, outage_target),
        *_target(finished),
        *verdict.written_down(unwritten),
    ]:
        mark = click.style("✓", fg="green") if good else click.style("✗", fg="red")
        click.echo(f"{mark} {text}", err=True)
    click.echo(f"  report: {finished.folder.report}", err=True)
    if drill.left_broken:
        click.echo(f"✗ {drill.environment} is still broken by this drill", err=True)
        click.echo(f"  next: {drill.command}", err=True)
    return drill


def _drill(finished: Finished, proved: Iterable[verdict.Line], *, command: str) -> Drill:
    """``command`` brings the environment back where the scenario has not begun to; empty where
    that is seen to."""
    from rollback_playbook.record.drill_log import drill_of
    from rollback_playbook.record.listing import summary_for

    code, outcome = finished.exit_code, finished.outcome
    well = code in (ExitCode.HEALTHY, ExitCode.RECORD_INCOMPLETE) or not command
    if code is ExitCode.HEALTHY and not all(good for good, _ in proved):
        code = ExitCode.NOT_PROVED
    elif code is ExitCode.REFUSED:
        # The scenario has changed nothing, and the drill has.
        code = ExitCode.FAILED
    if "rollback-playbook continue" in outcome.next_step:
        command = f"rollback-playbook continue {finished.folder.id}"
    return replace(
        drill_of(summary_for(finished.folder), exit_code=int(code)),
        left_broken=not well,
        command="" if well else command,
    )


def _unwritten(drill: Drill) -> Drill:
    healthy = drill.exit_code == ExitCode.HEALTHY
    return replace(drill, exit_code=int(ExitCode.RECORD_INCOMPLETE)) if healthy else drill


def _target(finished: Finished) -> Iterator[verdict.Line]:
    """How fast a scenario was that did not end says nothing."""
    if finished.exit_code in (ExitCode.HEALTHY, ExitCode.RECORD_INCOMPLETE):
        yield verdict.target(finished.folder)


def _outage(felt: Felt | None, target: float | None) -> Iterator[verdict.Line]:
    if felt is None:
        yield False, "the prober saw nothing"
        return
    yield from verdict.outage(
        felt.since_fault,
        felt.since_rollback,
        broken=felt.broken,
        rollback=felt.rollback,
        target=target,
        protected=felt.protected,
    )
