"""Whatever is done to a record shows, with its line and its kind."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rollback_playbook.errors import RecordError
from rollback_playbook.record.findings import Finding, Kind
from rollback_playbook.record.folder import IncidentFolder, read_json, to_json
from rollback_playbook.record.incidents import reopen
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.redaction import Redactor
from rollback_playbook.record.verification import Verification, verify
from rollback_playbook.record.writer import RecordWriter
from tests.unit.wrapper.record.builders import (
    Workplace,
    awx_job_events,
    closed,
    converted,
    declared,
    lines_of,
)

EVENTS = 12


class Tampered:
    """A closed record of ``EVENTS`` lines, and what verifying says of other lines in its place."""

    def __init__(self, path: Path) -> None:
        self.workplace = Workplace(path)
        with self.workplace.create() as writer:
            declared(writer)
            for number in range(EVENTS - 3):
                writer.append("task.started", {"number": number, "text": 'ünï ✓ "quoted"'})
            closed(writer)
        self.folder = writer.folder
        self.lines = lines_of(writer)
        self.content = b"".join(self.lines)

    def verify(self, lines: list[bytes] | bytes) -> Verification:
        content = lines if isinstance(lines, bytes) else b"".join(lines)
        self.folder.events.write_bytes(content)
        return verify(self.folder, self.workplace.keys)

    def finding(self, lines: list[bytes] | bytes) -> tuple[int, Kind]:
        found = self.verify(lines)
        assert not found.ok
        return found.findings[0].line, found.findings[0].kind


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Tampered:
    return Tampered(tmp_path_factory.mktemp("record"))


def test_verify_of_an_untouched_record_finds_nothing(record: Tampered) -> None:
    found = record.verify(record.lines)
    assert (found.ok, found.findings, found.lines, found.events) == (True, (), EVENTS, EVENTS)


_LINE = st.integers(0, EVENTS - 1)
_examples = settings(max_examples=60)


@given(line=_LINE, at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=200)
def test_verify_names_the_line_of_any_flipped_bit(
    record: Tampered, line: int, at: float, bit: int
) -> None:
    content = bytearray(record.lines[line])
    content[int(at * len(content))] ^= 1 << bit
    number, kind = record.finding([*record.lines[:line], bytes(content), *record.lines[line + 1 :]])
    assert number == line + 1
    assert kind in (Kind.CHANGED, Kind.TORN, Kind.CUT_OFF, Kind.INSERTED)


@given(line=_LINE, at=st.floats(0, 1, exclude_max=True), text=st.binary(min_size=1, max_size=9))
@_examples
def test_verify_names_the_line_of_any_insertion_into_it(
    record: Tampered, line: int, at: float, text: bytes
) -> None:
    content = record.lines[line][:-1]
    position = int(at * len(content))
    changed = content[:position] + text + content[position:] + b"\n"
    number, _ = record.finding([*record.lines[:line], changed, *record.lines[line + 1 :]])
    assert number == line + 1


@given(line=_LINE)
@_examples
def test_verify_names_a_line_whose_same_content_is_written_differently(
    record: Tampered, line: int
) -> None:
    rewritten = json.dumps(json.loads(record.lines[line])).encode() + b"\n"
    found = record.finding([*record.lines[:line], rewritten, *record.lines[line + 1 :]])
    assert found == (line + 1, Kind.CHANGED)


@given(first=_LINE, count=st.integers(1, EVENTS))
@_examples
def test_verify_names_removed_lines(record: Tampered, first: int, count: int) -> None:
    assume(first + count < EVENTS)
    lines = [*record.lines[:first], *record.lines[first + count :]]
    assert record.finding(lines) == (first + 1, Kind.REMOVED)


@given(kept=st.integers(0, EVENTS - 1))
@_examples
def test_verify_names_a_cut_off_tail(record: Tampered, kept: int) -> None:
    assert record.finding(record.lines[:kept]) == (kept + 1, Kind.CUT_OFF)


@given(size=st.floats(0, 1, exclude_max=True))
@_examples
def test_verify_names_any_truncation(record: Tampered, size: float) -> None:
    content = record.content[: int(size * len(record.content))]
    number, kind = record.finding(content)
    assert number == content.count(b"\n") + 1
    assert kind in (Kind.CUT_OFF, Kind.TORN)


@given(first=_LINE, second=_LINE)
@_examples
def test_verify_names_swapped_lines(record: Tampered, first: int, second: int) -> None:
    assume(first < second)
    lines = list(record.lines)
    lines[first], lines[second] = lines[second], lines[first]
    assert record.finding(lines) == (first + 1, Kind.REORDERED)


@given(source=_LINE, target=st.integers(0, EVENTS))
@_examples
def test_verify_names_a_line_that_was_moved(record: Tampered, source: int, target: int) -> None:
    lines = list(record.lines)
    lines.insert(target, lines.pop(source))
    assume(lines != record.lines)
    number, kind = record.finding(lines)
    assert number == min(source, target) + 1
    assert kind == Kind.REORDERED


@given(source=_LINE, target=st.integers(0, EVENTS))
@_examples
def test_verify_names_a_copied_line(record: Tampered, source: int, target: int) -> None:
    lines = [*record.lines[:target], record.lines[source], *record.lines[target:]]
    number, kind = record.finding(lines)
    # A copy beside its original cannot be told from it: the second of them is the one too many.
    assert number in (target + 1, target + 2)
    assert kind == Kind.INSERTED


@given(target=st.integers(0, EVENTS - 1), line=st.binary(min_size=0, max_size=40))
@_examples
def test_verify_names_a_foreign_line(record: Tampered, target: int, line: bytes) -> None:
    foreign = line.replace(b"\n", b"") + b"\n"
    found = record.finding([*record.lines[:target], foreign, *record.lines[target:]])
    assert found == (target + 1, Kind.INSERTED)


def test_verify_names_a_line_of_another_incident(record: Tampered) -> None:
    with record.workplace.create() as other:
        other.append("note.added", {})
    lines = [*record.lines[:1], *lines_of(other)[1:2], *record.lines[1:]]
    assert record.finding(lines)[0] == 2


def test_verify_names_joined_lines(record: Tampered) -> None:
    lines = [*record.lines[:4], record.lines[4][:-1] + record.lines[5], *record.lines[6:]]
    assert record.finding(lines) == (5, Kind.CHANGED)


def test_verify_names_the_key_that_is_missing(record: Tampered, tmp_path: Path) -> None:
    record.verify(record.lines)
    others = Keyring(tmp_path)
    others.active()
    (finding,) = verify(record.folder, others).findings
    assert (finding.line, finding.kind) == (1, Kind.WRONG_KEY)
    assert record.workplace.keys.active().id in finding.message


def test_verify_of_another_record_under_the_same_name_finds_it(record: Tampered) -> None:
    """Whole, sealed with the right key, but not what the head says."""
    with record.workplace.create() as other:
        for number in range(EVENTS):
            other.append("task.started", {"number": number})
    found = record.verify(lines_of(other))
    assert (found.findings[0].line, found.findings[0].kind) == (1, Kind.CHANGED)


@pytest.fixture
def closed_record(workplace: Workplace) -> RecordWriter:
    with workplace.create() as writer:
        declared(writer)
        writer.evidence("nginx.log", "GET /")
        closed(writer)
    return writer


def _cut_tail(writer: RecordWriter) -> None:
    lines = lines_of(writer)
    writer.folder.events.write_bytes(b"".join(lines[:-2]))


def test_verify_finds_a_cut_tail_although_the_head_went_with_it(
    workplace: Workplace, closed_record: RecordWriter
) -> None:
    _cut_tail(closed_record)
    closed_record.folder.head.unlink()
    findings = verify(closed_record.folder, workplace.keys).findings
    assert Kind.CUT_OFF in {finding.kind for finding in findings}


def test_verify_finds_a_cut_tail_although_the_head_was_rewritten(
    workplace: Workplace, closed_record: RecordWriter
) -> None:
    lines = lines_of(closed_record)
    _cut_tail(closed_record)
    head = read_json(closed_record.folder.head)
    assert head is not None
    last = json.loads(lines[-3])
    head.update(sequence=int(last["sequence"]), hash=last["hash"])
    closed_record.folder.head.write_bytes(to_json(head))
    kinds = {finding.kind for finding in verify(closed_record.folder, workplace.keys).findings}
    assert {Kind.HEAD, Kind.CUT_OFF} <= kinds


def _change_summary(folder: IncidentFolder) -> None:
    content = read_json(folder.summary)
    assert content is not None
    folder.summary.write_bytes(to_json({**content, "outcome": "failed"}))


@pytest.mark.parametrize(
    ("tamper", "kind"),
    [
        pytest.param(_change_summary, Kind.SUMMARY, id="summary-changed"),
        pytest.param(lambda f: f.summary.write_text("{"), Kind.SUMMARY, id="summary-broken"),
        pytest.param(lambda f: f.head.write_text("[]"), Kind.HEAD, id="head-broken"),
        pytest.param(lambda f: f.head.unlink(), Kind.HEAD, id="head-removed"),
        pytest.param(
            lambda f: (f.evidence / "nginx.log").write_text("GET /x"),
            Kind.EVIDENCE,
            id="evidence-changed",
        ),
        pytest.param(
            lambda f: (f.evidence / "nginx.log").unlink(), Kind.EVIDENCE, id="evidence-removed"
        ),
    ],
)
def test_verify_finds_what_was_done_to_the_files_beside_the_record(
    workplace: Workplace,
    closed_record: RecordWriter,
    tamper: Callable[[IncidentFolder], None],
    kind: Kind,
) -> None:
    tamper(closed_record.folder)
    findings = verify(closed_record.folder, workplace.keys).findings
    assert [(finding.line, finding.kind) for finding in findings] == [(0, kind)]


def test_verify_of_a_copy_that_lost_its_summary_finds_nothing(
    workplace: Workplace, closed_record: RecordWriter
) -> None:
    """It is derived: it can be made again."""
    closed_record.folder.summary.unlink()
    assert verify(closed_record.folder, workplace.keys).ok


def test_verify_of_a_record_that_is_being_written_finds_nothing(workplace: Workplace) -> None:
    writer = workplace.create()
    declared(writer)
    writer.append("task.started", {})
    assert verify(writer.folder, workplace.keys).intact


def test_verify_of_a_torn_last_line_names_it(workplace: Workplace) -> None:
    writer = workplace.create()
    writer.append("task.started", {})
    writer.append("task.started", {})
    os.truncate(writer.folder.events, writer.folder.events.stat().st_size - 30)
    found = verify(writer.folder, workplace.keys)
    assert found.findings == (
        Finding(3, Kind.TORN, "line 3 is not whole: a crash, or somebody, cut it"),
    )
    assert found.events == 2


def test_verify_finds_what_was_put_in_place_of_a_torn_line(workplace: Workplace) -> None:
    writer = workplace.create()
    writer.append("task.started", {})
    writer.append("task.started", {})
    os.truncate(writer.folder.events, writer.folder.events.stat().st_size - 30)
    with reopen(writer.folder, keys=workplace.keys, redaction=Redactor()):
        pass
    with reopen(writer.folder, keys=workplace.keys, redaction=Redactor()) as again:
        again.append("note.added", {})
    assert verify(writer.folder, workplace.keys).intact
    lines = lines_of(writer)
    lines[2] = lines[2][:-1] + b"x\n"
    writer.folder.events.write_bytes(b"".join(lines))
    assert verify(writer.folder, workplace.keys).findings[0].line == 3


def test_verify_of_a_record_sealed_with_two_keys_needs_both(workplace: Workplace) -> None:
    with workplace.create() as first:
        pass
    old = workplace.keys.active().id
    new = workplace.keys.rotate().id
    places = {"keys": workplace.keys, "redaction": Redactor()}
    with reopen(first.folder, continuing=True, **places) as writer:
        writer.append("task.started", {})
    assert verify(writer.folder, workplace.keys).keys == tuple(sorted([old, new]))
    (workplace.keys.folder / f"{old}.key").unlink()
    found = verify(writer.folder, Keyring(workplace.keys.folder))
    assert not found.intact


def test_verify_without_a_record_says_so(workplace: Workplace, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be read"):
        verify(IncidentFolder(tmp_path / "none"), workplace.keys)


def test_verify_after_a_move_to_another_machine_finds_nothing(
    workplace: Workplace, closed_record: RecordWriter, tmp_path: Path
) -> None:
    """The incident's directory and the keys are all it needs."""
    target = tmp_path / "elsewhere" / closed_record.incident
    shutil.copytree(closed_record.folder.path, target)
    shutil.copytree(workplace.keys.folder, tmp_path / "elsewhere-keys")
    found = verify(IncidentFolder(target), Keyring(tmp_path / "elsewhere-keys"))
    assert found.ok


