"""``rollback-playbook drill SCENARIO``: break the lab, roll it back, prove it, measure it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollback_playbook.cli.settings import Settings
from rollback_playbook.errors import ExitCode, RefusedError, RollbackError
from rollback_playbook.execution.outcome import Progress

if TYPE_CHECKING:
    from rollback_playbook.cli.incident_steps import Finished
    from rollback_playbook.lab.places import Lab
    from rollback_playbook.lab.prober import Prober, Sample, Seen
    from rollback_playbook.lab.proof import Written

_ORDERS = 60
_FAULT_SECONDS = 2.0


#: The scenario after whose drill what users wrote since the backup is merged back.
_MERGED = "full"


@click.command()
@click.argument("scenario")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the lab lives [ROLLBACK_LAB_DIR].",
)
@click.option("--scale", default=1.0, show_default=True, help="1 is 200,000 orders.")
@click.option("--staged", is_flag=True, help="Stage the backup before anything is broken.")
@click.option("--json", "as_json", is_flag=True, help="Print the record's events as JSON.")
@click.pass_obj
def drill(
    settings: Settings,
    scenario: str,
    directory: Path | None,
    scale: float,
    staged: bool,
    as_json: bool,
) -> int:
    """Break a real system on this machine, bring it back, and look with a user's eyes.

    Starts the lab when it is not up, backs it up, lets customers buy, causes what the scenario is
    for, runs it, and asks from outside whether anything of it is still felt. Where data were
    damaged, they are compared with the backup, row for row: orders that were placed after it have
    to be counted beforehand, kept, and, in the drill of full, merged back.
    """  # fmt: skip
    from rollback_playbook.cli.lab import back_up, start_lab
    from rollback_playbook.lab.places import Lab, lab_directory

    lab = Lab(directory.absolute() if directory else lab_directory())
    _step("the lab: a shop on PostgreSQL, Valkey and nginx")
    start_lab(settings, lab.directory, scale=scale)
    _require_good(lab)
    _step("a verified backup")
    back_up(settings, str(lab.inventory))
    drilled = _Drill(settings, scenario, lab, as_json=as_json)
    if staged:
        drilled.stage()
    return int(drilled.run())


@dataclass
class _Findings:
    """What was seen and proved, for the verdict."""

    broken: float = 0.0
    rollback: float = 0.0
    #: Since the fault, and since the rollback began.
    seen: Seen | None = None
    window: Seen | None = None
    data: dict[str, Any] = field(default_factory=dict)
    counted: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    merged: dict[str, Any] = field(default_factory=dict)
    stayed: dict[str, Any] = field(default_factory=dict)


class _Drill:
    """One drill on a lab that is up and backed up."""

    def __init__(self, settings: Settings, scenario: str, lab: Lab, *, as_json: bool) -> None:
        from rollback_playbook.lab.breaking import fault_for
        from rollback_playbook.lab.proof import newest_backup

        self._settings = settings
        self._scenario = scenario
        self._fault = fault_for(scenario)
        self._lab = lab
        self._as_json = as_json
        self._backup = newest_backup(lab)
        self._found = _Findings()
        self._written: Written | None = None
        self._restore = ""

    def stage(self) -> None:
        """Have the backup restored and proved before anything happens."""
        _step(f"the backup is staged: {self._backup}")
        finished = self._run(
            "backup-stage", reason="before a risky deployment", backup=self._backup
        )
        if finished.exit_code is not ExitCode.HEALTHY:
            raise RollbackError(
                f"the backup could not be staged: {finished.outcome.summary}",
                hint=finished.outcome.next_step,
            )

    def run(self) -> ExitCode:
        """Break, roll back, measure, merge, tell."""
        from rollback_playbook.cli.incident_run import print_finish
        from rollback_playbook.lab.prober import Prober

        prober = Prober(self._lab.state().url, self._lab.logs / "prober.jsonl")
        try:
            self._break(prober)
            _step(f"rollback-playbook {self._scenario} -i lab")
            self._found.rollback = time.time()
            finished = self._run(
                self._scenario,
                reason=f"drill: {self._fault.title}",
                variables=self._fault.variables,
                measure=lambda progress: self._measure(prober, progress),
            )
        finally:
            prober.stop()
        print_finish(finished)
        if self._scenario == _MERGED and finished.exit_code is ExitCode.HEALTHY:
            self._merge(finished)
        return self._tell(finished)

    def _run(
        self,
        scenario: str,
        *,
        reason: str,
        backup: str | None = None,
        variables: tuple[str, ...] = (),
        measure: Callable[[Progress], Iterator[tuple[str, dict[str, Any]]]] | None = None,
    ) -> Finished:
        from rollback_playbook.cli.incident_run import run_incident

        return run_incident(
            self._settings,
            scenario,
            str(self._lab.inventory),
            reason=reason,
            backup=backup,
            variables=variables,
            as_json=self._as_json,
            kind="drill",
            measure=measure,
        )

    def _break(self, prober: Prober) -> None:
        from rollback_playbook.lab.breaking import break_lab
        from rollback_playbook.lab.orders import WITHOUT_DISCOUNT, place_orders
        from rollback_playbook.lab.proof import written_since

        bought = place_orders(self._lab.state().url, _ORDERS, customers=WITHOUT_DISCOUNT)
        self._written = written_since(self._lab, self._backup)
        _step(f"customers buy: {bought} orders since the backup")
        self._found.broken = time.time()
        _step(self._fault.title)
        for symptom in break_lab(self._lab.directory, self._fault):
            click.echo(f"  {symptom}", err=True)
        time.sleep(_FAULT_SECONDS)
        _tell_fault(prober.so_far(), since=self._found.broken)

    def _measure(self, prober: Prober, progress: Progress) -> Iterator[tuple[str, dict[str, Any]]]:
        """What users saw, and whether the data are whole; into the record before it is closed."""
        from rollback_playbook.lab import proof
        from rollback_playbook.lab.prober import seen

        found = self._found
        samples = prober.stop()
        found.seen = seen(samples, since=found.broken)
        found.window = seen(samples, since=found.rollback)
        yield (
            "outage.measured",
            {
                **found.window.as_event(),
                "since": "the start of the rollback",
                "since_first_fault": found.seen.as_event(),
            },
        )
        self._restore = str(progress.decision.get("restore_id", ""))
        if self._written is None:
            return
        if not self._fault.damages_data:
            found.stayed = proof.live_again(self._lab, self._written)
            return
        found.data = proof.compare_with_backup(
            self._lab, str(progress.decision.get("backup") or self._backup)
        )
        yield "data.compared", found.data
        found.counted = proof.counted(
            self._written, dict(progress.decision.get("data_at_risk") or {})
        )
        yield "data.counted", found.counted
        found.kept = proof.kept(self._lab, self._written)
        yield "data.kept", found.kept

    def _merge(self, finished: Finished) -> None:
        """Bring back what users wrote after the backup, as their shop's operator would."""
        from rollback_playbook.cli.incident_run import print_finish

        _step("rollback-playbook data-merge -i lab: what users wrote comes back")
        merged = self._run(
            "data-merge",
            reason=f"drill: orders that {finished.folder.id} displaced",
            variables=(f"database_merge_incident={self._restore}",),
            measure=self._measure_merge,
        )
        print_finish(merged)
        self._found.merged["healthy"] = merged.exit_code is ExitCode.HEALTHY

    def _measure_merge(self, _progress: Progress) -> Iterator[tuple[str, dict[str, Any]]]:
        from rollback_playbook.lab.proof import live_again

        if self._written is not None:
            self._found.merged = live_again(self._lab, self._written)
            yield "data.merged", dict(self._found.merged)

    def _tell(self, finished: Finished) -> ExitCode:
        from rollback_playbook.cli import drill_verdict as verdict
        from rollback_playbook.record.keys import Keyring
        from rollback_playbook.record.verification import verify

        found = self._found
        record = verify(finished.folder, Keyring(self._settings.keys_dir))
        proofs = [
            verdict.healthy(finished.exit_code),
            verdict.felt(self._fault.symptoms(self._lab)),
            *verdict.data(found.data),
            *verdict.stayed(found.stayed),
            *verdict.at_risk(found.counted, found.kept, found.merged),
            verdict.record(record.ok, record.events),
        ]
        times = [
            *verdict.outage(found.seen, found.window, found.broken, found.rollback),
            verdict.target(finished.folder),
        ]
        for good, text in [*proofs, *times]:
            mark = click.style("✓", fg="green") if good else click.style("✗", fg="red")
            click.echo(f"{mark} {text}", err=True)
        click.echo(f"  report: {finished.folder.report}", err=True)
        return _code(finished.exit_code, proofs)


def _code(code: ExitCode, proofs: list[tuple[bool, str]]) -> ExitCode:
    """A missed target time is told and no failure: a busy machine is not a broken one."""
    if code is ExitCode.HEALTHY and not all(good for good, _ in proofs):
        return ExitCode.NOT_PROVED
    return code


def _require_good(lab: Lab) -> None:
    """A drill begins on a system that works."""
    from rollback_playbook.lab import lifecycle

    found = lifecycle.status(lab.directory)
    if found.release != "1.0.0" or found.health.get("schema") != 1:
        raise RefusedError(
            f"the lab runs release {found.release} with schema {found.health.get('schema')}: it "
            "is broken already; nothing was changed",
            hint="bring it back with rollback-playbook full -i lab, or begin anew with "
            "rollback-playbook lab down --purge",
        )


def _tell_fault(samples: list[Sample], *, since: float) -> None:
    from rollback_playbook.lab.prober import seen

    found = seen(samples, since=since)
    click.echo(
        f"  users see it: {found.failed} of {found.requests} requests failed, "
        f"{found.wrong} answers were wrong",
        err=True,
    )


def _step(text: str) -> None:
    click.secho(f"\n{text}", bold=True, err=True)
