"""Every event that is written is one that the schema describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rollback_playbook.record.importing import import_artifacts
from rollback_playbook.record.incidents import add_note, reopen
from rollback_playbook.record.redaction import Redactor
from rollback_playbook.record.schema import schema_text
from tests.unit.wrapper.record.builders import (
    AWX_EVENTS,
    Workplace,
    closed,
    converted,
    declared,
    job_event,
    lines_of,
    task_event,
)

_REFERENCE = Path(__file__).parents[4] / "docs" / "reference"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_schema_in_the_documentation_is_the_one_that_ships() -> None:
    assert (_REFERENCE / "record.schema.json").read_text(encoding="utf-8") == schema_text()


def test_page_of_the_types_says_what_the_schema_says() -> None:
    page = (_REFERENCE / "record.md").read_text(encoding="utf-8")
    types = json.loads(schema_text())["$defs"]
    table = "\n".join(f"| `{name}` | {each['description']} |" for name, each in types.items())
    assert f"|---|---|\n{table}\n\n" in page


def test_events_of_an_import_follow_the_schema(
    workplace: Workplace, validator: jsonschema.Draft202012Validator
) -> None:
    folder = import_artifacts(AWX_EVENTS, workplace.root, keys=workplace.keys, redaction=Redactor())
    for line in folder.events.read_bytes().splitlines():
        validator.validate(json.loads(line))


def test_events_of_a_run_follow_the_schema(
    workplace: Workplace, validator: jsonschema.Draft202012Validator
) -> None:
    undo = {"module": "sre.rollback.traffic", "args": {"state": "resumed"}}
    gate = {"outcome": "inconclusive", "checks": [{"name": "x"}], "elapsed": 1.5}
    drafts = converted(
        [
            job_event("playbook_on_play_start", 1, name="Switch", play_uuid="a", pattern="all"),
            job_event("playbook_on_play_start", 2, name="Switch", play_uuid="a_2"),
            task_event(3, res={"changed": True, "undo": undo, "warnings": ["w"]}),
            task_event(4, event="runner_on_failed", action="sre.rollback.health_gate", res=gate),
            task_event(5, event="runner_retry", res={"changed": False, "attempts": 1}),
            task_event(6, event="runner_on_async_poll", jid="j1"),
            task_event(7, res={}),
            job_event("playbook_on_new", 8),
        ]
    )
    with workplace.create() as writer:
        declared(writer)
        for draft in drafts:
            writer.append_draft(draft)
        writer.evidence("a.txt", "a")
        closed(writer)
    with reopen(writer.folder, keys=workplace.keys, redaction=Redactor(), continuing=True):
        pass
    add_note(
        writer.folder,
        "n",
        author="sam",
        corrects=2,
        keys=workplace.keys,
        redaction=Redactor(),
    )
    for line in lines_of(writer):
        validator.validate(json.loads(line))


@pytest.mark.parametrize(
    "change",
    [
        {"specversion": "0.3"},
        {"sequence": 1},
        {"hash": "x"},
        {"surplus": 1},
        {"type": "Note"},
        {"data": {"author": 1}},
        {"data": []},
    ],
)
def test_schema_refuses_what_is_no_event(
    workplace: Workplace, validator: jsonschema.Draft202012Validator, change: dict[str, Any]
) -> None:
    with workplace.create() as writer:
        writer.append("note.added", {"author": "sam", "text": "x"})
    event = json.loads(lines_of(writer)[-1])
    validator.validate(event)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**event, **change})
