"""Runs that others drove become the same kind of record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.errors import UsageError
from rollback_playbook.record.folder import IncidentFolder
from rollback_playbook.record.importing import import_artifacts
from rollback_playbook.record.listing import list_incidents, summary_for
from rollback_playbook.record.reading import read_events
from rollback_playbook.record.redaction import Redactor
from rollback_playbook.record.verification import verify
from tests.unit.wrapper.record.builders import AWX_EVENTS, Workplace, awx_job_events


def _import(workplace: Workplace, source: Path, **more: Any) -> IncidentFolder:
    return import_artifacts(
        source, workplace.root, keys=workplace.keys, redaction=Redactor(["s3cr3t-canary"]), **more
    )


def _artifacts(path: Path, events: list[dict[str, Any]]) -> Path:
    """As ansible-runner leaves them."""
    folder = path / "artifacts" / "run" / "job_events"
    folder.mkdir(parents=True)
    for event in events:
        name = f"{event['counter']}-{event['uuid']}.json"
        (folder / name).write_text(json.dumps(event))
    (folder / f"{events[-1]['uuid']}-partial.json").write_text("{}")
    (folder.parent / "rc").write_text("2")
    (folder.parent / "status").write_text("failed")
    return path


def test_import_of_an_awx_job_takes_every_event(workplace: Workplace) -> None:
    folder = _import(workplace, AWX_EVENTS, scenario="full", environment="staging")
    events = list(read_events(folder.events))
    found = verify(folder, workplace.keys)
    assert {event.counter for event in events} - {None} == set(range(1, 55))
    assert found.ok
    assert (found.completeness.expected, found.completeness.recorded) == (54, 54)


def test_import_of_an_awx_job_keeps_its_times_and_says_how_it_ended(workplace: Workplace) -> None:
    folder = _import(workplace, AWX_EVENTS, scenario="full", environment="staging")
    assert folder.id.startswith("2026-11-22T01-19-04Z-full-staging-")
    (entry,) = list_incidents(workplace.root)
    assert (entry.state, entry.exit_code) == ("imported", None)
    assert entry.declared == "2026-11-22T01:19:04.433835Z"
    assert entry.summary == "imported; job failed; 2 of 3 hosts failed"
    phases = {phase["name"]: phase["status"] for phase in summary_for(folder)["phases"]}
    assert phases == {
        "Declare": "failed",
        "Protect": "ok",
        "Restore": "rescued",
        "Verify": "failed",
    }


def test_import_of_an_awx_job_carries_no_secret_and_none_of_its_variables(
    workplace: Workplace,
) -> None:
    folder = _import(workplace, AWX_EVENTS)
    assert b"canary" not in folder.events.read_bytes()
    assert b"extra_vars" not in folder.events.read_bytes()


def test_import_of_artifacts_makes_the_record_that_the_api_makes(
    workplace: Workplace, tmp_path: Path
) -> None:
    from_api = _import(workplace, AWX_EVENTS)
    from_files = _import(workplace, _artifacts(tmp_path / "private", awx_job_events()))
    ours = [(e.type, e.time, e.subject, e.data) for e in read_events(from_api.events) if e.counter]
    theirs = [
        (e.type, e.time, e.subject, e.data) for e in read_events(from_files.events) if e.counter
    ]
    assert ours == theirs
    assert summary_for(from_files)["runs"][0]["rc"] == 2


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(lambda events: json.dumps(events), id="list"),
        pytest.param(
            lambda events: json.dumps({"results": events[::-1], "count": 54}), id="api-page"
        ),
        pytest.param(lambda events: "\n".join(map(json.dumps, events)), id="json-lines"),
    ],
)
def test_import_takes_the_shapes_that_job_events_come_in(
    workplace: Workplace, tmp_path: Path, shape: Any
) -> None:
    source = tmp_path / "events.json"
    source.write_text(shape(awx_job_events()))
    assert verify(_import(workplace, source), workplace.keys).ok


def test_import_of_one_page_of_two_is_not_complete(workplace: Workplace, tmp_path: Path) -> None:
    source = tmp_path / "events.json"
    source.write_text(json.dumps({"results": awx_job_events()[:25], "count": 54}))
    found = verify(_import(workplace, source), workplace.keys)
    assert found.intact
    assert found.completeness.missing[:2] == (26, 27)
    assert "did not come to its end" in list_incidents(workplace.root)[0].summary


def test_import_of_artifacts_with_a_broken_event_file_names_it(
    workplace: Workplace, tmp_path: Path
) -> None:
    source = _artifacts(tmp_path / "private", awx_job_events())
    (broken,) = source.glob("**/20-*.json")
    broken.write_text("")
    folder = _import(workplace, source)
    assert verify(folder, workplace.keys).completeness.missing == (20,)
    assert any(broken.name in str(event.data) for event in read_events(folder.events))


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '"x"', "17", '{"results": []}', "[1, 2]", "{nonsense", '{"event": "x"}\n{'],
)
def test_import_of_a_file_without_job_events_is_refused(
    workplace: Workplace, tmp_path: Path, content: str
) -> None:
    source = tmp_path / "events.json"
    source.write_text(content)
    with pytest.raises(UsageError):
        _import(workplace, source)
    assert not workplace.root.exists()


def test_import_of_a_directory_of_two_runs_is_refused(workplace: Workplace, tmp_path: Path) -> None:
    for name in ("a", "b"):
        _artifacts(tmp_path / "both" / name, awx_job_events()[:2])
    with pytest.raises(UsageError, match="no artifacts directory of one run"):
        _import(workplace, tmp_path / "both")


def test_import_of_nothing_is_refused(workplace: Workplace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        _import(workplace, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no artifacts directory"):
        _import(workplace, tmp_path / "empty")
