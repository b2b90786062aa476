"""A report says what happened, finished or not, and nothing that did not happen."""

from __future__ import annotations

import json
import re
import tarfile
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback_playbook.errors import RefusedError
from rollback_playbook.record.incidents import add_note
from rollback_playbook.record.reading import read_events
from rollback_playbook.record.redaction import Redactor
from rollback_playbook.record.verification import verify
from rollback_playbook.record.writer import RecordWriter
from rollback_playbook.report.archive import export_incident
from rollback_playbook.report.clock import duration, t_plus
from rollback_playbook.report.collecting import collect
from rollback_playbook.report.differences import differences
from rollback_playbook.report.drawing import drawing_of
from rollback_playbook.report.rendering import BLANKS, FORMATS, render
from rollback_playbook.report.spells import spells_of
from rollback_playbook.report.timeline import timeline
from rollback_playbook.report.view import Window
from tests.unit.wrapper.record.builders import Workplace, awx_job_events, converted
from tests.unit.wrapper.record.story import full_rollback, interrupted_rollback


@pytest.fixture
def full(workplace: Workplace) -> RecordWriter:
    return full_rollback(workplace)


def test_report_has_every_section_in_markdown(full: RecordWriter) -> None:
    text = render(full.folder, "md")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == [
        "Summary",
        "Timeline",
        "What was planned",
        "Decision and approvals",
        "What changed",
        "Gates",
        "Outage as users saw it",
        "Data at risk and salvaged",
        "What can still be undone",
        "Evidence",
        "Notes",
        "The record",
        *(heading for heading, _ in BLANKS),
    ]


@pytest.mark.parametrize(
    "fact",
    [
        pytest.param("| Duration | 42.0 s, target 1 min 00 s: met |", id="target"),
        pytest.param("| Outage seen by users | 2.0 s, 37 of 1200 requests failed |", id="outage"),
        pytest.param("| T+0:10 | 03:12:10 | Pause | Pause: done | 2.0 s |", id="phase"),
        pytest.param("| T+0:12 | 03:12:12 |  | users see no service | 2.0 s |", id="window"),
        pytest.param("| Pause | Users wait | edge1 | 1.5 s | yes |", id="planned step"),
        pytest.param("- phases: Pause (about 2.0 s)", id="planned phase"),
        pytest.param("- last drill: version 0.1.0; when 2026-11-20T10:00:00Z", id="drill"),
        pytest.param("- reasons: data are damaged: totals", id="decision"),
        pytest.param("- approved by sam (typed the name)", id="approval"),
        pytest.param("changed; state: up → paused |", id="change"),
        pytest.param("### Shop is healthy: passed", id="gate"),
        pytest.param("Green: 0 of 1 at T+0:13, 1 of 1 at T+0:15", id="turns of the gate"),
        pytest.param("| passed | 3 | HTTP status 503 | 0.01 s | ✗✓✓ |", id="samples"),
        pytest.param("`sre.rollback.traffic` with state resumed", id="undo"),
        pytest.param("evidence/nginx.log (5 bytes, SHA-256 ", id="evidence"),
        pytest.param("sam: it was the migration", id="note"),
        pytest.param("summary 1,284 orders written since; total added 1284", id="salvaged"),
        pytest.param("- warning: db1: collation version differs", id="warning"),
    ],
)  # fmt: skip
def test_report_states_the_facts(full: RecordWriter, fact: str) -> None:
    assert fact in render(full.folder, "md")


def test_report_lists_undo_steps_in_the_order_in_which_they_are_taken_back(
    full: RecordWriter,
) -> None:
    steps = collect(read_events(full.folder.events)).undo
    assert [step.task for step in steps] == ["Databases are swapped", "Users wait"]


@pytest.mark.parametrize("format_", FORMATS)
def test_report_says_whether_the_record_was_verified(
    workplace: Workplace, full: RecordWriter, format_: str
) -> None:
    verification = verify(full.folder, workplace.keys)
    assert verification.ok
    text = render(full.folder, format_, verification=verification)
    assert "unchanged" in text or '"intact": true' in text