def test_verify_of_a_renamed_incident_finds_the_record_of_another(
    workplace: Workplace, closed_record: RecordWriter
) -> None:
    target = closed_record.folder.path.with_name("2026-01-01T00-00-00Z-full-lab-0000")
    closed_record.folder.path.rename(target)
    (finding,) = verify(IncidentFolder(target), workplace.keys).findings
    assert finding.message == "line 1 is of another incident, or of another chain"


# Completeness


def _run(writer: RecordWriter, *, without: tuple[int, ...] = (), expected: int = 54) -> None:
    writer.append("run.started", {})
    for draft in converted(awx_job_events()):
        if draft.counter not in without:
            writer.append_draft(draft)
    writer.append("run.finished", {"rc": 2, "expected": expected, "recorded": 54 - len(without)})


def test_completeness_of_a_whole_run_is_complete(workplace: Workplace) -> None:
    with workplace.create() as writer:
        _run(writer)
        _run(writer)
    found = verify(writer.folder, workplace.keys).completeness
    assert (found.complete, found.expected, found.recorded) == (True, 108, 108)


@pytest.mark.parametrize(
    ("without", "expected", "missing"),
    [
        pytest.param((1,), 54, (1,), id="first"),
        pytest.param((20, 21, 30), 54, (20, 21, 30), id="in-the-middle"),
        pytest.param((54,), 54, (54,), id="last"),
        pytest.param((), 56, (55, 56), id="never-arrived"),
    ],
)
def test_completeness_names_the_events_that_are_missing(
    workplace: Workplace, without: tuple[int, ...], expected: int, missing: tuple[int, ...]
) -> None:
    with workplace.create() as writer:
        _run(writer, without=without, expected=expected)
    found = verify(writer.folder, workplace.keys)
    assert found.intact
    assert not found.ok
    assert found.completeness.missing == missing


