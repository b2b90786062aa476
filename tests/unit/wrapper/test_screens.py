"""The faces of a run: lines for a log, JSON for a program, a live screen for a person."""

from __future__ import annotations

import io
import json
import os
import re

import pytest
from rich.cells import cell_len

from rollback_playbook.cli.live_screen import LiveScreen, screen_lines
from rollback_playbook.cli.run_view import RunView
from rollback_playbook.cli.screens import JsonScreen, PlainScreen, choose_screen
from tests.unit.wrapper.test_run_view import RUN, event, view_of

_PHASES = (
    "Declare", "Protect", "Assess", "Preserve", "Prepare", "Pause", "Switch", "Verify", "Resume",
    "Confirm", "Close",
)  # fmt: skip


def _lines(view: RunView, *, now: float = 10, width: int = 80, height: int = 24) -> list[str]:
    return [str(line) for line in screen_lines(view, "full · lab", now, width, height)]


def test_plain_screen_prints_a_line_for_each_thing_a_reader_looks_for() -> None:
    stream = io.StringIO()
    with PlainScreen(view_of(), "full · lab", stream) as screen:
        for each in RUN:
            screen.show(each)

    assert stream.getvalue().splitlines() == [
        "full · lab",
        "T+0:01  Declare",
        "T+0:02  Switch",
        "T+0:03    changed  db1: Swap (0.90 s)",
        "T+0:04    gate failed: System is healthy, 1 of 2 checks are green; not: cache answers",
        "T+0:05    decision: full",
        "T+0:05    because data are damaged",
        "T+0:05    because 1.1.0 runs",
        "T+0:06    failed  app1: Start",
        "T+0:06    ! app1: no such x",
    ]


def test_what_an_undo_tries_in_assess_would_change_something_and_has_changed_nothing() -> None:
    tried = [
        event(0, "incident.declared"),
        event(1, "phase.started", name="Assess"),
        event(2, "task.finished", "db1", status="changed", phase="Assess", task="Taken back"),
    ]
    stream = io.StringIO()
    with PlainScreen(view_of(), "", stream) as screen:
        for each in tried:
            screen.show(each)

    assert stream.getvalue().splitlines()[-1] == "T+0:02    would change  db1: Taken back"
    assert not any("changed" in line for line in _lines(view_of(*tried)))


def test_screens_show_a_gate_as_it_turns_green() -> None:
    checks = [{"name": "shop", "state": "passed"}, {"name": "cache", "state": "waiting"}]
    sampled = event(31, "gate.sampled", gate="System is healthy", checks=checks)
    stream = io.StringIO()
    with PlainScreen(view_of(), "", stream) as screen:
        screen.show(event(0, "incident.declared"))
        screen.show(sampled)

    text = "gate: System is healthy, 1 of 2 checks are green; not yet: cache"
    assert stream.getvalue() == f"T+0:31    {text}\n"
    assert f"▸ {text}" in _lines(view_of(sampled))


def test_plain_screen_says_its_title_once() -> None:
    stream = io.StringIO()
    screen = PlainScreen(view_of(), "full", stream)
    for _ in range(2):
        with screen:
            pass

    assert stream.getvalue() == "full\n"


def test_plain_screen_prints_a_line_for_every_tenth_of_a_long_step() -> None:
    stream = io.StringIO()
    screen = PlainScreen(view_of(), "", stream)
    screen.show(event(0, "host.started", "db1", task="Restore"))
    for percent in range(0, 101, 4):
        screen.show(event(1, "progress.reported", host="db1", percent=percent))

    lines = stream.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0] == "T+0:01    0 %  db1: Restore"
    assert lines[-1] == "T+0:01    100 %  db1: Restore"


def test_json_screen_prints_the_events_as_they_stand_in_the_record() -> None:
    stream = io.StringIO()
    screen = JsonScreen(stream)
    for each in RUN:
        screen.show(each)

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines == [each.to_dict() for each in RUN]