def test_report_names_what_verifying_found(workplace: Workplace, full: RecordWriter) -> None:
    lines = full.folder.events.read_bytes().splitlines(keepends=True)
    full.folder.events.write_bytes(b"".join([*lines[:4], *lines[5:]]))
    verification = verify(full.folder, workplace.keys)
    text = render(full.folder, "html", verification=verification)
    assert "line 5 is event 6: event 5 removed before it" in text


def test_report_of_an_interrupted_incident_says_where_it_ends(workplace: Workplace) -> None:
    writer = interrupted_rollback(workplace)
    view = collect(read_events(writer.folder.events))
    assert view.state == "interrupted"
    text = render(writer.folder, "md")
    assert "The incident is **interrupted**: Switch has not finished." in text
    assert "| Closed | not closed |" in text
    assert "met" not in text.partition("## Timeline")[0]
    assert view.bars[-1].status == "interrupted"


def test_report_of_a_failed_incident_names_the_failure(workplace: Workplace) -> None:
    with workplace.create() as writer:
        for draft in converted(awx_job_events()):
            writer.append_draft(draft)
        closing = {"outcome": "failed", "exit_code": 4, "summary": "Verify, app2: p95 4.2 s"}
        writer.append("incident.closed", closing)
    text = render(writer.folder, "md")
    assert "app2: One host is not healthy failed: p95 latency 4.2 s, target 2 s" in text
    assert "app1: This one fails failed: non-zero return code (rescued)" in text
    assert "| State | failed (exit code 4) |" in text


def test_report_does_not_take_failures_of_one_run_for_rescued_by_another(
    workplace: Workplace,
) -> None:
    """Ansible's numbers begin anew with each run of an incident."""
    with workplace.create() as writer:
        for _ in range(2):
            writer.append("run.started", {})
            for draft in converted(awx_job_events()):
                writer.append_draft(draft)
            writer.append("run.finished", {"rc": 2, "expected": 54, "recorded": 54})
    rows = [row for row in timeline(writer.folder) if "failed: " in row.what]
    assert sorted(row.what.endswith("(rescued)") for row in rows) == [False] * 2 + [True] * 4


@pytest.mark.parametrize("format_", FORMATS)
def test_report_of_an_incident_with_one_line_is_a_report(
    workplace: Workplace, format_: str
) -> None:
    with workplace.create() as writer:
        pass
    assert writer.incident in render(writer.folder, format_)


@pytest.mark.parametrize("format_", FORMATS)
def test_report_survives_events_of_odd_shapes(workplace: Workplace, format_: str) -> None:
    """Everything but the envelope is somebody else's."""
    names = ("args", "checks", "corrects", "hosts", "last_drill", "name", "phases", "reasons",
             "rescued_tasks", "result", "seconds", "status", "steps", "targets", "warnings",
             "windows")  # fmt: skip
    odd: tuple[dict[str, object], ...] = (
        {},
        *(dict.fromkeys(names, value) for value in (None, "x", 7, [{}], ["x", 7], {"x": 7})),
    )
    kinds = (
        "incident.declared", "plan.made", "approval.granted", "decision.made", "run.started",
        "phase.started", "task.finished", "gate.passed", "gate.failed", "gate.sampled",
        "undo.recorded", "outage.measured", "stats.recorded", "evidence.kept", "note.added",
        "correction.added", "handler.failed", "compensation.started", "compensation.finished",
        "line.printed", "phase.finished", "run.finished", "incident.closed", "record.torn",
    )  # fmt: skip
    with workplace.create() as writer:
        for data in odd:
            for kind in kinds:
                writer.append(kind, data)
    assert writer.incident in render(writer.folder, format_)


class _Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_html_report_is_one_file_without_script_or_reference(full: RecordWriter) -> None:
    text = render(full.folder, "html")
    found = _Elements(text)
    assert not {"script", "iframe", "img", "object", "form"} & set(found.tags)
    references = [value for name, value in found.attributes if name in ("src", "href", "action")]
    assert references == ["data:,"]
    assert "url(" not in text
    assert "@import" not in text