def test_completeness_takes_events_in_any_order(workplace: Workplace) -> None:
    drafts = converted(awx_job_events())
    with workplace.create() as writer:
        writer.append("run.started", {})
        for draft in [*drafts[30:], *drafts[:30]]:
            writer.append_draft(draft)
        writer.append("run.finished", {"rc": 0, "expected": 54, "recorded": 54})
    assert verify(writer.folder, workplace.keys).ok


def test_completeness_of_a_run_without_an_end_is_not_known(workplace: Workplace) -> None:
    with workplace.create() as writer:
        writer.append("run.started", {})
        writer.append("task.started", {}, counter=1)
    found = verify(writer.folder, workplace.keys).completeness
    assert (found.complete, found.open_runs) == (False, 1)


def test_completeness_counts_blanked_results_and_events_that_were_lost(
    workplace: Workplace,
) -> None:
    with workplace.create() as writer:
        writer.append("run.started", {})
        writer.append("task.finished", {"blanked": True}, counter=1)
        writer.append("task.finished", {"text": '"blanked":true'}, counter=2)
        writer.append("handler.failed", {"error": "x"})
        writer.append("run.finished", {"rc": 0, "expected": 2, "recorded": 2})
    found = verify(writer.folder, workplace.keys).completeness
    assert (found.blanked, found.handler_failures, len(found.problems)) == (1, 1, 2)


