"""Secrets put in at every place one can: none comes out anywhere."""

from __future__ import annotations

import base64
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from rollback_playbook.events.conversion import EventConverter
from rollback_playbook.record.folder import IncidentFolder
from rollback_playbook.record.incidents import add_note, create_incident
from rollback_playbook.record.redaction import Redactor
from rollback_playbook.record.writer import RecordWriter
from rollback_playbook.report.archive import export_incident
from rollback_playbook.report.rendering import FORMATS, render
from tests.unit.wrapper.record.builders import Workplace, closed, job_event, task_event

_VAULTED = 'cänary "vault" p/ss&word'
_DSN = "postgresql://shop:canary-dsn@db1/shop"
_URL = "https://api.example.org/f?token=canary-query&x=1"
_MAIL = "canary.person@example.org"
_CARD = "4111 1111 1111 1111"
_PLACES = (_VAULTED, _DSN, _URL, _MAIL, _CARD, f"the password is {_VAULTED}!")
_SHOWN = (
    _VAULTED, "canary", quote(_VAULTED), base64.b64encode(_VAULTED.encode()).decode()[:24],
    "4111 1111", "4111111111111111",
)  # fmt: skip


def _job_events() -> list[dict[str, Any]]:
    events = [job_event("playbook_on_play_start", 1, name="Pause", play_uuid="p", pattern="all")]
    for canary in _PLACES:
        res = {
            "changed": True,
            "msg": canary,
            "stdout": f"{canary}\n{canary}",
            "rows": [[1, canary], {canary: canary}],
            "before": {"dsn": canary},
            "undo": {"module": "sre.rollback.x", "args": {"where": canary}},
            "warnings": [canary],
            "invocation": {"module_args": {"cmd": ["psql", "--password", canary, canary]}},
            "encoded": base64.b64encode(_VAULTED.encode()).decode(),
            "checks": [{"name": canary, "last_error": canary, "samples": [{"outcome": canary}]}],
        }
        for kind in ("runner_on_ok", "runner_on_failed", "runner_retry", "runner_item_on_ok"):
            for action in ("sre.rollback.traffic", "sre.rollback.health_gate"):
                event = task_event(len(events) + 1, event=kind, action=action, res=res)
                event["event_data"].update(task=canary, task_path=canary)
                events.append(event)
        events.append(job_event("verbose", len(events) + 1, stdout=f"[WARNING]: {canary}"))
        events.append(job_event("playbook_on_notify", len(events) + 1, handler=canary))
    artifacts = {"rollback_decision": list(_PLACES)}
    stats = job_event("playbook_on_stats", len(events) + 1, artifact_data=artifacts, ok={"a": 1})
    return [*events, stats]


def _incident(workplace: Workplace) -> RecordWriter:
    redaction = Redactor([_VAULTED])
    with create_incident(
        workplace.root,
        scenario="full",
        environment="lab",
        keys=workplace.keys,
        redaction=redaction,
    ) as writer:
        for canary in _PLACES:
            writer.append("incident.declared", {"reason": canary, "operator": canary})
            writer.append("decision.made", {"level": canary, "reasons": [canary]}, subject=canary)
            writer.append("approval.granted", {"by": canary})
            writer.append("outage.measured", {"since": canary, "windows": [{"started": canary}]})
            writer.evidence(f"{_MAIL}.txt", f"first\n{canary}\nlast")
            writer.write_file("extra.txt", canary)
        converter = EventConverter()
        for event in _job_events():
            for draft in converter.convert(event):
                writer.append_draft(draft)
        writer.append("handler.failed", {"error": _VAULTED})
        closed(writer)
    add_note(writer.folder, _VAULTED, author=_MAIL, keys=workplace.keys, redaction=redaction)
    writer.write_file("report.md", render(writer.folder, "md"))
    return writer


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, IncidentFolder]:
    workplace = Workplace(tmp_path_factory.mktemp("canaries"))
    return workplace, _incident(workplace).folder


def test_canaries_are_in_no_file_name_and_no_file_of_an_incident(
    written: tuple[Workplace, IncidentFolder],
) -> None:
    for path in written[1].path.rglob("*"):
        assert "canary" not in path.name
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert [each for each in _SHOWN if each in text] == [], path.name


def test_canaries_are_in_no_report_and_no_archive(
    written: tuple[Workplace, IncidentFolder], tmp_path: Path
) -> None:
    workplace, folder = written
    texts = [render(folder, form) for form in FORMATS]
    with tarfile.open(export_incident(folder, tmp_path, keys=workplace.keys)) as archive:
        files = (archive.extractfile(member) for member in archive.getmembers())
        texts += [file.read().decode() for file in files if file is not None]
    assert [each for each in _SHOWN for text in texts if each in text] == []
