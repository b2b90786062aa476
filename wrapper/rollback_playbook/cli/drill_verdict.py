"""The lines a drill ends with: what was proved, and how long users had to wait."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rollback_playbook.errors import ExitCode, RecordError

if TYPE_CHECKING:
    from rollback_playbook.drill.prober import Seen
    from rollback_playbook.record.folder import IncidentFolder

#: Whether it is as it should be, and a sentence about it.
Line = tuple[bool, str]


def healthy(code: ExitCode) -> Line:
    """The outcome of the scenario itself."""
    good = code is ExitCode.HEALTHY
    return good, "healthy" if good else f"not healthy: exit code {int(code)}"


def felt(symptoms: Sequence[str]) -> Line:
    """What is still wrong when one asks from outside, as before the scenario."""
    return (
        not symptoms,
        f"still: {'; '.join(symptoms)}" if symptoms else "no symptom of the fault is left",
    )


def data(proof: Mapping[str, Any]) -> Iterator[Line]:
    """The restored tables against the backup; nothing when none was restored."""
    if not proof:
        return
    different = proof["different"]
    good = not different
    text = (
        f"data whole again: {proof['tables']} tables, {proof['rows']:,} rows are those of backup "
        f"{proof['backup']}"
    )
    yield good, text if good else f"data differ from the backup: {', '.join(different)}"


def stayed(orders: Mapping[str, Any]) -> Iterator[Line]:
    """Orders placed after the backup, where no database was exchanged: nothing may touch them."""
    if not orders:
        return
    wrong = sum(orders["wrong"].values())
    yield (
        not wrong,
        f"untouched: {orders['orders']} orders placed since the backup are as they were placed"
        if not wrong
        else f"NOT untouched: {wrong} rows that users wrote since the backup are missing or differ",
    )


def at_risk(
    counted: Mapping[str, Any], kept: Mapping[str, Any], merged: Mapping[str, Any]
) -> Iterator[Line]:
    """Orders placed after the backup: counted, kept, and merged back where that was asked."""
    if counted:
        yield _counted(counted)
    if kept:
        missing = kept["missing"]
        yield (
            not missing,
            f"kept: these {kept['orders']} orders stand in {kept['in']}"
            if not missing
            else f"NOT kept: {missing} of {kept['orders']} orders are in no file",
        )
    if merged:
        yield _merged(merged)


def _counted(counted: Mapping[str, Any]) -> Line:
    orders = counted["orders"]
    if counted["right"]:
        return True, (
            f"counted beforehand: the decision said that {orders} orders were written since the "
            "backup, before anything was changed"
        )
    said = counted["counted"]
    return False, (
        f"counted wrongly: {orders} orders were written since the backup, the decision said "
        f"{'nothing of them' if said is None else said}"
    )


def _merged(merged: Mapping[str, Any]) -> Line:
    wrong = sum(merged.get("wrong", {}).values())
    if merged.get("healthy") and not wrong:
        return True, (
            f"merged back: these {merged['orders']} orders are live again, each as it was placed"
        )
    return False, f"NOT merged back: {wrong} rows are missing or differ"


def record(ok: bool, events: int) -> Line:
    """Whether the incident's record holds."""
    if ok:
        return True, f"record verified: {events} events, nothing changed or missing"
    return False, "record NOT verified: rollback-playbook incidents verify last"


def outage(
    seen: Seen,
    window: Seen,
    *,
    broken: float,
    rollback: float,
    target: float | None,
    protected: bool = False,
) -> Iterator[Line]:
    """What users had to wait, during the rollback and since the fault.

    ``target``: seconds that the rollback may cost them; None where nobody has said. ``protected``
    are users who were kept out from the beginning, because service harms them.
    """
    yield _protected(window) if protected else _during(seen, window, rollback, target)
    first = seen.first_fault or broken
    yield (
        True,
        f"since the first fault, {rollback - first:.1f} s before the rollback: "
        f"{seen.seconds:.2f} s without service, {seen.failed} requests failed, "
        f"{seen.wrong} answers were wrong",
    )


def _protected(window: Seen) -> Line:
    return True, (
        f"users were kept out on purpose, {window.seconds:.2f} s of the rollback; "
        f"{window.failed} of {window.requests} requests failed"
    )


def _during(seen: Seen, window: Seen, rollback: float, target: float | None) -> Line:
    """A scenario must not take users out for long; where the fault did, it brings them back."""
    requests = f"{window.failed} of {window.requests} requests failed"
    if any(each.began <= rollback <= each.ended for each in seen.outages):
        return True, (
            f"users had no service when the rollback began, and for {window.seconds:.2f} s of it; "
            f"{requests}"
        )
    # Wrong answers are the fault's; a rollback ends them and does not cause them.
    seconds = window.seconds - window.wrong_seconds
    wrong = (
        f"; for {window.wrong_seconds:.2f} s they were answered wrongly, until the data were right"
        if window.wrong_seconds
        else ""
    )
    wanted = "" if target is None else f" (target {target:.0f} s)"
    return target is None or seconds <= target, (
        f"outage seen by users: {seconds:.2f} s without service during the rollback"
        f"{wanted}, {requests}{wrong}"
    )


def written_down(error: RecordError | None) -> Iterator[Line]:
    """What came in the way of the drill log, if anything did."""
    if error is not None:
        yield False, f"NOT in the drill log: {error}"


def target(folder: IncidentFolder) -> Line:
    """The whole procedure against its target time."""
    from rollback_playbook.record.reading import read_events
    from rollback_playbook.record.summary import summary_of
    from rollback_playbook.report.clock import duration

    summary = summary_of(read_events(folder.events))
    seconds, wanted = summary.get("seconds"), summary.get("target_seconds")
    if seconds is None or wanted is None:
        return False, f"target unknown: the record of {folder.id} has no times"
    met = seconds <= wanted
    word = "met" if met else "missed"
    return met, f"target {word}: {duration(seconds)} from Declare to Close, of {duration(wanted)}"
