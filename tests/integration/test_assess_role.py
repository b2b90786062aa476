"""The role that decides how far to go back, where there is a database and where there is none."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.real_servers import free_port
from tests.role_runner import run_playbook

_PLAYBOOK = """
- hosts: app:database
  gather_facts: false
  tasks:
    - ansible.builtin.import_role:
        name: sre.rollback.assess
        tasks_from: undone
      when: assess_undone_id is defined
    - ansible.builtin.import_role:
        name: sre.rollback.assess
        tasks_from: decide
    - ansible.builtin.debug:
        msg: "decided {{ assess_decision | to_json }}"
      run_once: true
"""
_FULL = {"restore_id": "first", "level": "full"}


def decide(
    tmp_path: Path,
    *,
    databases: int = 0,
    first: dict[str, Any] | None = None,
    limit: str = "all",
    **variables: Any,
) -> dict[str, Any] | str:
    """What is decided while release 2 runs and 1 is good, or what is said instead.

    ``first`` is a host more, before the others.
    """
    host = {
        "release_current": "2",
        "release_target": "1",
        "incident_id": "now",
        "rollback_environment": "shop/prod",
        "rollback_restore_points": str(tmp_path / "points"),
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        **variables,
    }
    found = host if limit == "app" else {**host, "database_integrity": {"failed_checks": []}}
    children = {
        "app": {"hosts": {**({"app0": {**host, **first}} if first else {}), "app1": host}},
        "database": {"hosts": {f"db{n}": found for n in range(databases)}},
    }
    done = run_playbook(tmp_path, _PLAYBOOK, {"all": {"children": children}}, "--limit", limit)
    decision = re.search(r'"msg": "decided (\{.*\})"', done.stdout)
    if decision is None:
        return done.stdout
    return dict(json.loads(json.loads(f'"{decision[1]}"')))


def leave_unfinished(tmp_path: Path) -> None:
    (tmp_path / "points").mkdir()
    (tmp_path / "points" / "unfinished-shop-prod.json").write_text(json.dumps(_FULL))


def test_without_a_database_only_the_release_goes_back(tmp_path: Path) -> None:
    decision = decide(tmp_path)

    assert isinstance(decision, dict), decision
    assert (decision["level"], decision["database"]) == ("application", False)


@pytest.mark.parametrize(("databases", "level"), [(0, "application"), (1, "full")])
def test_attempt_that_did_not_finish_restores_a_database_only_where_there_is_one(
    tmp_path: Path, databases: int, level: str
) -> None:
    leave_unfinished(tmp_path)

    decision = decide(tmp_path, databases=databases)

    assert isinstance(decision, dict), decision
    assert (decision["level"], decision["database"]) == (level, level == "full")


@pytest.mark.parametrize(("undone", "level"), [("first", "application"), ("another", "full")])
def test_attempt_that_was_taken_back_is_not_gone_on_with(
    tmp_path: Path, undone: str, level: str
) -> None:
    leave_unfinished(tmp_path)

    decision = decide(tmp_path, databases=1, assess_undone_id=undone)

    assert isinstance(decision, dict), decision
    assert decision["level"] == level
    assert decision["restore_id"] == ("now" if level == "application" else "first")


def test_first_host_is_not_asked_when_it_has_died_and_is_left_out(tmp_path: Path) -> None:
    dead = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": free_port()}
    leave_unfinished(tmp_path)

    decision = decide(tmp_path, first=dead, limit="all:!app0")

    assert isinstance(decision, dict), decision
    assert decision["restore_id"] == "first"


def test_attempt_of_another_environment_on_the_same_machine_is_none_of_ours(
    tmp_path: Path,
) -> None:
    leave_unfinished(tmp_path)

    decision = decide(tmp_path, databases=1, rollback_environment="shop-staging")

    assert isinstance(decision, dict), decision
    assert (decision["level"], decision["restore_id"]) == ("application", "now")


@pytest.mark.parametrize(
    ("now", "wanted", "level", "said"),
    [
        ("42", "41", "application", "if it does not work with this schema"),
        ("42", "41", "full", "the newest migration is 42, and 1 was good with 41"),
        ("41", "41", "application", ""),
        ("", "41", "application", ""),
        ("42", "", "application", ""),
    ],
)
def test_schema_that_has_moved_on_is_said_before_anything_is_changed(
    tmp_path: Path, now: str, wanted: str, level: str, said: str
) -> None:
    decision = decide(
        tmp_path,
        databases=1,
        database_migration=now,
        release_target_migration=wanted,
        assess_level=level,
        assess_force=True,
    )

    assert isinstance(decision, dict), decision
    reasons = "; ".join(decision["reasons"])
    assert said in reasons
    assert ("newest migration" in reasons) == bool(said)


def test_full_without_a_database_is_refused(tmp_path: Path) -> None:
    assert "This environment has no database" in str(decide(tmp_path, assess_level="full"))


def test_good_release_without_a_database_is_not_said_to_have_sound_data(tmp_path: Path) -> None:
    decision = decide(tmp_path, release_current="1")

    assert isinstance(decision, dict), decision
    assert decision["reasons"] == ["the last good release runs and there is no database"]


def test_database_that_the_limit_leaves_out_is_not_said_to_be_sound(tmp_path: Path) -> None:
    found: dict[str, Any] = {"release_current": "1", "databases": 1, "limit": "app"}

    decision = decide(tmp_path, **found)

    assert isinstance(decision, dict), decision
    assert decision["reasons"] == ["the last good release runs and the database was not asked"]

    leave_unfinished(tmp_path)
    said = " ".join(str(decide(tmp_path, **found)).split())
    assert "Attempt first did not finish, and it restores the database" in said


@pytest.mark.parametrize(("force", "refused"), [("false", True), ("true", False)])
def test_force_that_a_command_line_gives_as_a_text_means_what_it_says(
    tmp_path: Path, force: str, refused: bool
) -> None:
    said = decide(tmp_path, release_current="1", assess_level="application", assess_force=force)

    assert ("Nothing to roll back" in str(said)) is refused
