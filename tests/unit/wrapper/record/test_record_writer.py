"""Writing a record: whole lines, in a chain, whatever happens meanwhile."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollback_playbook.errors import RecordError
from rollback_playbook.events.canonical import canonical
from rollback_playbook.events.model import Draft, RecordEvent
from rollback_playbook.record.chain import GENESIS, link_of
from rollback_playbook.record.folder import IncidentFolder, is_incident_id
from rollback_playbook.record.incidents import add_note, create_incident, reopen
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.reading import read_events
from rollback_playbook.record.redaction import Redactor
from rollback_playbook.record.verification import verify
from rollback_playbook.record.writer import RecordWriter
from tests.unit.wrapper.record.builders import Workplace, events_of, lines_of


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_create_incident_names_it_by_time_scenario_and_environment(workplace: Workplace) -> None:
    with create_incident(
        workplace.root,
        scenario="Application Config!",
        environment="prod/../eu",
        keys=workplace.keys,
        redaction=Redactor(),
        now=datetime(2026, 11, 22, 3, 12, 45, tzinfo=UTC),
    ) as writer:
        assert writer.incident.startswith("2026-11-22T03-12-45Z-application-config-prod-eu-")
        assert is_incident_id(writer.incident)


def test_create_incident_lets_nobody_else_read_it(workplace: Workplace) -> None:
    before = os.umask(0)
    try:
        with workplace.create() as writer:
            writer.evidence("nginx.log", "GET /")
    finally:
        os.umask(before)
    folder = writer.folder
    assert {_mode(path) for path in (folder.path, folder.evidence)} == {0o700}
    files = (folder.events, folder.summary, folder.head, folder.evidence / "nginx.log")
    assert {_mode(path) for path in files} == {0o600}
    assert _mode(workplace.keys.folder) == 0o700
    assert {_mode(path) for path in workplace.keys.folder.glob("*.key")} == {0o600}


def test_create_incident_twice_in_a_second_makes_two(workplace: Workplace) -> None:
    incidents = set()
    for _ in range(20):
        with workplace.create() as writer:
            incidents.add(writer.incident)
    assert len(incidents) == 20


def test_create_incident_without_a_writable_root_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="no incident can be opened"):
        create_incident(
            tmp_path / "file" / "incidents",
            scenario="full",
            environment="lab",
            keys=Keyring(tmp_path / "keys"),
            redaction=Redactor(),
        )


def test_append_writes_cloudevents_lines_in_a_chain(workplace: Workplace) -> None:
    with workplace.create() as writer:
        writer.append("note.added", {"author": "sam", "text": "ü\n\"'"}, subject="db1")
        writer.append("note.added", {"author": "sam", "text": "2"}, counter=7)
    first, second, third = events_of(writer)
    assert first["prevhash"] == GENESIS
    assert (second["prevhash"], third["prevhash"]) == (first["hash"], second["hash"])
    assert [event["sequence"] for event in (first, second, third)] == [
        "0000000001",
        "0000000002",
        "0000000003",
    ]
    assert second["specversion"] == "1.0"
    assert second["source"] == f"/incidents/{writer.incident}"
    assert second["id"] == f"{writer.incident}.0000000002"
    assert second["subject"] == "db1"
    assert "subject" not in third
    assert third["counter"] == 7


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> RecordWriter:
    return Workplace(tmp_path_factory.mktemp("w")).create()


@given(
    data=st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=5),
    subject=st.text(max_size=20),
)
@settings(max_examples=60)
def test_append_writes_lines_that_are_canonical_json(
    writer: RecordWriter, data: dict[str, Any], subject: str
) -> None:
    written = writer.append("task.started", data, subject=subject)
    line = lines_of(writer)[-1]
    assert line == canonical(json.loads(line)) + b"\n"
    assert RecordEvent.from_dict(json.loads(line)) == written
    assert canonical(written.to_dict()) + b"\n" == line
    link = link_of(line[:-1])
    assert link is not None
    assert json.loads(link.body) == {k: v for k, v in written.to_dict().items() if k != "hash"}


def test_append_returns_what_was_written_redacted(workplace: Workplace) -> None:
    with workplace.create("hunter22") as writer:
        event = writer.append("note.added", {"text": "it is hunter22"}, subject="hunter22")
    assert event.data == {"text": "it is [redacted:secret]"}
    assert event.subject == "[redacted:secret]"
    assert b"hunter22" not in writer.folder.events.read_bytes()


@pytest.mark.parametrize("kind", ["note", "Note.added", 'note.added"', "note.added\n", ""])
def test_append_of_something_that_is_no_type_is_refused(workplace: Workplace, kind: str) -> None:
    with workplace.create() as writer:
        with pytest.raises(ValueError, match="is not an event type"):
            writer.append(kind, {})
        writer.append("note.added", {})
    assert verify(writer.folder, workplace.keys).intact


def test_append_after_close_is_refused(workplace: Workplace) -> None:
    writer = workplace.create()
    writer.close()
    with pytest.raises(RecordError, match="is closed already"):
        writer.append("note.added", {})
    with pytest.raises(RecordError, match="is closed already"):
        writer.close()


def test_append_from_many_threads_makes_one_chain(workplace: Workplace) -> None:
    with workplace.create() as writer, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: writer.append("note.added", {"i": i}), range(100)))
    found = verify(writer.folder, workplace.keys)
    assert (found.intact, found.events) == (True, 101)


def test_append_by_two_writers_makes_one_chain(workplace: Workplace) -> None:
    """A person adds notes while a run writes."""
    with workplace.create() as run:
        person = reopen(run.folder, keys=workplace.keys, redaction=Redactor())
        threads = [
            threading.Thread(target=lambda w=w: [w.append("note.added", {}) for _ in range(50)])
            for w in (run, person)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        person.close()
    found = verify(run.folder, workplace.keys)
    assert (found.intact, found.events) == (True, 101)
    assert json.loads(run.folder.summary.read_text())["notes"] == 100


@pytest.fixture
def failing_write(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """The disk takes a number of bytes and is full then; only for files opened to append."""
    real = os.write

    def begin(room: int) -> None:
        left = [room]

        def write(descriptor: int, content: bytes) -> int:
            if left[0] <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            taken = real(descriptor, content[: left[0]])
            left[0] -= taken
            return taken

        monkeypatch.setattr(os, "write", write)

    return begin


@pytest.mark.parametrize("room", [0, 1, 100, 300])
def test_append_on_a_full_disk_leaves_no_half_line(
    workplace: Workplace, failing_write: Callable[[int], None], monkeypatch: Any, room: int
) -> None:
    writer = workplace.create()
    before = writer.folder.events.read_bytes()
    failing_write(room)
    with pytest.raises(RecordError, match="No space left on device"):
        writer.append("note.added", {"text": "x" * 500})
    assert writer.folder.events.read_bytes() == before
    monkeypatch.undo()
    writer.append("note.added", {"text": "there is room again"})
    writer.close()
    found = verify(writer.folder, workplace.keys)
    assert (found.intact, found.events) == (True, 2)


def test_append_after_a_half_line_that_could_not_be_taken_back_names_it(
    workplace: Workplace, failing_write: Callable[[int], None], monkeypatch: Any
) -> None:
    """As on a file with the append-only attribute."""
    writer = workplace.create()
    failing_write(100)
    monkeypatch.setattr(os, "ftruncate", _refuse)
    with pytest.raises(RecordError):
        writer.append("note.added", {"text": "x" * 500})
    monkeypatch.undo()
    writer.append("note.added", {"text": "there is room again"})
    writer.close()
    found = verify(writer.folder, workplace.keys)
    assert [event.type for event in read_events(writer.folder.events)] == [
        "record.opened",
        "record.torn",
        "note.added",
    ]
    assert found.intact
    assert "torn by a crash" in found.notes[0]


def _refuse(*_: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


_FILL = """
import resource, signal, sys
from pathlib import Path
from rollback_playbook.errors import RecordError
from rollback_playbook.record.incidents import create_incident
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.redaction import Redactor
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
writer = create_incident(path / "incidents", scenario="full", environment="lab",
                         keys=Keyring(path / "keys"), redaction=Redactor())
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    while True:
        writer.append("task.started", {"text": "x" * 300})
