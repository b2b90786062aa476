"""``rollback-playbook incidents …`` as a person types it, and the exit code that comes back."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rollback_playbook.cli import main
from rollback_playbook.record.listing import list_incidents
from rollback_playbook.record.process import this_process
from tests.unit.wrapper.record.builders import AWX_EVENTS, Workplace, closed, declared
from tests.unit.wrapper.record.story import full_rollback, interrupted_rollback

Typed = tuple[int, str, str]
Type = Callable[..., Typed]


@pytest.fixture
def type_(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Type:
    """``type_("list")`` is (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROLLBACK_PLAYBOOK_STATE_DIR", str(tmp_path))

    def call(*argv: str) -> Typed:
        with pytest.raises(SystemExit) as ended:
            main(["incidents", *argv])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def _one(workplace: Workplace, *, scenario: str, outcome: str = "healthy", **about: str) -> str:
    with workplace.create(scenario=scenario) as writer:
        declared(writer, scenario=scenario, **about)
        closing = {"outcome": outcome, "exit_code": 0, "summary": outcome}
        writer.append("incident.closed", closing, time="2026-11-22T03:12:40Z", sync=True)
    return writer.incident


def test_import_of_an_awx_job_takes_all_of_it_and_the_record_verifies(type_: Type) -> None:
    code, out, err = type_("import", str(AWX_EVENTS), "--scenario", "full")

    incident = out.strip()
    assert code == 0
    assert incident.startswith("2026-11-22T01-19-04Z-full-unknown-")
    assert "54 of 54 job events" in err
    assert "2 of 3 hosts failed" in err
    assert type_("verify", incident)[0] == 0


def test_import_with_an_environment_takes_out_the_secrets_of_its_inventory(
    type_: Type, tmp_path: Path
) -> None:
    inventory = tmp_path / "inventories" / "prod" / "hosts.yml"
    inventory.parent.mkdir(parents=True)
    inventory.write_text(
        "all:\n  hosts: {app1: }\n  vars: {database_password: plain-canary-word}\n",
        encoding="ascii",
    )
    job = tmp_path / "job.jsonl"
    result = {"changed": True, "msg": "connected with plain-canary-word"}
    event = {"counter": 1, "event": "runner_on_ok", "event_data": {"host": "app1", "res": result}}
    job.write_text(json.dumps(event) + "\n", encoding="ascii")

    assert type_("import", str(job), "-i", "prod")[0] == 0

    (entry,) = list_incidents(tmp_path / "incidents")
    record = entry.folder.events.read_text(encoding="utf-8")
    assert entry.environment == "prod"
    assert "connected with" in record
    assert "canary" not in record


def test_import_of_what_holds_no_run_is_wrong_usage(type_: Type, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    code, _, err = type_("import", str(tmp_path / "empty"))

    assert code == 2
    assert "name the directory that holds job_events" in err
    assert not (tmp_path / "incidents").exists()


def test_export_is_one_archive_with_record_report_and_evidence(
    type_: Type, workplace: Workplace, tmp_path: Path
) -> None:
    incident = full_rollback(workplace).incident

    code, out, _ = type_("export", "last", "-o", str(tmp_path))

    archive = Path(out.strip())
    assert code == 0
    assert archive == tmp_path / f"{incident}.tar.gz"
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"events.jsonl", "report.html", "report.md", "evidence/nginx.log"} <= names
    assert type_("export", "last", "-o", str(tmp_path))[0] == 3


def test_list_has_every_incident_with_result_duration_and_reason_newest_first(
    type_: Type, workplace: Workplace
) -> None:
    older = _one(workplace, scenario="application", reason="errors")
    newer = interrupted_rollback(workplace).incident
    names = sorted([older, newer], reverse=True)

    code, out, err = type_("list")

    header, *rows = out.splitlines()
    by_id = {row.split()[0]: row for row in rows}
    assert code == 0
    assert header.split() == ["INCIDENT", "RESULT", "TOOK", "WHO", "AND", "WHY"]
    assert list(by_id) == names
    assert "healthy" in by_id[older]
    assert "40.0 s  sam: errors" in by_id[older]
    assert "interrupted in Switch" in by_id[newer]
    assert "incidents show ID" in err


@pytest.mark.parametrize(
    ("options", "found"),
    [
        pytest.param((), {"full", "application", "canary"}, id="all"),
        pytest.param(("--scenario", "full"), {"full"}, id="scenario"),
        pytest.param(("-i", "staging"), {"canary"}, id="environment"),
        pytest.param(("--outcome", "not-proved"), {"application"}, id="outcome"),
        pytest.param(("--since", "1h"), {"full", "application", "canary"}, id="since an age"),
        pytest.param(("--since", "2100-01-01"), set(), id="since a date"),
    ],
)
def test_list_can_be_filtered(
    type_: Type, workplace: Workplace, options: tuple[str, ...], found: set[str]
) -> None:
    _one(workplace, scenario="full")
    _one(workplace, scenario="application", outcome="not proved")
    _one(workplace, scenario="canary", environment="staging")

    code, out, _ = type_("list", "--json", *options)

    assert code == 0
    assert {row["scenario"] for row in json.loads(out)} == found


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        pytest.param(("list", "--since", "soon"), "neither an age", id="since"),
        pytest.param(("remove", "--older-than", "old"), "is no age", id="age"),
        pytest.param(("remove",), "--older-than", id="no age"),
    ],
)
def test_malformed_times_are_wrong_usage(type_: Type, argv: tuple[str, ...], words: str) -> None:
    code, _, err = type_(*argv)

    assert code == 2
    assert words in err


