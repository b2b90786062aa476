"""What the screen makes of the record's events."""

from __future__ import annotations

import io
import json
from typing import Any

from rich.console import Console

from rollback_playbook.cli.run_view import RunView
from rollback_playbook.cli.screens import JsonScreen, LiveScreen, PlainScreen
from rollback_playbook.events.model import RecordEvent


def _event(second: float, kind: str, subject: str = "", **data: Any) -> RecordEvent:
    return RecordEvent(
        id="x.1",
        source="/incidents/x",
        type=kind,
        time=f"2026-11-22T03:00:{second:09.6f}Z",
        subject=subject,
        data=data,
        sequence=1,
        prevhash="0" * 64,
        hash="1" * 64,
    )


_RUN = [
    _event(0, "incident.declared"),
    _event(1, "phase.started", name="Declare"),
    _event(2, "phase.finished", name="Declare", status="ok"),
    _event(2, "phase.started", name="Switch"),
    _event(2, "host.started", "db1", task="Swap"),
    _event(3, "task.finished", "db1", task="Swap", status="changed", seconds=0.9),
    _event(4, "gate.passed", outcome="passed", checks=[{"state": "passed"}, {"state": "failed"}]),
    _event(5, "decision.made", level="full", reasons=["data are damaged"]),
    _event(6, "task.finished", "app1", task="Start", status="failed", result={"msg": "no such x"}),
    _event(6, "phase.finished", name="Switch", status="failed"),
]


def _view() -> RunView:
    return RunView.of(["Declare", "Switch", "Verify"], 60)


def test_view_follows_phases_tasks_gates_and_failures() -> None:
    view = _view()
    for event in _RUN:
        view.observe(event)

    assert [(phase.name, phase.state) for phase in view.phases] == [
        ("Declare", "done"),
        ("Switch", "failed"),
        ("Verify", "waiting"),
    ]
    assert view.phases[1].seconds == 4
    assert view.phases[1].changed == 1
    assert view.gates == ["passed: 1 of 2 checks green"]
    assert view.notes == ["decision: full (data are damaged)", "app1: no such x"]


def test_view_takes_a_phase_that_was_not_announced() -> None:
    view = _view()
    view.observe(_event(1, "phase.started", name="Close"))

    assert [phase.name for phase in view.phases][-1] == "Close"


def test_plain_screen_prints_a_line_for_each_thing_a_reader_looks_for() -> None:
    stream = io.StringIO()
    with PlainScreen(_view(), "full · lab", stream) as screen:
        for event in _RUN:
            screen.show(event)

    assert stream.getvalue().splitlines() == [
        "full · lab",
        "T+0:01  Declare",
        "T+0:02  Switch",
        "T+0:03    changed  db1: Swap (0.90 s)",
        "T+0:04    gate passed: 1 of 2 checks green",
        "T+0:05  decision: full (data are damaged)",
        "T+0:06    failed  app1: Start",
        "T+0:06  app1: no such x",
    ]


def test_plain_screen_says_its_title_once() -> None:
    stream = io.StringIO()
    screen = PlainScreen(_view(), "full", stream)
    for _ in range(2):
        with screen:
            pass

    assert stream.getvalue() == "full\n"


def test_json_screen_prints_the_events_as_they_stand_in_the_record() -> None:
    stream = io.StringIO()
    screen = JsonScreen(stream)
    for event in _RUN:
        screen.show(event)

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines == [event.to_dict() for event in _RUN]


def _drawn(view: RunView, *, hosts: int = 0) -> list[str]:
    screen = LiveScreen(view, "full · lab")
    console = Console(width=80, height=24, file=io.StringIO(), force_terminal=False)
    for number in range(hosts):
        screen.show(_event(7, "host.started", f"web{number}", task="Restart"))
    console.print(screen._render())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_live_screen_fits_80_by_24_without_colour() -> None:
    view = _view()
    for event in _RUN:
        view.observe(event)

    lines = _drawn(view)

    assert len(lines) < 24
    assert all(len(line) <= 80 for line in lines)
    assert any(line.startswith("✓ Declare") for line in lines)
    assert any(line.startswith("✗ Switch") for line in lines)


def test_live_screen_folds_a_fleet() -> None:
    view = _view()
    view.observe(_event(0, "incident.declared"))
    view.observe(_event(1, "phase.started", name="Switch"))

    lines = _drawn(view, hosts=200)

    assert len(lines) < 24
    assert any("and 190 more hosts" in line for line in lines)