except RecordError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.append("task.started", {"text": "there is room again"})
writer.close()
"""


@pytest.mark.parametrize("room", [3000, 3100, 3333])
def test_append_beyond_a_limit_of_the_system_leaves_a_record_that_verifies(
    workplace: Workplace, tmp_path: Path, room: int
) -> None:
    argv = [sys.executable, "-c", _FILL, str(tmp_path), str(room)]
    ran = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert "cannot be written: File too large" in ran.stdout
    (path,) = workplace.root.iterdir()
    assert verify(IncidentFolder(path), workplace.keys).ok
    assert list(read_events(path / "events.jsonl"))[-1].data == {"text": "there is room again"}


def test_append_to_a_record_that_was_removed_meanwhile_is_refused(workplace: Workplace) -> None:
    writer = workplace.create()
    writer.folder.events.unlink()
    with pytest.raises(RecordError, match="was removed while it was being written"):
        writer.append("note.added", {})


def test_append_to_a_record_that_was_cut_meanwhile_shows_the_gap(workplace: Workplace) -> None:
    with workplace.create() as writer:
        for number in range(5):
            writer.append("note.added", {"number": number})
        os.truncate(writer.folder.events, sum(map(len, lines_of(writer)[:3])))
        writer.append("note.added", {"number": 5})
    (finding,) = verify(writer.folder, workplace.keys).findings
    assert (finding.line, finding.kind) == (4, "removed")


@pytest.mark.parametrize("part", [1, 50, -1])
def test_reopen_after_a_torn_line_ends_it_and_goes_on(workplace: Workplace, part: int) -> None:
    with workplace.create() as writer:
        writer.append("note.added", {"text": "a"})
        writer.append("note.added", {"text": "b"})
    last = lines_of(writer)[-1]
    writer.folder.head.unlink()
    workplace.keys.head_path(writer.incident).unlink()
    kept = len(last) + part if part < 0 else part
    os.truncate(writer.folder.events, writer.folder.events.stat().st_size - len(last) + kept)
    with reopen(writer.folder, keys=workplace.keys, redaction=Redactor()) as again:
        again.append("note.added", {"text": "c"})
    found = verify(writer.folder, workplace.keys)
    assert found.intact
    texts = [e.data.get("text") for e in read_events(writer.folder.events)]
    assert texts[-1] == "c"
    assert found.events in (4, 5)


def test_reopen_of_a_record_without_any_line_begins_it(workplace: Workplace) -> None:
    """The process died between making the directory and writing the first line."""
    with workplace.create() as writer:
        pass
    for path in (writer.folder.head, workplace.keys.head_path(writer.incident)):
        path.unlink()
    os.truncate(writer.folder.events, 0)
    with reopen(writer.folder, keys=workplace.keys, redaction=Redactor(), continuing=True) as again:
        assert again.sequence == 1
    assert verify(writer.folder, workplace.keys).intact


def test_reopen_to_continue_takes_the_incident_over(workplace: Workplace) -> None:
    with workplace.create() as writer:
        pass
    workplace.keys.rotate()
    with reopen(writer.folder, keys=workplace.keys, redaction=Redactor(), continuing=True) as again:
        again.append("note.added", {})
    first, continued, _ = read_events(writer.folder.events)
    assert continued.type == "record.continued"
    assert continued.data["key"] == workplace.keys.active().id != first.data["key"]
    assert continued.data["writer"]["pid"] == os.getpid()
    assert verify(writer.folder, workplace.keys).intact


def test_reopen_without_the_key_of_the_record_is_refused(
    workplace: Workplace, tmp_path: Path
) -> None:
    with workplace.create() as writer:
        pass
    with pytest.raises(RecordError, match="no key in"):
        reopen(writer.folder, keys=Keyring(tmp_path / "others"), redaction=Redactor())


def test_reopen_of_an_incident_that_does_not_exist_is_refused(workplace: Workplace) -> None:
    folder = IncidentFolder(workplace.root / "2026-11-22T03-12-45Z-full-lab-0000")
    with pytest.raises(RecordError, match="cannot be read"):
        reopen(folder, keys=workplace.keys, redaction=Redactor())


def test_add_note_and_correction_leave_the_events_before_as_they_are(workplace: Workplace) -> None:
    with workplace.create() as writer:
        writer.append("decision.made", {"level": "full"})
    before = writer.folder.events.read_bytes()
    places = {"keys": workplace.keys, "redaction": Redactor()}
    add_note(writer.folder, "call me: sam@example.org", author="sam", **places)
    add_note(writer.folder, "it was level 1", author="sam", corrects=2, **places)
    assert writer.folder.events.read_bytes().startswith(before)
    *_, note, correction = read_events(writer.folder.events)
    assert note.data["text"] == "call me: [redacted:email]"
    assert (correction.type, correction.data["corrects"]) == ("correction.added", 2)
    assert verify(writer.folder, workplace.keys).intact


def test_add_note_that_corrects_an_event_that_is_not_there_is_refused(
    workplace: Workplace,
) -> None:
    with workplace.create() as writer:
        pass
    with pytest.raises(RecordError, match="has no event 9"):
        add_note(
            writer.folder,
            "x",
            author="sam",
            corrects=9,
            keys=workplace.keys,
            redaction=Redactor(),
        )


def test_evidence_is_kept_redacted_with_its_hash_under_a_plain_name(workplace: Workplace) -> None:
    with workplace.create("hunter22") as writer:
        first = writer.evidence("../../etc/app log.txt", "password is hunter22\n")
        second = writer.evidence("../../etc/app log.txt", b"\xff again")
    assert (first, second) == ("evidence/etc-app-log.txt", "evidence/etc-app-log-2.txt")
    content = (writer.folder.path / first).read_text()
    assert "hunter22" not in content
    assert verify(writer.folder, workplace.keys).intact


def test_write_file_is_redacted_and_stays_in_the_folder(workplace: Workplace) -> None:
    with workplace.create("hunter22") as writer:
        writer.write_file("report.md", "hunter22 was it")
    assert writer.folder.report.read_text() == "[redacted:secret] was it"


def test_append_draft_keeps_time_and_counter(workplace: Workplace) -> None:
    with workplace.create() as writer:
        event = writer.append_draft(
            Draft(type="task.started", data={}, time="2026-11-22T03:12:45.000000Z", counter=3)
        )
    assert (event.time, event.counter) == ("2026-11-22T03:12:45.000000Z", 3)


@pytest.mark.parametrize("time", ['2026"', "now\n", "\ud800"])
def test_append_draft_with_what_is_no_time_keeps_the_line_whole(
    workplace: Workplace, time: str
) -> None:
    with workplace.create() as writer:
        writer.append_draft(Draft(type="task.started", data={}, time=time))
    assert verify(writer.folder, workplace.keys).ok


def test_redacted_is_what_would_have_been_written(workplace: Workplace) -> None:
    with workplace.create("hunter22") as writer:
        draft = Draft(type="task.started", data={"text": "hunter22"}, subject="hunter22")
        shown, written = writer.redacted(draft), writer.append_draft(draft)
    assert (shown.data, shown.subject) == (written.data, written.subject)


@pytest.mark.parametrize(
    ("time", "written"),
    [
        ("2026-11-22T04:12:45+01:00", "2026-11-22T03:12:45.000000Z"),
        (datetime(2026, 11, 22, 3, 12, 45, tzinfo=UTC), "2026-11-22T03:12:45.000000Z"),
    ],
)
def test_append_writes_times_in_utc(workplace: Workplace, time: Any, written: str) -> None:
    with workplace.create() as writer:
        assert writer.append("note.added", {}, time=time).time == written


def test_append_puts_the_present_where_the_time_is_none(workplace: Workplace) -> None:
    with workplace.create() as writer:
        time = writer.append("note.added", {}, time="yesterday").time
    assert time.startswith(datetime.now(UTC).strftime("%Y-"))


def test_writer_type_is_usable_as_a_context_manager_after_an_error(workplace: Workplace) -> None:
    with pytest.raises(RuntimeError), workplace.create() as writer:
        raise RuntimeError
    assert isinstance(writer, RecordWriter)
    assert writer.folder.head.exists()