def test_html_report_shows_hostile_text_as_text(workplace: Workplace) -> None:
    hostile = "</td><script>alert(1)</script><b onload=x>'\"&"
    with workplace.create() as writer:
        writer.append("incident.declared", {"reason": hostile, "operator": hostile})
        writer.append("phase.started", {"name": hostile})
        writer.append("decision.made", {hostile: hostile})
        writer.append("note.added", {"author": hostile, "text": hostile})
        writer.append("undo.recorded", {"module": hostile, "args": {hostile: hostile}})
        writer.append("phase.finished", {"name": hostile, "status": hostile})
    found = _Elements(render(writer.folder, "html"))
    assert not {"script", "b"} & set(found.tags)
    assert "onload" not in dict(found.attributes)


def test_markdown_report_shows_hostile_text_as_text(workplace: Workplace) -> None:
    with workplace.create() as writer:
        writer.append("incident.declared", {"reason": "a | b\n# <b>x</b> [y](z) `c`"})
    assert "a \\| b \\# \\<b\\>x\\</b\\> \\[y\\](z) \\`c\\`" in render(writer.folder, "md")


def test_json_report_has_the_rows_of_the_timeline(full: RecordWriter) -> None:
    content = json.loads(render(full.folder, "json"))
    assert content["target_met"] is True
    assert len(content["rows"]) == len(timeline(full.folder))
    assert content["outage"]["seconds"] == 2.0


def test_render_of_another_format_is_refused(full: RecordWriter) -> None:
    with pytest.raises(ValueError, match="is no format"):
        render(full.folder, "pdf")


def test_timeline_is_in_the_order_of_time_from_the_declaration(full: RecordWriter) -> None:
    rows = timeline(full.folder)
    assert [row.time for row in rows] == sorted(row.time for row in rows)
    assert (rows[0].offset, rows[0].what) == (0.0, "incident declared by sam: orders are wrong")
    assert rows[-1].what.startswith("note by sam")


def _windows(*times: tuple[float, float]) -> list[Window]:
    return [Window(start, end, end - start, f"at {start}", "") for start, end in times]


def test_spells_are_the_windows_themselves_while_they_are_few() -> None:
    spells = spells_of(_windows((5, 6), (1, 2)))
    assert [(each.start, each.end, each.times) for each in spells] == [(1, 2, 1), (5, 6, 1)]
    assert spells[0].text == "users see no service"


def test_spells_of_a_service_that_flickers_keep_the_widest_gaps_between_them() -> None:
    flicker = [(start / 10, start / 10 + 0.05) for start in range(100)]
    spells = spells_of(_windows(*flicker, (60, 65), (100, 101)), most=3)
    assert [(each.start, each.times) for each in spells] == [(0, 100), (60, 1), (100, 1)]
    assert spells[0].seconds == pytest.approx(5)
    assert spells[0].text == "users see no service 100 times within 10 s"


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 5)), max_size=40), st.integers(2, 12))
def test_spells_are_never_too_many_and_lose_no_window(
    found: list[tuple[float, float]], most: int
) -> None:
    spells = spells_of(_windows(*((start, start + length) for start, length in found)), most)
    assert len(spells) <= most
    assert sum(each.times for each in spells) == len(found)


def test_drawing_has_phases_outage_hosts_and_the_target(full: RecordWriter) -> None:
    drawing = drawing_of(collect(read_events(full.folder.events)))
    assert drawing is not None
    kinds = {shape.kind.split()[0] for shape in drawing.shapes}
    assert kinds == {"phase", "outage", "host"}
    assert [label.text for label in drawing.labels] == [
        "Assess", "Prepare", "Pause", "Switch", "Verify", "Close", "Users' outage", "db1", "edge1",
    ]  # fmt: skip
    assert all(shape.x >= 0 and shape.x + shape.width <= drawing.width for shape in drawing.shapes)


