"""A record or a screen that fails never stops a rollback half-way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rollback_playbook.events.model import RecordEvent
from rollback_playbook.execution.incident_log import IncidentLog
from rollback_playbook.execution.outcome import Progress
from rollback_playbook.record.incidents import create_incident
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.reading import read_events
from rollback_playbook.record.redaction import Redactor
from rollback_playbook.record.writer import RecordWriter


def _writer(path: Path) -> RecordWriter:
    return create_incident(
        path / "incidents",
        scenario="full",
        environment="lab",
        keys=Keyring(path / "keys"),
        redaction=Redactor(secrets=["c4nary"]),
    )


def _log(writer: RecordWriter, show: Callable[[RecordEvent], None]) -> IncidentLog:
    return IncidentLog(writer, show, Progress())


def test_record_that_cannot_be_written_is_told_once_and_what_happens_is_still_shown(
    tmp_path: Path,
) -> None:
    writer = _writer(tmp_path)
    shown: list[RecordEvent] = []
    log = _log(writer, shown.append)
    writer.folder.events.unlink()

    for name in ("Declare", "Protect"):
        log.append("phase.started", {"name": name})

    assert "was removed" in log.error
    assert [event.data["name"] for event in shown] == ["Declare", "Protect"]
    assert log.progress.phase == "Protect"


def test_what_cannot_be_written_is_shown_without_its_secrets(tmp_path: Path) -> None:
    writer = _writer(tmp_path)
    shown: list[RecordEvent] = []
    log = _log(writer, shown.append)
    writer.folder.events.unlink()

    log.append("phase.started", {"name": "c4nary"})

    assert "c4nary" not in str(shown)


def test_screen_that_is_gone_stops_neither_the_run_nor_its_record(tmp_path: Path) -> None:
    def lost(_: RecordEvent) -> None:
        raise OSError(5, "Input/output error")

    writer = _writer(tmp_path)
    log = _log(writer, lost)

    log.append("phase.started", {"name": "Declare"})

    assert log.progress.phase == "Declare"
    assert [event.type for event in read_events(writer.folder.events)][-1] == "phase.started"
