"""Job events of Ansible become events of a record."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from rollback_playbook.events.conversion import EventConverter
from rollback_playbook.events.pruning import MAX_RESULT, bounded, cut_text
from tests.unit.wrapper.record.builders import awx_job_events, converted, job_event, task_event

_UNDO = {"module": "sre.rollback.traffic", "args": {"state": "resumed"}}


def _types(events: list[dict[str, Any]], **options: Any) -> list[str]:
    return [draft.type for draft in converted(events, **options)]


def test_converter_makes_at_least_one_event_of_every_job_event() -> None:
    drafts = converted(awx_job_events())
    assert {draft.counter for draft in drafts} - {None} == set(range(1, 55))


def test_converter_makes_a_phase_of_each_play() -> None:
    drafts = converted(awx_job_events())
    started = [draft.data["name"] for draft in drafts if draft.type == "phase.started"]
    finished = {d.data["name"]: d.data["status"] for d in drafts if d.type == "phase.finished"}
    assert started == ["Declare", "Protect", "Restore", "Verify"]
    assert finished == {
        "Declare": "failed",
        "Protect": "ok",
        "Restore": "rescued",
        "Verify": "failed",
    }


def test_converter_counts_what_the_hosts_of_a_phase_did() -> None:
    (restore,) = [
        draft.data
        for draft in converted(awx_job_events())
        if draft.type == "phase.finished" and draft.data["name"] == "Restore"
    ]
    assert (restore["hosts"], restore["failed"], restore["ok"], restore["skipped"]) == (2, 2, 2, 2)
    assert restore["seconds"] == pytest.approx(0.323626)


def test_converter_tells_rescued_failures_from_real_ones_only_with_the_statistics() -> None:
    (stats,) = [d.data for d in converted(awx_job_events()) if d.type == "stats.recorded"]
    assert [(task["host"], task["task"]) for task in stats["rescued_tasks"]] == [
        ("app1", "This one fails"),
        ("app2", "This one fails"),
    ]
    assert stats["failed_hosts"] == ["app2", "gone"]
    assert stats["artifacts"] == {"rollback_outage_s": 1.25}


def test_converter_counts_every_outcome_of_every_host() -> None:
    (stats,) = [d.data for d in converted(awx_job_events()) if d.type == "stats.recorded"]
    assert stats["hosts"]["gone"] == {
        "ok": 0,
        "changed": 0,
        "failed": 0,
        "unreachable": 1,
        "skipped": 0,
        "rescued": 0,
        "ignored": 0,
    }


def test_converter_says_that_no_log_hid_a_result() -> None:
    hidden = [d for d in converted(awx_job_events()) if d.data.get("censored")]
    assert [draft.subject for draft in hidden] == ["app1", "app2"]
    assert all(draft.data["result"] == {} for draft in hidden)


def test_converter_finds_the_level_in_lines_that_ansible_reports_as_verbose() -> None:
    lines = [d.data for d in converted(awx_job_events()) if d.type == "line.printed"]
    assert Counter(line["level"] for line in lines) == {"deprecation": 1, "verbose": 3}
    assert not any("\x1b" in line["text"] for line in lines)


def test_converter_keeps_the_time_of_the_job_event_in_utc() -> None:
    event = {**task_event(), "created": "2026-11-22T04:12:45.5+01:00"}
    assert converted([event])[0].time == "2026-11-22T03:12:45.500000Z"


def test_converter_records_the_undo_that_a_module_of_ours_returns() -> None:
    _, undo = converted([task_event(7, res={"changed": True, "undo": _UNDO})])
    assert (undo.type, undo.subject, undo.counter, undo.sync) == ("undo.recorded", "edge1", 7, True)
    assert undo.data["module"] == "sre.rollback.traffic"
    assert undo.data["args"] == {"state": "resumed"}
    assert undo.data["phase"] == "Pause"


def test_converter_records_the_undo_that_check_mode_announces_as_predicted() -> None:
    _, undo = converted([task_event(res={"changed": False, "undo": _UNDO})])
    assert (undo.type, undo.data["predicted"], undo.sync) == ("undo.recorded", True, True)


def test_converter_records_the_undo_that_a_backend_without_modules_sets_as_a_fact() -> None:
    facts = {"ansible_facts": {"rollback_undo": _UNDO}, "changed": False}
    _, undo = converted([task_event(action="ansible.builtin.set_fact", res=facts)])
    assert undo.data["module"] == "sre.rollback.traffic"
    assert undo.data["predicted"]


def test_converter_records_the_undo_of_a_module_that_ran_asynchronously() -> None:
    event = task_event(action="ansible.builtin.async_status", res={"changed": True, "undo": _UNDO})
    assert "undo.recorded" in _types([event])


def test_converter_records_the_undo_of_a_task_that_changed_something_and_then_failed() -> None:
    event = task_event(event="runner_on_failed", res={"changed": True, "undo": _UNDO})
    assert "undo.recorded" in _types([event])


@pytest.mark.parametrize(
    ("event", "check"),
    [
        pytest.param(task_event(res={"changed": False, "undo": None}), False, id="no-change"),
        pytest.param(task_event(res={"changed": True, "undo": _UNDO}), True, id="check-mode"),
        pytest.param(
            task_event(action="other.site.tool", res={"changed": True, "undo": _UNDO}),
            False,
            id="not-ours",
        ),
        pytest.param(task_event(res={"changed": True, "undo": "by hand"}), False, id="malformed"),
    ],
)
def test_converter_records_no_undo(event: dict[str, Any], check: bool) -> None:
    assert "undo.recorded" not in _types([event], check=check)


def test_converter_records_the_undo_of_a_loop_once_for_each_item() -> None:
    item = {"changed": True, "undo": _UNDO, "item": "a", "ansible_loop_var": "item"}
    events = [
        task_event(1, event="runner_item_on_ok", res=item),
        task_event(2, event="runner_item_on_ok", res={**item, "item": "b"}),
        task_event(3, res={"changed": True, "results": [item, {**item, "item": "b"}]}),
    ]
    assert _types(events).count("undo.recorded") == 2


def test_converter_leaves_the_results_of_a_loop_to_its_items() -> None:
    items = [{"changed": True, "item": each, "ansible_loop_var": "item"} for each in "abc"]
    (finished,) = converted([task_event(res={"changed": True, "results": items})])
    assert finished.data["result"]["results"] == "[3 items, recorded one by one]"


def test_converter_keeps_the_results_that_a_module_itself_calls_results() -> None:
    res = {"changed": True, "results": [{"package": "a"}], "undo": _UNDO}
    finished, undo = converted([task_event(res=res)])
    assert finished.data["result"]["results"] == [{"package": "a"}]
    assert undo.type == "undo.recorded"


@pytest.mark.parametrize(
    ("event", "outcome", "expected"),
    [
        pytest.param("runner_on_ok", "passed", "gate.passed", id="passed"),
        pytest.param("runner_on_failed", "failed", "gate.failed", id="failed"),
        pytest.param("runner_on_failed", "inconclusive", "gate.failed", id="unknown-is-no-pass"),
    ],
)
def test_converter_makes_a_gate_of_a_health_gate(event: str, outcome: str, expected: str) -> None:
    checks = [{"name": "shop answers", "state": outcome, "samples": [{"outcome": outcome}]}]
    res = {"changed": False, "outcome": outcome, "checks": checks, "elapsed": 2.5}
    _, gate = converted([task_event(event=event, action="sre.rollback.health_gate", res=res)])
    assert gate.type == expected
    assert gate.data["outcome"] == outcome
    assert gate.data["checks"] == checks


def test_converter_makes_no_gate_of_a_skipped_health_gate() -> None:
    event = task_event(event="runner_on_skipped", action="sre.rollback.health_gate")
    assert _types([event]) == ["task.finished"]


def test_converter_makes_no_gate_of_one_that_asked_nothing() -> None:
    res = {"changed": False, "outcome": "inconclusive", "checks": []}
    (finished,) = converted([task_event(action="sre.rollback.health_gate", res=res)], check=True)
    assert finished.type == "task.finished"


def test_converter_keeps_the_checks_that_failed_when_a_gate_has_too_many_to_keep() -> None:
    checks = [{"name": f"c{i}", "state": "failed" if i == 499 else "passed"} for i in range(500)]
    event = task_event(
        event="runner_on_failed",
        action="sre.rollback.health_gate",
        res={"changed": False, "outcome": "failed", "checks": checks},
    )
    gate = converted([event])[1]
    assert gate.data["checks"][0]["name"] == "c499"
    assert gate.data["checks"][-1].startswith("[cut: ")


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(job_event("runner_on_ok", host="a", task="t", res={}), id="result-emptied"),
        pytest.param(job_event("runner_on_failed", host="a", task="t"), id="result-left-out"),
        pytest.param(job_event("runner_item_on_ok", host="a", task="t", res={}), id="item"),
    ],
)
def test_converter_says_that_ansible_runner_blanked_a_result(event: dict[str, Any]) -> None:
    assert converted([event])[0].data["blanked"] is True


def test_converter_does_not_take_a_skipped_task_for_blanked() -> None:
    event = job_event("runner_on_skipped", host="a", task="t")
    assert "blanked" not in converted([event])[0].data


def test_converter_marks_ignored_failures() -> None:
    drafts = converted(
        [
            job_event("playbook_on_play_start", 1, name="Assess", play_uuid="p1"),
            task_event(2, event="runner_on_failed", ignore_errors=True, res={"msg": "no"}),
            job_event("playbook_on_play_start", 3, name="Prepare", play_uuid="p2"),
        ]
    )
    assert drafts[1].data["ignored"] is True
    assert (drafts[2].data["status"], drafts[2].data["ignored"]) == ("ok", 1)


def test_converter_takes_the_batches_of_a_serial_play_for_one_phase() -> None:
    play = {"name": "Switch", "pattern": "app"}
    events = [
        job_event("playbook_on_play_start", 1, play_uuid="aa", **play),
        job_event("playbook_on_play_start", 2, play_uuid="aa_2", **play),
    ]
    assert _types(events) == ["phase.started", "batch.started"]


def test_converter_takes_plays_of_one_name_in_a_row_for_one_phase() -> None:
    events = [
        job_event("playbook_on_play_start", 1, play_uuid="aa", name="Switch", pattern="database"),
        job_event("playbook_on_play_start", 2, play_uuid="bb", name="Switch", pattern="app"),
        job_event("playbook_on_play_start", 3, play_uuid="cc", name="Verify", pattern="app"),
    ]
    drafts = converted(events)
    assert [(draft.type, draft.data["name"]) for draft in drafts] == [
        ("phase.started", "Switch"),
        ("batch.started", "Switch"),
        ("phase.finished", "Switch"),
        ("phase.started", "Verify"),
    ]
    assert [draft.data.get("pattern") for draft in drafts] == ["database", "app", None, "app"]


def test_converter_says_of_plays_that_no_host_was_left_for_that_they_were_skipped() -> None:
    """Ansible goes through them when a host was lost, with nobody in them."""
    drafts = converted(
        [
            job_event("playbook_on_play_start", 1, name="Resume", play_uuid="aa"),
            job_event("playbook_on_play_start", 2, name="Close", play_uuid="bb"),
            job_event("playbook_on_stats", 3, dark={"gone": 1}),
        ]
    )
    ends = {d.data["name"]: d.data["status"] for d in drafts if d.type == "phase.finished"}
    assert ends == {"Resume": "skipped", "Close": "skipped"}


def test_converter_close_ends_the_phase_of_a_run_that_was_cut_short() -> None:
    converter = EventConverter()
    converter.convert(job_event("playbook_on_play_start", 1, name="Switch", play_uuid="aa"))
    (end,) = converter.close("2026-11-22T03:12:09Z")
    assert (end.type, end.data["status"], end.data["seconds"]) == (
        "phase.finished",
        "interrupted",
        8.0,
    )
    assert converter.close() == []


def test_converter_reports_job_events_of_kinds_it_does_not_know() -> None:
    (draft,) = converted([job_event("playbook_on_something_new", 4, host="a", detail="x")])
    assert (draft.type, draft.counter) == ("ansible.reported", 4)
    assert draft.data == {
        "event": "playbook_on_something_new",
        "phase": "",
        "details": {"detail": "x"},
    }


@pytest.mark.parametrize(
    "event", [{}, {"event": None}, {"event": "runner_on_ok", "event_data": None}]
)
def test_converter_survives_malformed_job_events(event: dict[str, Any]) -> None:
    assert len(converted([event])) == 1


def test_converter_drops_what_a_result_says_twice_and_keeps_its_facts() -> None:
    res = {
        "changed": True,
        "stdout": "a\nb",
        "stdout_lines": ["a", "b"],
        "invocation": {"module_args": {"name": "x", "chdir": None}},
        "_ansible_no_log": False,
        "warnings": ["careful"],
        "ansible_facts": {"a": 1, "b": 2},
    }
    (draft,) = converted([task_event(action="ansible.builtin.command", res=res)])
    assert draft.data["result"] == {
        "changed": True,
        "stdout": "a\nb",
        "ansible_facts": "[cut: 2 facts]",
    }
    assert draft.data["arguments"] == {"name": "x"}
    assert draft.data["warnings"] == ["careful"]


def test_converter_bounds_an_enormous_result() -> None:
    res = {"changed": True, "stdout": "x" * 600_000, "lines": [{"a": "y" * 900}] * 5000}
    (draft,) = converted([task_event(res=res)])
    assert len(str(draft.data)) < MAX_RESULT * 1.2
    assert "characters]" in draft.data["result"]["stdout"]
    assert draft.data["result"]["lines"][-1].startswith("[cut: 49")


def test_bounded_keeps_what_is_short_as_it_is() -> None:
    value = {"many": list(range(150))}
    assert bounded(value) is value


def test_bounded_reaches_its_size_whatever_the_shape() -> None:
    wide = {f"key{i}": "v" * 100 for i in range(10_000)}
    assert len(str(bounded(wide))) < MAX_RESULT * 1.2


def test_cut_text_keeps_both_ends() -> None:
    assert cut_text("a" * 10 + "b" * 10, 4) == "aa[cut: 16 characters]bb"


def test_look_at_a_long_restore_is_progress_and_keeps_its_counter() -> None:
    look = {
        "changed": False, "finished": False, "phase": "restore", "percent": 41.5,
        "bytes_done": 220, "bytes_total": 524, "remaining": 40.2, "attempts": 3,
    }  # fmt: skip

    (draft,) = converted(
        [
            job_event(
                "runner_retry",
                7,
                host="db1",
                task="Restore aside goes on",
                play="Prepare",
                resolved_action="sre.rollback.restore_progress",
                res=look,
            )
        ]
    )

    assert (draft.type, draft.subject, draft.counter) == ("progress.reported", "db1", 7)
    assert draft.data == {
        "host": "db1", "task": "Restore aside goes on", "phase": "Prepare", "step": "restore",
        "percent": 41.5, "bytes_done": 220, "bytes_total": 524, "remaining": 40.2,
    }  # fmt: skip
