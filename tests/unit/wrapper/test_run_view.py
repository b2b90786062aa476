"""What the screen makes of the record's events."""

from __future__ import annotations

import json
from typing import Any

from rollback_playbook.cli.run_view import RunView
from rollback_playbook.events.model import RecordEvent


def event(second: float, kind: str, subject: str = "", **data: Any) -> RecordEvent:
    """An event so many seconds after three o'clock."""
    return RecordEvent(
        id="x.1",
        source="/incidents/x",
        type=kind,
        time=f"2026-11-22T03:{int(second) // 60:02d}:{second % 60:09.6f}Z",
        subject=subject,
        data=data,
        sequence=1,
        prevhash="0" * 64,
        hash="1" * 64,
    )


_CHECKS = [
    {"name": "shop answers", "state": "passed"},
    {"name": "cache answers", "state": "failed"},
]

RUN = [
    event(0, "incident.declared"),
    event(1, "phase.started", name="Declare"),
    event(2, "phase.finished", name="Declare", status="ok"),
    event(2, "phase.started", name="Switch"),
    event(2, "host.started", "db1", task="Swap"),
    event(3, "task.finished", "db1", task="Swap", status="changed", seconds=0.9),
    event(4, "gate.failed", gate="System is healthy", outcome="failed", checks=_CHECKS),
    event(5, "decision.made", level="full", reasons=["data are damaged", "1.1.0 runs"]),
    event(6, "task.finished", "app1", task="Start", status="failed", result={"msg": "no such x"}),
    event(6, "phase.finished", name="Switch", status="failed"),
]


def view_of(*events: RecordEvent, predicted: dict[str, float] | None = None) -> RunView:
    view = RunView.of(["Declare", "Switch", "Verify"], 60, predicted)
    for each in events:
        view.observe(each)
    return view


def test_view_follows_phases_tasks_gates_and_failures() -> None:
    view = view_of(*RUN)

    assert [(phase.name, phase.state) for phase in view.phases] == [
        ("Declare", "done"),
        ("Switch", "failed"),
        ("Verify", "waiting"),
    ]
    assert view.phases[1].seconds == 4
    assert view.phases[1].changed == 1
    assert str(view.gates[0]) == (
        "gate failed: System is healthy, 1 of 2 checks are green; not: cache answers"
    )
    assert [(note.subject, note.text) for note in view.notes] == [
        ("", "decision: full"),
        ("", "because data are damaged"),
        ("", "because 1.1.0 runs"),
        ("app1", "no such x"),
    ]


def test_gate_says_what_is_green_so_far_until_it_has_decided() -> None:
    view = view_of(event(1, "gate.sampled", gate="System is healthy", checks=_CHECKS))

    assert str(view.sampled) == (
        "gate: System is healthy, 1 of 2 checks are green; not yet: cache answers"
    )

    view.observe(event(2, "gate.passed", gate="System is healthy", checks=_CHECKS[:1]))

    assert view.sampled is None
    assert view.gates[0].passed


def test_gate_of_many_checks_names_a_few_that_are_not_green() -> None:
    checks = [{"name": f"web{number} answers", "state": "waiting"} for number in range(200)]
    view = view_of(event(1, "gate.sampled", gate="Fleet is healthy", checks=checks))

    assert str(view.sampled) == (
        "gate: Fleet is healthy, 0 of 200 checks are green; not yet: web0 answers, web1 answers, "
        "web2 answers, web3 answers and 196 more"
    )


def test_view_takes_a_phase_that_was_not_announced() -> None:
    view = view_of(event(1, "phase.started", name="Close"))

    assert [phase.name for phase in view.phases][-1] == "Close"


def test_view_counts_from_the_declaration_and_not_from_the_opening_of_the_record() -> None:
    view = view_of(
        event(0, "record.opened"),
        event(5, "incident.declared"),
        event(7, "phase.started", name="Declare"),
    )

    assert view.phases[0].started == 2


