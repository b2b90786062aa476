"""The main job, as the on-call engineer does it: a broken system, one command, a healthy system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.lab import lifecycle, processes
from rollback_playbook.lab.orders import place_orders
from rollback_playbook.lab.places import Lab
from tests.e2e.conftest import Operator
from tests.real_servers import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.mark.attack
def test_drill_full_three_times_in_a_row_ends_healthy_each_time(working: Operator) -> None:
    for _ in range(3):
        done = working.types("drill", "full")
        tail = done.stderr[-2500:]

        assert done.returncode == 0, tail
        assert "healthy" in tail
        assert "outage seen by users:" in tail
        assert "data whole again: 5 tables" in tail
        assert "target met" in tail
        assert "record verified" in tail
        assert Path(tail.rsplit("report: ", 1)[1].strip()).is_file()
        assert working.health() == {"status": "ok", "release": "1.0.0", "schema": 1}
        assert working.users_get() == "ok"


def test_full_brings_back_release_data_cache_breakers_and_flags(broken: Operator) -> None:
    """Also when people cannot be told."""
    flags = broken.lab.flags.read_bytes()
    channel = f"notify_webhook_url=http://127.0.0.1:{free_port()}/"

    done = broken.types("full", "-i", "lab", "--reason", "orders are wrong", "-e", channel)

    assert done.returncode == 0, done.stderr
    assert "The incident channel could not be told" in done.stderr
    assert broken.health() == {"status": "ok", "release": "1.0.0", "schema": 1}
    assert broken.lab.flags.read_bytes() == flags
    assert place_orders(broken.lab.state().url, 2) == 2
    summary = broken.last()
    assert [phase["name"] for phase in summary["phases"]][-11:] == [
        "Declare", "Protect", "Assess", "Preserve", "Prepare", "Pause", "Switch", "Verify",
        "Resume", "Confirm", "Close",
    ]  # fmt: skip
    assert summary["reason"] == "orders are wrong"
    # Whatever users wrote after the backup is kept before the databases are exchanged.
    (kept,) = (
        event["data"]["result"]
        for event in _events_of(broken, summary["id"])
        if event["data"].get("action") == "sre.rollback.pg_salvage"
        and event["type"] == "task.finished"
    )
    assert kept["tables_compared"] > 0
    assert broken.types("incidents", "verify", "last").returncode == 0
    _says_what_was_planned_and_how_gates_turned_green(_events_of(broken, summary["id"]))


def test_plan_says_what_would_be_lost_and_changes_nothing(broken: Operator) -> None:
    before, incidents = broken.fingerprint(), _incidents(broken)

    done = broken.types("plan", "full", "-i", "lab")

    assert done.returncode == 0, done.stderr
    assert "release 1.1.0 → 1.0.0" in done.stdout
    assert "data at risk: restoring this backup" in done.stdout
    assert "Users get the maintenance answer  (shop-proxy" in done.stdout
    assert "can be undone" in done.stdout
    assert (broken.fingerprint(), _incidents(broken)) == (before, incidents)


def test_plain_ansible_playbook_does_the_same_without_the_command_line(broken: Operator) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "sre.rollback.emergency",
         "-i", broken.lab.inventory],
        cwd="/", env={**os.environ, "ROLLBACK_LAB_DIR": str(broken.lab.directory)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
    assert broken.health() == {"status": "ok", "release": "1.0.0", "schema": 1}
    assert broken.users_get() == "ok"
    locked = broken.types("full", "-i", "lab")
    assert "Nothing to roll back" in locked.stderr, "the environment is free again"


def test_full_again_after_success_is_refused_and_changes_nothing(working: Operator) -> None:
    before = working.fingerprint()

    done = working.types("full", "-i", "lab")
    planned = working.types("plan", "full", "-i", "lab")

    assert done.returncode == planned.returncode == 3, done.stderr + planned.stderr
    assert "Nothing to roll back" in done.stderr
    assert "full would be refused: " in planned.stderr
    assert working.fingerprint() == before


@pytest.mark.attack
def test_emergency_with_damaged_data_goes_all_the_way(broken: Operator) -> None:
    done = broken.types("emergency", "-i", "lab")

    assert done.returncode == 0, done.stderr
    assert broken.last()["decision"]["level"] == "full"
    assert broken.health() == {"status": "ok", "release": "1.0.0", "schema": 1}


def test_emergency_with_bad_code_alone_leaves_the_database_alone(working: Operator) -> None:
    lifecycle.break_release(working.lab.directory, migrate=False)
    bought = place_orders(working.lab.state().url, 5)

    done = working.types("emergency", "-i", "lab")

    assert done.returncode == 0, done.stderr
    assert working.last()["decision"]["level"] == "application"
    assert working.health()["release"] == "1.0.0"
    assert bought == 5
    assert _orders(working) >= bought


@pytest.mark.attack
def test_emergency_on_a_working_system_ends_as_it_was_found(working: Operator) -> None:
    before = working.fingerprint()

    done = working.types("emergency", "-i", "lab")

    assert done.returncode == 0, done.stderr
    assert "nothing to roll back" in done.stderr
    assert working.fingerprint() == before
    assert place_orders(working.lab.state().url, 1) == 1


@pytest.mark.attack
def test_application_with_damaged_data_is_not_called_healthy_and_keeps_users_out(
    broken: Operator,
) -> None:
    done = broken.types("application", "-i", "lab", "-e", '{"verify_deadline": 3}')

    assert done.returncode == 5, done.stderr
    assert "not proved healthy" in done.stderr
    assert broken.users_get() == "maintenance"


@pytest.mark.attack
def test_second_operator_is_refused_while_the_environment_is_locked(broken: Operator) -> None:
    failed = broken.types("application", "-i", "lab", "-e", '{"verify_deadline": 3}')

    refused = broken.types("full", "-i", "lab")
    taken = broken.types("full", "-i", "lab", "--take-over", "--reason", "the first one stopped")

    assert "lab stays locked: anything else needs --take-over" in failed.stderr
    assert refused.returncode == 3, refused.stderr
    assert "lab is locked: held by" in refused.stderr
    assert taken.returncode == 0, taken.stderr


@pytest.mark.attack
def test_attempt_that_failed_half_way_keeps_users_out_and_the_next_one_finishes_it(
    broken: Operator,
) -> None:
    failed = broken.types("full", "-i", "lab", "-e", "release_supervisor_bin=/bin/false")
    users = broken.users_get()

    finished = broken.types("full", "-i", "lab", "--take-over", "--reason", "once more")

    assert failed.returncode == 4, failed.stderr
    assert "Not done: Switch" in failed.stderr
    assert users == "maintenance"
    assert finished.returncode == 0, finished.stderr
    assert "did not finish" in finished.stderr
    assert broken.users_get() == "ok"


@pytest.mark.attack
def test_check_mode_says_what_would_happen_and_changes_nothing(broken: Operator) -> None:
    before = broken.fingerprint()

    done = broken.types("full", "-i", "lab", "--check")

    assert done.returncode == 0, done.stderr
    assert broken.fingerprint() == before


def test_json_prints_the_events_of_the_record(working: Operator) -> None:
    done = working.types("traffic-resume", "-i", "lab", "--json")

    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert [event["type"] for event in events if event["type"].startswith("phase.started")]
    assert all(event["specversion"] == "1.0" for event in events)


@pytest.mark.attack
def test_lab_down_with_purge_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    directory = Path(tempfile.mkdtemp(prefix="rollback-e2e-"))
    directory.chmod(0o755)
    person = Operator(Lab(directory / "lab"), tmp_path / "state")
    assert person.types("lab", "up", "--scale", "0.001").returncode == 0
    state = person.lab.state()

    done = person.types("lab", "down", "--purge")

    assert done.returncode == 0, done.stderr
    assert processes.running(person.lab, state) == []
    assert list(directory.iterdir()) == []
    directory.rmdir()


def _incidents(operator: Operator) -> list[str]:
    return sorted(path.name for path in (operator.state_dir / "incidents").iterdir())


def _events_of(operator: Operator, incident: str) -> list[dict[str, Any]]:
    record = operator.state_dir / "incidents" / incident / "events.jsonl"
    return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]


def _says_what_was_planned_and_how_gates_turned_green(events: list[dict[str, Any]]) -> None:
    kinds = [event["type"] for event in events]
    plan = next(event["data"] for event in reversed(events) if event["type"] == "plan.made")
    assert kinds.index("plan.made") < kinds.index("run.started")
    assert {step["phase"] for step in plan["steps"]} >= {"Pause", "Switch", "Resume"}
    assert plan["hosts"] == ["shop-app", "shop-cache", "shop-db", "shop-proxy"]
    assert plan["data_at_risk"]["summary"].startswith("restoring this backup")
    sampled = [event["data"]["checks"] for event in events if event["type"] == "gate.sampled"]
    assert sampled, "a gate of the lab runs on this machine"
    assert {check["state"] for checks in sampled for check in checks} >= {"passed"}
    gates = [event["data"] for event in events if event["type"] == "gate.passed"]
    assert all(check["samples"] for gate in gates for check in gate["checks"])


def _orders(operator: Operator) -> int:
    """Orders that were placed after the backup and are still there."""
    from rollback_playbook.lab import seeding

    with seeding.connect(operator.lab.state(), "shop") as connection:
        row = connection.execute("SELECT count(*) FROM orders WHERE id > 4000").fetchone()
    return int(str(row[0])) if row else 0