def test_drawing_of_a_fleet_has_one_row_for_all_hosts(workplace: Workplace) -> None:
    with workplace.create() as writer:
        for number in range(200):
            data = {"status": "changed", "seconds": 1.0, "task": "t", "action": "a"}
            writer.append("task.finished", data, subject=f"app{number}")
    drawing = drawing_of(collect(read_events(writer.folder.events)))
    assert drawing is not None
    assert [label.text for label in drawing.labels] == ["200 hosts"]


def test_drawing_of_nothing_is_none(workplace: Workplace) -> None:
    with workplace.create() as writer:
        pass
    assert drawing_of(collect(read_events(writer.folder.events))) is None


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}}, [("a.b", 1, 3)]),
        ({"a": 1}, {"b": 2}, [("a", 1, None), ("b", None, 2)]),
        (None, {"a": 1}, [("", None, {"a": 1})]),
        ([1], [2], [("", [1], [2])]),
    ],
)
def test_differences_are_only_what_became_different(
    before: object, after: object, found: list[object]
) -> None:
    assert differences(before, after) == found


def test_differences_are_bounded() -> None:
    found = differences({}, {str(number): number for number in range(100)})
    assert len(found) == 13
    assert found[-1][0] == "and 88 more"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "T+0:00"), (65.9, "T+1:05"), (-3, "T-0:03"), (3661, "T+1:01:01"), (None, ""),
    ],
)  # fmt: skip
def test_t_plus_reads_as_a_clock(seconds: float | None, text: str) -> None:
    assert t_plus(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.123, "0.12 s"), (12.34, "12.3 s"), (59.97, "1 min 00 s"), (3599.9, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)  # fmt: skip
def test_duration_reads_as_a_person_says_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_export_is_one_archive_with_record_report_and_evidence(
    workplace: Workplace, full: RecordWriter, tmp_path: Path
) -> None:
    path = export_incident(full.folder, tmp_path, keys=workplace.keys)
    assert path.name == f"{full.incident}.tar.gz"
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        names = {name.removeprefix(f"{full.incident}/") for name in archive.getnames()}
        archive.extractall(tmp_path / "incidents", filter="data")
    assert names == {
        "events.jsonl", "head.json", "incident.json", "evidence/nginx.log", "report.md",
        "report.html", "record.schema.json", "verification.json", "README.txt",
    }  # fmt: skip
    copy = type(full.folder)(tmp_path / "incidents" / full.incident)
    assert verify(copy, workplace.keys).ok
    assert json.loads((copy.path / "verification.json").read_text())["ok"] is True


def test_export_holds_no_key_and_nothing_from_elsewhere(
    workplace: Workplace, full: RecordWriter, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").write_text("not of this incident")
    (full.folder.evidence / "link").symlink_to(tmp_path / "elsewhere")
    path = export_incident(full.folder, tmp_path / "x.tar.gz", keys=workplace.keys)
    with tarfile.open(path) as archive:
        contents = [archive.extractfile(member) for member in archive.getmembers()]
        texts = [file.read() for file in contents if file is not None]
    secret = workplace.keys.active().secret.hex().encode()
    assert not any(secret in text or b"not of this incident" in text for text in texts)


def test_export_onto_an_existing_file_is_refused(
    workplace: Workplace, full: RecordWriter, tmp_path: Path
) -> None:
    export_incident(full.folder, tmp_path, keys=workplace.keys)
    with pytest.raises(RefusedError, match="exists already"):
        export_incident(full.folder, tmp_path, keys=workplace.keys)


def test_report_carries_notes_that_were_added_after_the_close(
    workplace: Workplace, full: RecordWriter
) -> None:
    add_note(
        full.folder,
        "pager at sam@example.org",
        author="kim",
        corrects=3,
        keys=workplace.keys,
        redaction=Redactor(),
    )
    text = render(full.folder, "md")
    assert "kim, correcting event 3: pager at \\[redacted:email\\]" in text
