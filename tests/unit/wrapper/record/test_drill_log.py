"""The drill log: what a drill leaves behind, and what the next one is compared with."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.errors import RecordError
from rollback_playbook.record.drill_log import (
    Begun,
    Drill,
    append_begun,
    append_drill,
    drill_of,
    read_drills,
    trend,
    unread_lines,
)
from rollback_playbook.record.process import this_process


def _drill(seconds: float = 20.0, **changed: Any) -> Drill:
    facts: dict[str, Any] = {
        "time": "2026-03-01T03:00:00Z",
        "scenario": "full",
        "environment": "lab",
        "incident": "i",
        "exit_code": 0,
        "seconds": seconds,
        "target_seconds": 900.0,
    }
    return Drill(**{**facts, **changed})


def test_a_drill_is_read_back_as_it_was_written_down(tmp_path: Path) -> None:
    drill = _drill(phases={"Switch": 0.8}, outage_seconds=0.9, failed_requests=12)

    append_drill(tmp_path / "state", drill)

    assert read_drills(tmp_path / "state") == [drill]
    assert (tmp_path / "state" / "drills.jsonl").stat().st_mode & 0o077 == 0


def test_the_log_of_one_scenario_leaves_the_others_out(tmp_path: Path) -> None:
    append_drill(tmp_path, _drill())
    append_drill(tmp_path, _drill(scenario="websocket"))

    assert [each.scenario for each in read_drills(tmp_path, scenario="websocket")] == ["websocket"]


def test_a_line_that_was_cut_off_hides_no_other(tmp_path: Path) -> None:
    append_drill(tmp_path, _drill())
    with (tmp_path / "drills.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"time": "2026-03-0')

    assert len(read_drills(tmp_path)) == 1


def test_drill_after_a_line_that_was_cut_off_is_not_lost_with_it(tmp_path: Path) -> None:
    (tmp_path / "drills.jsonl").write_text('{"time": "2026-03-0')

    append_drill(tmp_path, _drill())

    assert read_drills(tmp_path) == [_drill()]
    assert unread_lines(tmp_path) == 1


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"begun": 7}', id="begun is no object"),
        pytest.param(b'{"time": 5, "scenario": "full", "environment": "lab", "incident": "i", '
                     b'"exit_code": 0}', id="time is a number"),
        pytest.param(b'{"time": "t", "scenario": "full", "environment": "lab", "incident": "i", '
                     b'"exit_code": "0"}', id="code is a text"),
        pytest.param(b'{"time": "t", "scenario": "full", "environment": "lab", "incident": "i", '
                     b'"exit_code": 0, "seconds": NaN}', id="seconds are no number"),
        pytest.param(b'{"time": "t", "scenario": "full", "environment": "lab", "incident": "i", '
                     b'"exit_code": 0, "phases": {"Switch": []}}', id="phase has no time"),
    ],
)  # fmt: skip
def test_line_that_is_garbage_hides_no_other_and_is_counted(tmp_path: Path, line: bytes) -> None:
    append_drill(tmp_path, _drill())
    with (tmp_path / "drills.jsonl").open("ab") as file:
        file.write(line + b"\n")
    append_drill(tmp_path, _drill(30))

    assert read_drills(tmp_path) == [_drill(), _drill(30)]
    assert unread_lines(tmp_path) == 1


def test_name_with_the_separators_of_unicode_is_one_line(tmp_path: Path) -> None:
    drill = _drill(release_to="1.0\u2028\x85")
    append_drill(tmp_path, drill)

    assert read_drills(tmp_path) == [drill]


def _begun(process: dict[str, Any], **changed: Any) -> Begun:
    facts: dict[str, Any] = {
        "id": "0a",
        "time": "2026-03-01T03:00:00Z",
        "scenario": "full",
        "environment": "staging",
        "command": "rollback-playbook full -i staging",
    }
    return Begun(**{**facts, **changed}, process=process)


def test_drill_that_was_killed_is_known_by_what_was_written_before_its_fault(
    tmp_path: Path,
) -> None:
    append_begun(tmp_path, _begun({**this_process(), "started": "1"}, token=7))

    (drill,) = read_drills(tmp_path)

    assert (drill.exit_code, drill.left_broken, drill.token) == (130, True, 7)
    assert drill.command == "rollback-playbook full -i staging"
    assert "killed" in drill.broken_off


def test_drill_that_still_runs_has_not_ended(tmp_path: Path) -> None:
    append_begun(tmp_path, _begun(this_process()))

    assert read_drills(tmp_path) == []
    assert unread_lines(tmp_path) == 0


def test_drill_that_has_ended_is_one_drill(tmp_path: Path) -> None:
    append_begun(tmp_path, _begun({}))
    append_drill(tmp_path, _drill(drill="0a"))

    assert read_drills(tmp_path) == [_drill(drill="0a")]


def test_line_that_only_half_fits_on_the_disk_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_drill(tmp_path, _drill())
    real, calls = os.write, []

    def fills_up(descriptor: int, line: bytes) -> int:
        calls.append(line)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, line[:20])

    monkeypatch.setattr("rollback_playbook.record.drill_log.os.write", fills_up)
    with pytest.raises(RecordError, match="No space left"):
        append_drill(tmp_path, _drill(30))

    assert read_drills(tmp_path) == [_drill()]
    assert unread_lines(tmp_path) == 0


def test_what_a_later_version_writes_beside_it_is_left_out(tmp_path: Path) -> None:
    append_drill(tmp_path, _drill())
    path = tmp_path / "drills.jsonl"
    path.write_text(path.read_text().replace('{"time"', '{"weather": "fine", "time"'))

    assert read_drills(tmp_path) == [_drill()]


def test_without_a_log_there_are_no_drills_and_no_error(tmp_path: Path) -> None:
    assert read_drills(tmp_path) == []


def test_a_log_that_cannot_be_written_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "drills.jsonl").mkdir()

    with pytest.raises(RecordError, match=r"drills\.jsonl cannot be written"):
        append_drill(tmp_path, _drill())


def test_the_line_of_a_drill_has_the_facts_of_its_incident() -> None:
    summary = {
        "id": "2026-03-01T03-00-00Z-full-lab-0001",
        "declared": "2026-03-01T03:00:00Z",
        "scenario": "full",
        "environment": "lab",
        "version": "0.1.0",
        "seconds": 21.5,
        "target_seconds": 900,
        "decision": {"release_from": "1.1.0", "release_to": "1.0.0"},
        "outage": {"seconds": 0.9, "failed": 12},
        "phases": [{"name": "Switch", "seconds": 0.8}, {"name": "Verify", "status": "running"}],
    }

    drill = drill_of(summary, exit_code=5)

    assert (drill.release_from, drill.release_to) == ("1.1.0", "1.0.0")
    assert (drill.outage_seconds, drill.failed_requests) == (0.9, 12)
    assert drill.phases == {"Switch": 0.8}
    assert drill.exit_code == 5
    assert drill.in_time


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        pytest.param([20, 20, 30], 0.5, id="slower than the median of those before"),
        pytest.param([40, 20, 15], -0.5, id="faster"),
        pytest.param([20], None, id="the first has none"),
    ],
)
def test_the_trend_compares_the_last_drill_with_those_before(
    seconds: list[float], expected: float | None
) -> None:
    assert trend([_drill(each) for each in seconds]) == expected


def test_the_trend_leaves_failed_drills_and_other_scenarios_out() -> None:
    drills = [_drill(5, exit_code=4), _drill(7, scenario="websocket"), _drill(20), _drill(20)]

    assert trend(drills) == 0