def test_view_of_a_phase_that_runs_again_shows_the_second_time() -> None:
    view = view_of(
        event(0, "incident.declared"),
        event(1, "phase.started", name="Switch"),
        event(2, "phase.finished", name="Switch", status="ok"),
        event(10, "phase.started", name="Switch"),
    )

    assert (view.phases[1].state, view.phases[1].started) == ("running", 10)
    assert view.phases[1].seconds is None


def test_view_says_a_warning_of_every_task_once() -> None:
    warned = event(1, "task.finished", "db1", task="a", status="ok", warnings=["collation differs"])

    view = view_of(warned, warned, warned)

    assert [note.text for note in view.notes] == ["collation differs"]
    assert view.observe(warned) == []


def test_view_tells_a_loop_that_failed_in_the_words_of_its_items() -> None:
    def failed(kind: str, msg: str) -> RecordEvent:
        return event(2, kind, "web1", task="Units", status="failed", result={"msg": msg})

    view = view_of(
        event(1, "phase.started", name="Switch"),
        failed("item.finished", "green.service is not there"),
        failed("task.finished", "One or more items failed"),
        failed("task.finished", "the disk is full"),
    )

    assert [note.text for note in view.notes] == ["green.service is not there", "the disk is full"]


def test_view_follows_the_progress_of_a_long_step_until_the_next_task() -> None:
    view = view_of(
        event(1, "host.started", "db1", task="Restore"),
        event(2, "progress.reported", host="db1", task="Restore", percent=40, bytes_total=100),
    )

    assert (view.hosts["db1"].percent, view.hosts["db1"].bytes_total) == (40, 100)
    view.observe(event(3, "host.started", "db1", task="Swap"))
    assert view.hosts["db1"].percent is None


def test_view_expects_the_end_by_what_each_phase_took_before() -> None:
    predicted = {"Declare": 2.0, "Switch": 4.0, "Verify": 10.0}
    begun = [event(0, "incident.declared"), event(2, "phase.started", name="Switch")]
    declared = [
        event(0, "phase.started", name="Declare"),
        event(2, "phase.finished", name="Declare", status="ok"),
    ]
    view = view_of(begun[0], *declared, begun[1], predicted=predicted)

    assert view.expected_end(3.0) == 16.0
    assert view.expected_end(12.0) == 22.0
    assert view_of(*begun).expected_end(3.0) is None


def test_view_passes_over_data_of_odd_shapes() -> None:
    view = view_of(
        event(0, "incident.declared"),
        event(1, "gate.passed", checks=["[cut: 300 items]"]),
        event(1, "decision.made", level="full", reasons="one text"),
        event(1, "progress.reported", "db1", percent="half"),
        event(1, "task.finished", "db1", status="ok", warnings="[cut]"),
        event(1, "of.tomorrow", whatever=json.loads("[1]")),
    )

    assert view.gates[0].total == 0
    assert view.hosts["db1"].percent is None
    assert [note.text for note in view.notes] == ["decision: full", "because one text"]


_AT_RISK = {
    "summary": "restoring this backup loses 1,284 orders written since 02:00 UTC",
    "basis": "every row was compared",
    "total": {"added": 1284, "changed": 0, "removed": 0},
    "kept_in": "/salvage",
}


def test_decision_says_what_it_costs_and_where_that_is_kept() -> None:
    view = view_of(event(0, "decision.made", level="full", reasons=[], data_at_risk=_AT_RISK))

    assert [note.text for note in view.notes] == [
        "decision: full",
        "counted: every row was compared",
        "restoring this backup loses 1,284 orders written since 02:00 UTC; "
        "they will be kept in /salvage",
    ]


def test_decision_that_loses_nothing_keeps_nothing() -> None:
    none = {"added": 0, "changed": None, "removed": 0}
    at_risk = {**_AT_RISK, "summary": "loses no new row", "total": none}

    view = view_of(event(0, "decision.made", level="full", reasons=[], data_at_risk=at_risk))

    assert "loses no new row" in [note.text for note in view.notes]


def test_decision_for_the_release_alone_says_nothing_of_data() -> None:
    view = view_of(event(0, "decision.made", level="application", reasons=[], data_at_risk={}))

    assert [note.text for note in view.notes] == ["decision: application"]