def test_verify_names_the_first_bad_line_and_the_exit_code_says_so(
    type_: Type, workplace: Workplace
) -> None:
    folder = full_rollback(workplace).folder
    lines = folder.events.read_bytes().splitlines(keepends=True)
    folder.events.write_bytes(b"".join([*lines[:4], *lines[5:]]))

    code, out, _ = type_("verify", "last")

    assert code == 6
    assert "removed: line 5 is event 6: event 5 removed before it" in out
    assert "as it was written" not in out
    assert "nothing is missing" not in out


def test_verify_tells_a_gap_in_the_run_from_a_change_of_the_record(
    type_: Type, workplace: Workplace
) -> None:
    with workplace.create() as writer:
        writer.append("run.started", {})
        writer.append("task.finished", {"status": "ok"}, counter=2)
        writer.append("run.finished", {"expected": 2})

    code, out, _ = type_("verify", "last")

    assert code == 6
    assert "integrity: as it was written" in out
    assert "incomplete: 1 of 2 events of a run are not recorded: 1" in out


def test_note_is_added_and_what_it_corrects_stays(type_: Type, workplace: Workplace) -> None:
    folder = full_rollback(workplace).folder
    before = folder.events.read_bytes()

    assert type_("note", "last", "it was the migration, not the code", "--corrects", "2")[0] == 0

    after = folder.events.read_bytes()
    assert after.startswith(before)
    assert b"it was the migration, not the code" in after[len(before) :]
    assert type_("verify", "last")[0] == 0
    assert "correcting event 2" in type_("report", "last")[1]


def test_note_that_corrects_what_is_not_there_changes_nothing(
    type_: Type, workplace: Workplace
) -> None:
    folder = full_rollback(workplace).folder
    before = folder.events.read_bytes()

    code, _, err = type_("note", "last", "x", "--corrects", "9999")

    assert code == 6
    assert "has no event 9999" in err
    assert folder.events.read_bytes() == before


def test_remove_takes_only_what_was_closed_long_ago_and_only_when_told_to(
    type_: Type, workplace: Workplace
) -> None:
    old = _one(workplace, scenario="full")
    running = workplace.create(scenario="application")

    refused, _, err = type_("remove", "--older-than", "1m")
    kept = [entry.id for entry in list_incidents(workplace.root)]
    removed = type_("remove", "--older-than", "1m", "--yes")

    assert refused == 3
    assert "nothing was removed" in err
    assert old in kept
    assert removed[0] == 0
    assert [entry.id for entry in list_incidents(workplace.root)] == [running.incident]
    assert type_("remove", "--older-than", "1m", "--yes")[0] == 0
    running.close()


def test_show_says_where_an_interrupted_run_stopped(type_: Type, workplace: Workplace) -> None:
    interrupted_rollback(workplace)

    code, out, _ = type_("show", "last")

    assert code == 0
    assert "interrupted" in out
    assert "orders are wrong" in out
    assert json.loads(type_("show", "last", "--json")[1])["now"] == "interrupted"


def test_timeline_draws_phases_outage_and_hosts_and_then_the_rows(
    type_: Type, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    full_rollback(workplace)

    code, out, _ = type_("timeline", "last")

    lines = out.splitlines()
    drawing = lines[: lines.index("")]
    assert code == 0
    assert all(len(line) <= 80 for line in drawing)
    assert next(line for line in drawing if line.startswith("Pause")).count("█") >= 1
    outage = next(line for line in drawing if line.startswith("Users' outage"))
    assert 2 <= outage.count("▓") <= 5
    assert outage.endswith("2.0 s")
    assert any(line.startswith("edge1") for line in drawing)
    assert "target 1 min 00 s: beyond the end" in drawing[-1]
    assert "T+0:12   Switch    Switch: done  1.0 s" in lines


def test_timeline_of_a_record_without_phases_has_only_its_rows(
    type_: Type, workplace: Workplace
) -> None:
    with workplace.create() as writer:
        declared(writer)
        closed(writer)

    code, out, _ = type_("timeline", "last")

    assert code == 0
    assert out.splitlines()[0].startswith("T+0:00")
    assert "█" not in out


def test_incidents_of_a_process_that_is_gone_are_listed_as_interrupted(
    type_: Type, workplace: Workplace
) -> None:
    writer = workplace.create()
    gone = {**this_process(), "started": "1"}
    about = {"schema": 1, "key": workplace.keys.active().id, "writer": gone}
    writer.append("record.continued", about)

    _, out, _ = type_("list", "--outcome", "interrupted", "--json")

    assert [(row["id"], row["exit_code"]) for row in json.loads(out)] == [(writer.incident, None)]
    writer.close()