# Killed

_WRITE_UNTIL_KILLED = """
import sys
from pathlib import Path
from rollback_playbook.record.incidents import create_incident
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.redaction import Redactor
path = Path(sys.argv[1])
writer = create_incident(path / "incidents", scenario="full", environment="lab",
                         keys=Keyring(path / "keys"), redaction=Redactor())
print(writer.incident, flush=True)
number = 0
while True:
    number += 1
    writer.append("task.finished", {"status": "ok", "number": number, "text": "x" * 900})
    print(number, flush=True)
"""


@pytest.mark.parametrize("events", [1, 20, 333])
def test_record_of_a_killed_process_has_every_event_that_was_announced(
    workplace: Workplace, tmp_path: Path, events: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _WRITE_UNTIL_KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        incident = process.stdout.readline().strip()
        last = 0
        while last < events:
            last = int(process.stdout.readline())
        process.kill()
        rest = process.stdout.read().split()
    announced = int(rest[-1]) if rest and rest[-1].isdigit() else last
    folder = IncidentFolder(workplace.root / incident)
    found = verify(folder, workplace.keys)
    # The kernel ends the write of a killed process at the border of a page, if it is within one.
    assert [each.kind for each in found.findings] in ([], [Kind.TORN])
    assert found.intact or folder.events.stat().st_size % mmap.PAGESIZE == 0
    assert found.events >= announced
    with reopen(folder, keys=workplace.keys, redaction=Redactor(), continuing=True):
        pass
    assert verify(folder, workplace.keys).intact
