"""A drill on the lab: break it, roll it back, prove it, measure it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from rollback_playbook.cli.drill_steps import Felt, judge, step, tell_fault
from rollback_playbook.cli.drill_underway import Underway
from rollback_playbook.cli.settings import Settings
from rollback_playbook.errors import ExitCode, RefusedError, RollbackError
from rollback_playbook.execution.outcome import Progress

if TYPE_CHECKING:
    from rollback_playbook.cli.incident_steps import Finished
    from rollback_playbook.drill.prober import Prober
    from rollback_playbook.lab.places import Lab
    from rollback_playbook.lab.proof import Written
    from rollback_playbook.record.drill_log import Drill

_ORDERS = 60
_FAULT_SECONDS = 2.0
#: The outage that the lab as shipped must not exceed, in seconds.
_OUTAGE_TARGET = 3.0

#: The scenario after whose drill what users wrote since the backup is merged back.
_MERGED = "full"


def drill_on_lab(
    settings: Settings,
    scenario: str,
    lab: Lab,
    *,
    scale: float,
    staged: bool,
    as_json: bool,
) -> Drill:
    """Start the lab when it is not up, back it up, let customers buy, break it, roll it back.

    It is left as it was found, whatever a scenario leaves: flags that stay off, breakers that stay
    open are right in an incident, and not before a drill. Raises UsageError without a fault.
    """
    from rollback_playbook.cli.lab import back_up, start_lab
    from rollback_playbook.lab.breaking import fault_for
    from rollback_playbook.lab.mending import mend_lab

    fault = fault_for(scenario)
    step("the lab: a shop on PostgreSQL, Valkey and nginx")
    start_lab(settings, lab.directory, scale=scale)
    _require_good(lab)
    step("a verified backup")
    back_up(settings, str(lab.inventory))
    drilled = _Drill(settings, scenario, lab, as_json=as_json)
    if staged:
        drilled.stage()
    drill = drilled.run()
    if not fault.damages_data:
        mend_lab(lab.directory)
    return drill


@dataclass
class _Findings:
    """What was seen and proved, for the verdict."""

    broken: float = 0.0
    rollback: float = 0.0
    felt: Felt | None = None
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
        step(f"the backup is staged: {self._backup}")
        finished = self._run(
            "backup-stage", reason="before a risky deployment", backup=self._backup
        )
        if finished.exit_code is not ExitCode.HEALTHY:
            raise RollbackError(
                f"the backup could not be staged: {finished.outcome.summary}",
                hint=finished.outcome.next_step,
            )

    def run(self) -> Drill:
        """Break, roll back, measure, merge, tell."""
        from rollback_playbook.cli.incident_run import print_finish
        from rollback_playbook.lab import customers

        prober = customers.asking(self._lab.state().url, self._lab.logs / "prober.jsonl")
        command = f"rollback-playbook {self._scenario} -i lab"
        try:
            self._buy()
            with Underway(self._settings, self._scenario, "lab", command=command) as underway:
                self._break(prober)
                underway.is_broken()
                step(command)
                self._found.rollback = time.time()
                underway.rolls_back()
                finished = self._run(
                    self._scenario,
                    reason=f"drill: {self._fault.title}",
                    variables=self._fault.variables,
                    measure=lambda progress: self._measure(prober, progress),
                )
                prober.stop()
                print_finish(finished)
                if self._scenario == _MERGED and finished.exit_code is ExitCode.HEALTHY:
                    self._merge(finished)
                return self._tell(finished, underway)
        finally:
            prober.stop()

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

    def _buy(self) -> None:
        from rollback_playbook.lab.orders import WITHOUT_DISCOUNT, place_orders
        from rollback_playbook.lab.proof import written_since

        bought = place_orders(self._lab.state().url, _ORDERS, customers=WITHOUT_DISCOUNT)
        self._written = written_since(self._lab, self._backup)
        step(f"customers buy: {bought} orders since the backup")

    def _break(self, prober: Prober) -> None:
        from rollback_playbook.lab.breaking import break_lab

        self._found.broken = time.time()
        step(self._fault.title)
        for symptom in break_lab(self._lab.directory, self._fault):
            click.echo(f"  {symptom}", err=True)
        time.sleep(_FAULT_SECONDS)
        tell_fault(prober.so_far(), since=self._found.broken)

    def _measure(self, prober: Prober, progress: Progress) -> Iterator[tuple[str, dict[str, Any]]]:
        """What users saw, and whether the data are whole; into the record before it is closed."""
        from rollback_playbook.lab import proof

        found = self._found
        found.felt = Felt.of(prober.stop(), progress, broken=found.broken, rollback=found.rollback)
        yield "outage.measured", found.felt.as_event()
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

        step("rollback-playbook data-merge -i lab: what users wrote comes back")
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

    def _tell(self, finished: Finished, underway: Underway) -> Drill:
        from rollback_playbook.cli import drill_verdict as verdict

        found = self._found
        proofs = [
            verdict.felt(self._fault.symptoms(self._lab)),
            *verdict.data(found.data),
            *verdict.stayed(found.stayed),
            *verdict.at_risk(found.counted, found.kept, found.merged),
        ]
        return judge(
            self._settings,
            finished,
            found.felt,
            proofs,
            underway=underway,
            outage_target=_OUTAGE_TARGET,
            is_mended=not self._fault.damages_data,
        )


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