@pytest.mark.parametrize("face", ["plain", "json"])
def test_screen_that_nobody_reads_any_more_stops_nothing(face: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        screen = PlainScreen(view_of(), "x", stream) if face == "plain" else JsonScreen(stream)
        with screen:
            for each in RUN:
                screen.show(each)


def test_screen_is_plain_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with choose_screen(view_of(), title="full · lab", as_json=False) as screen:
        screen.show(RUN[1])

    assert capsys.readouterr().err == "full · lab\nT+0:00  Declare\n"


def test_live_screen_fits_80_by_24_and_says_everything_in_sentences() -> None:
    lines = _lines(view_of(*RUN))

    assert len(lines) < 24
    assert all(cell_len(line) <= 80 for line in lines)
    assert any(re.match(r"✓ Declare +T\+0:01 +1\.0 s$", line) for line in lines)
    assert any(line.startswith("✗ Switch") and line.endswith("1 changed") for line in lines)
    assert any(line.startswith("✗ gate failed: System is healthy") for line in lines)
    assert "  because data are damaged" in lines
    assert "! app1: no such x" in lines


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 12), (200, 60), (20, 5), (10, 2)])
def test_live_screen_never_needs_more_than_the_terminal_has(width: int, height: int) -> None:
    view = RunView.of(_PHASES, 60)
    view.observe(event(0, "incident.declared"))
    for name in _PHASES[:6]:
        view.observe(event(1, "phase.started", name=name))
        view.observe(event(1, "phase.finished", name=name, status="ok"))
    view.observe(event(2, "phase.started", name="Switch"))
    for number in range(200):
        view.observe(event(3, "host.started", f"web{number}.example.net", task="Restart " * 20))
        failure = {"msg": f"host {number} has no room left on its device " * 9}
        view.observe(
            event(4, "task.finished", f"web{number}", status="failed", result=failure, task="x")
        )

    lines = _lines(view, width=width, height=height)

    assert len(lines) <= max(height - 1, 1)
    assert all(cell_len(line) <= width for line in lines)


def test_live_screen_folds_a_fleet_and_shows_first_who_works_or_failed() -> None:
    view = view_of(event(0, "incident.declared"), event(1, "phase.started", name="Switch"))
    for number in range(200):
        view.observe(event(2, "host.started", f"web{number}", task="Restart"))
    for number in range(190):
        view.observe(event(3, "task.finished", f"web{number}", status="ok", task="Restart"))
    view.observe(event(3, "task.finished", "web199", status="failed", task="Restart"))

    lines = _lines(view)

    hosts = [line for line in lines if "web" in line]
    assert hosts[0].split() == ["✗", "web199", "Restart"]
    assert all("▸" in line for line in hosts[1:9])
    assert any("and 190 more hosts: 190 done" in line for line in lines)


def test_live_screen_says_what_a_whole_fleet_says_once() -> None:
    view = view_of(event(0, "incident.declared"), event(1, "phase.started", name="Switch"))
    for number in range(200):
        warned = ["clock is off"]
        view.observe(event(2, "task.finished", f"web{number}", status="ok", warnings=warned))

    assert "! web0, web1 and 198 more hosts: clock is off" in _lines(view)


def test_live_screen_shows_target_prediction_and_being_late() -> None:
    predicted = {"Declare": 2.0, "Switch": 4.0, "Verify": 10.0}
    view = view_of(
        event(0, "incident.declared"),
        event(0, "phase.started", name="Declare"),
        predicted=predicted,
    )

    assert _lines(view, now=1)[1] == "T+0:01 of 1 min 00 s   expected to end at T+0:16"
    assert "(about 10.0 s)" in next(line for line in _lines(view) if "Verify" in line)
    assert _lines(view, now=70)[1].startswith("T+1:10 of 1 min 00 s, 10.0 s late")


def test_live_screen_draws_the_progress_of_a_long_restore() -> None:
    view = view_of(
        event(0, "incident.declared"),
        event(1, "phase.started", name="Switch"),
        event(1, "host.started", "db1", task="Restored aside"),
        event(
            2, "progress.reported", "db1",
            percent=50, bytes_done=10**9, bytes_total=2 * 10**9, remaining=40,
        ),
    )  # fmt: skip

    (line,) = (line for line in _lines(view) if "db1" in line)
    bar = "█" * 5 + "░" * 5
    assert line == f"  ▸ db1  {bar}  50%  1.0 GB of 2.0 GB, 40.0 s left  Restored aside  9.0 s"


def test_live_screen_of_a_terminal_that_was_closed_stops_nothing() -> None:
    person, machine = os.openpty()
    with os.fdopen(machine, "wb", buffering=0) as raw:
        stream = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
        with LiveScreen(view_of(), "full · lab", stream) as screen:
            screen.show(RUN[0])
            os.close(person)
            for each in RUN:
                screen.show(each)
                screen.say("something else")
