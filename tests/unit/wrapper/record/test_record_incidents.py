"""Which incidents there are, in which state, and what becomes of old ones."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollback_playbook.errors import RecordError, RefusedError, UsageError
from rollback_playbook.record.folder import find_incident
from rollback_playbook.record.incidents import reopen
from rollback_playbook.record.listing import list_incidents, summary_for
from rollback_playbook.record.process import Liveness, liveness, this_process
from rollback_playbook.record.reading import read_events
from rollback_playbook.record.redaction import Redactor
from rollback_playbook.record.retention import expired, remove_incident
from rollback_playbook.record.summary import summary_of
from tests.unit.wrapper.record.builders import (
    Workplace,
    awx_job_events,
    closed,
    converted,
    declared,
)

_ABANDON = """
import os, signal, sys
from pathlib import Path
from rollback_playbook.record.incidents import create_incident
from rollback_playbook.record.keys import Keyring
from rollback_playbook.record.redaction import Redactor
path = Path(sys.argv[1])
writer = create_incident(path / "incidents", scenario="full", environment="prod",
                         keys=Keyring(path / "keys"), redaction=Redactor())
writer.append("phase.started", {"name": "Switch"})
writer.append("task.finished", {"status": "changed", "task": "Databases are swapped"})
print(writer.incident, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def _abandoned(tmp_path: Path) -> str:
    argv = [sys.executable, "-c", _ABANDON, str(tmp_path)]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


def test_list_incidents_without_a_root_is_empty(workplace: Workplace) -> None:
    assert list_incidents(workplace.root) == []


def test_list_incidents_has_the_newest_first_and_each_ones_outcome(workplace: Workplace) -> None:
    for _ in range(3):
        with workplace.create() as writer:
            declared(writer)
            closed(writer)
    entries = list_incidents(workplace.root)
    assert [entry.id for entry in entries] == sorted((e.id for e in entries), reverse=True)
    assert {entry.state for entry in entries} == {"healthy"}
    entry = entries[0]
    assert (entry.scenario, entry.environment, entry.operator) == ("full", "lab", "sam")
    assert (entry.seconds, entry.target_seconds, entry.exit_code) == (40.0, 60, 0)


def test_list_incidents_shows_one_that_runs_as_running(workplace: Workplace) -> None:
    writer = workplace.create()
    declared(writer)
    writer.append("phase.started", {"name": "Switch"})
    (entry,) = list_incidents(workplace.root)
    assert (entry.state, entry.phase, entry.exit_code) == ("running", "Switch", None)


def test_list_incidents_shows_one_whose_process_was_killed_as_interrupted(
    workplace: Workplace, tmp_path: Path
) -> None:
    incident = _abandoned(tmp_path)
    (entry,) = list_incidents(workplace.root)
    assert (entry.id, entry.state, entry.phase) == (incident, "interrupted", "Switch")


def test_summary_for_a_killed_process_counts_what_came_after_it_was_last_written(
    workplace: Workplace, tmp_path: Path
) -> None:
    folder = find_incident(workplace.root, _abandoned(tmp_path))
    assert summary_for(folder)["tasks"]["changed"] == 1


def test_list_incidents_shows_one_that_is_taken_up_again_as_running(
    workplace: Workplace, tmp_path: Path
) -> None:
    folder = find_incident(workplace.root, _abandoned(tmp_path))
    writer = reopen(folder, keys=workplace.keys, redaction=Redactor(), continuing=True)
    assert list_incidents(workplace.root)[0].state == "running"
    closed(writer)
    assert list_incidents(workplace.root)[0].state == "healthy"


def test_list_incidents_by_state_scenario_environment_and_number(
    workplace: Workplace, tmp_path: Path
) -> None:
    incident = _abandoned(tmp_path)
    for _ in range(3):
        with workplace.create(scenario="application") as writer:
            declared(writer, scenario="application")
            closed(writer)
    root = workplace.root
    assert [e.id for e in list_incidents(root, state="interrupted")] == [incident]
    assert [e.id for e in list_incidents(root, environment="prod")] == [incident]
    assert len(list_incidents(root, scenario="application")) == 3
    assert len(list_incidents(root, scenario="application", limit=2)) == 2
    assert list_incidents(root, since=datetime.now(UTC) + timedelta(hours=1)) == []
    assert len(list_incidents(root, since=datetime.now(UTC) - timedelta(hours=1))) == 4


def test_list_incidents_shows_an_unreadable_one_beside_the_others(workplace: Workplace) -> None:
    with workplace.create() as writer:
        declared(writer)
        closed(writer)
    with workplace.create() as broken:
        pass
    broken.folder.events.unlink()
    states = {entry.id: entry.state for entry in list_incidents(workplace.root)}
    assert states == {writer.incident: "healthy", broken.incident: "unreadable"}


def test_list_incidents_passes_over_what_is_no_incident(workplace: Workplace) -> None:
    with workplace.create():
        pass
    (workplace.root / "notes").mkdir()
    (workplace.root / "2026-11-22T03-12-45Z-full-lab-0000").touch()
    assert len(list_incidents(workplace.root)) == 1


def test_find_incident_by_the_end_or_the_beginning_of_its_id(workplace: Workplace) -> None:
    with workplace.create() as writer:
        pass
    for part in (writer.incident, writer.incident[-4:], writer.incident[:19]):
        assert find_incident(workplace.root, part).id == writer.incident


@pytest.mark.parametrize("name", ["", "nothing", "../keys", "lab"])
def test_find_incident_that_is_not_there_is_refused(workplace: Workplace, name: str) -> None:
    with workplace.create():
        pass
    with pytest.raises(UsageError, match="there is no incident"):
        find_incident(workplace.root, name)


def test_find_incident_by_a_part_of_many_is_refused(workplace: Workplace) -> None:
    for _ in range(2):
        with workplace.create():
            pass
    with pytest.raises(UsageError, match="means more than one"):
        find_incident(workplace.root, "20")


def test_liveness_tells_this_process_from_one_that_had_its_number() -> None:
    own = this_process()
    assert liveness(own) is Liveness.ALIVE
    assert liveness({**own, "started": "1"}) is Liveness.GONE
    assert liveness({**own, "boot": "another"}) is Liveness.GONE
    assert liveness({**own, "machine": "another"}) is Liveness.UNKNOWN
    assert liveness({**own, "pid_namespace": "pid:[1]", "pid": 1}) is Liveness.UNKNOWN
    assert liveness({}) is Liveness.UNKNOWN


def test_liveness_of_a_zombie_is_gone() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    try:
        assert liveness({**this_process(), "pid": child}) is Liveness.GONE
    finally:
        os.waitpid(child, 0)


def test_summary_is_the_same_from_the_writer_and_from_the_record(workplace: Workplace) -> None:
    with workplace.create() as writer:
        declared(writer)
        writer.append("run.started", {})
        for draft in converted(awx_job_events()):
            writer.append_draft(draft)
        writer.append("run.finished", {"rc": 2, "expected": 54, "recorded": 54})
        writer.append("decision.made", {"level": "full"})
        writer.append("approval.granted", {"by": "sam"})
        writer.append("undo.recorded", {"module": "m", "args": {}})
        closed(writer)
    derived = summary_of(read_events(writer.folder.events))
    kept = summary_for(writer.folder)
    assert {name: kept[name] for name in derived} == derived
    assert derived["tasks"]["changed"] == 6
    assert derived["runs"][0]["expected"] == 54
    assert (derived["undo_steps"], derived["decision"]["level"]) == (1, "full")


def _old(workplace: Workplace, *, days: int) -> str:
    then = datetime.now(UTC) - timedelta(days=days)
    with workplace.create() as writer:
        declared(writer)
        closed(writer, time=then.isoformat())
    return writer.incident


def test_expired_are_the_closed_incidents_of_that_age(workplace: Workplace, tmp_path: Path) -> None:
    old = _old(workplace, days=100)
    _old(workplace, days=10)
    _abandoned(tmp_path)
    found = expired(workplace.root, older_than=timedelta(days=90))
    assert [entry.id for entry in found] == [old]
    late = datetime.now(UTC) + timedelta(days=1000)
    assert len(expired(workplace.root, older_than=timedelta(days=90), now=late)) == 2


def test_remove_incident_leaves_the_head_beside_the_keys(workplace: Workplace) -> None:
    incident = _old(workplace, days=100)
    remove_incident(find_incident(workplace.root, incident))
    assert list(workplace.root.iterdir()) == []
    assert workplace.keys.head_path(incident).exists()


def test_remove_incident_that_is_not_closed_is_refused(
    workplace: Workplace, tmp_path: Path
) -> None:
    folder = find_incident(workplace.root, _abandoned(tmp_path))
    with pytest.raises(RefusedError, match="is not closed"):
        remove_incident(folder)
    assert folder.events.exists()


def test_remove_incident_that_is_gone_says_so(workplace: Workplace) -> None:
    folder = find_incident(workplace.root, _old(workplace, days=1))
    remove_incident(folder)
    with pytest.raises(RecordError):
        remove_incident(folder)
