"""``rollback-playbook drill SCENARIO``: break the lab, roll it back, prove it, measure it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollback_playbook.cli.settings import Settings
from rollback_playbook.errors import ExitCode, RefusedError, RollbackError
from rollback_playbook.execution.outcome import Progress

if TYPE_CHECKING:
    from rollback_playbook.cli.incident_run import Finished
    from rollback_playbook.lab.prober import Prober, Sample, Seen

#: What the bad release has to have done before a scenario is worth drilling.
_CODE_ONLY = {"emergency": False, "full": False, "application": True}
#: The outage that a drill on the lab as shipped must not exceed, in seconds.
_OUTAGE_TARGET = 3.0
_ORDERS = 60
_FAULT_SECONDS = 2.0


@click.command()
@click.argument("scenario", type=click.Choice(sorted(_CODE_ONLY)))
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the lab lives [ROLLBACK_LAB_DIR].",
)
@click.option("--scale", default=1.0, show_default=True, help="1 is 200,000 orders.")
@click.option("--json", "as_json", is_flag=True, help="Print the record's events as JSON.")
@click.pass_obj
def drill(
    settings: Settings, scenario: str, directory: Path | None, scale: float, as_json: bool
) -> int:
    """Break a real system on this machine, bring it back, and look with a user's eyes.

    Starts the lab when it is not up, backs it up, lets customers buy, deploys the bad release,
    runs the scenario, and compares the restored data with the backup, row for row.
    """  # fmt: skip
    from rollback_playbook.cli.lab import back_up, start_lab
    from rollback_playbook.lab.places import Lab, lab_directory

    lab = Lab(directory.absolute() if directory else lab_directory())
    _step("the lab: a shop on PostgreSQL, Valkey and nginx")
    start_lab(settings, lab.directory, scale=scale)
    _require_good(lab)
    _step("a verified backup")
    back_up(settings, str(lab.inventory))
    return int(_Drill(settings, scenario, lab, as_json=as_json).run())


@dataclass(frozen=True)
class _Moments:
    """When what began, in seconds since the epoch."""

    broken: float
    rollback: float


class _Drill:
    """One drill on a lab that is up and backed up."""

    def __init__(self, settings: Settings, scenario: str, lab: Any, *, as_json: bool) -> None:
        self._settings = settings
        self._scenario = scenario
        self._lab = lab
        self._state = lab.state()
        self._as_json = as_json
        self._phases: dict[str, tuple[float, float]] = {}
        self._seen: Seen | None = None
        self._window: Seen | None = None
        self._proof: dict[str, Any] = {}

    def run(self) -> ExitCode:
        """Break, roll back, measure, tell."""
        from rollback_playbook.cli.incident_run import run_incident
        from rollback_playbook.lab import lifecycle
        from rollback_playbook.lab.orders import place_orders
        from rollback_playbook.lab.prober import Prober

        prober = Prober(self._state.url, self._lab.logs / "prober.jsonl")
        try:
            _step(
                f"customers buy: {place_orders(self._state.url, _ORDERS)} orders since the backup"
            )
            moments_broken = time.time()
            _step("a bad deployment: release 1.1.0")
            lifecycle.break_release(self._lab.directory, migrate=not _CODE_ONLY[self._scenario])
            time.sleep(_FAULT_SECONDS)
            _tell_fault(prober.so_far(), since=moments_broken)
            _step(f"rollback-playbook {self._scenario} -i lab")
            moments = _Moments(moments_broken, time.time())
            finished = run_incident(
                self._settings,
                self._scenario,
                str(self._lab.inventory),
                reason="drill: release 1.1.0 damages orders",
                as_json=self._as_json,
                measure=lambda progress: self._measure(prober, moments, progress),
            )
        finally:
            prober.stop()
        return self._tell(finished, moments)

    def _measure(
        self, prober: Prober, moments: _Moments, progress: Progress
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """What users saw, and whether the data are whole; into the record before it is closed."""
        from rollback_playbook.lab.prober import seen
        from rollback_playbook.lab.proof import compare_with_backup

        samples = prober.stop()
        self._seen = seen(samples, since=moments.broken)
        self._window = seen(samples, since=moments.rollback)
        yield (
            "outage.measured",
            {
                **self._window.as_event(),
                "since": "the start of the rollback",
                "since_first_fault": self._seen.as_event(),
            },
        )
        if not _CODE_ONLY[self._scenario]:
            backup = str(progress.decision.get("backup", ""))
            self._proof = compare_with_backup(self._lab, backup)
            yield "data.compared", self._proof

    def _tell(self, finished: Finished, moments: _Moments) -> ExitCode:
        from rollback_playbook.cli.incident_run import print_finish
        from rollback_playbook.record.keys import Keyring
        from rollback_playbook.record.verification import verify

        print_finish(finished)
        record = verify(finished.folder, Keyring(self._settings.keys_dir))
        proofs = [
            _healthy(finished),
            *self._data_verdict(),
            (record.ok, f"record verified: {record.events} events, nothing changed or missing"
             if record.ok else "record NOT verified: rollback-playbook incidents verify last"),
        ]  # fmt: skip
        times = [*self._outage_verdicts(moments), _target(_summary_of(finished), finished)]
        for good, text in [*proofs, *times]:
            mark = click.style("✓", fg="green") if good else click.style("✗", fg="red")
            click.echo(f"{mark} {text}", err=True)
        click.echo(f"  report: {finished.folder.report}", err=True)
        return self._code(finished, proofs)

    def _code(self, finished: Finished, proofs: list[tuple[bool, str]]) -> ExitCode:
        """A missed target time is told and no failure: a busy machine is not a broken one."""
        code = finished.exit_code
        if code is ExitCode.HEALTHY and not all(good for good, _ in proofs):
            return ExitCode.NOT_PROVED
        return code

    def _outage_verdicts(self, moments: _Moments) -> Iterator[tuple[bool, str]]:
        if self._seen is None or self._window is None:
            yield False, "the prober saw nothing"
            return
        window, since_fault = self._window, self._seen
        yield (
            window.seconds <= _OUTAGE_TARGET,
            f"outage seen by users: {window.seconds:.2f} s without service during the rollback "
            f"(target {_OUTAGE_TARGET:.0f} s), {window.failed} of {window.requests} requests "
            "failed",
        )
        first = since_fault.first_fault or moments.broken
        yield (
            True,
            f"since the first fault, {moments.rollback - first:.1f} s before the rollback: "
            f"{since_fault.seconds:.2f} s without service, {since_fault.failed} requests failed, "
            f"{since_fault.wrong} answers were wrong",
        )

    def _data_verdict(self) -> Iterator[tuple[bool, str]]:
        if not self._proof:
            return
        different = self._proof["different"]
        good = not different
        text = (
            f"data whole again: {self._proof['tables']} tables, {self._proof['rows']:,} rows are "
            f"those of backup {self._proof['backup']}"
        )
        yield good, text if good else f"data differ from the backup: {', '.join(different)}"


def _require_good(lab: Any) -> None:
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


def _healthy(finished: Finished) -> tuple[bool, str]:
    good = finished.exit_code is ExitCode.HEALTHY
    return good, "healthy" if good else f"not healthy: exit code {int(finished.exit_code)}"


def _summary_of(finished: Finished) -> dict[str, Any]:
    from rollback_playbook.record.reading import read_events
    from rollback_playbook.record.summary import summary_of

    return summary_of(read_events(finished.folder.events))


def _target(summary: dict[str, Any], finished: Finished) -> tuple[bool, str]:
    from rollback_playbook.report.clock import duration

    seconds, target = summary.get("seconds"), summary.get("target_seconds")
    if seconds is None or target is None:
        raise RollbackError(f"the record of {finished.folder.id} has no times")
    met = seconds <= target
    word = "met" if met else "missed"
    return met, f"target {word}: {duration(seconds)} from Declare to Close, of {duration(target)}"


def _step(text: str) -> None:
    click.secho(f"\n{text}", bold=True, err=True)
