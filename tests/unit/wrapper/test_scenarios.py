"""What the catalogue makes of a folder of playbooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import yaml

from rollback_playbook.catalogue.collection import bundled_playbooks, require_same_version
from rollback_playbook.catalogue.plays import read_plays
from rollback_playbook.catalogue.scenarios import (
    PHASES,
    find,
    load,
    runs_beside,
    scenario_files,
    title_of,
)
from rollback_playbook.errors import UsageError

_PLAYBOOK = """
- name: Declare
  hosts: all
  vars:
    rollback_scenario:
      title: Mend the shop
      level: "1"
      target_seconds: 60
  tasks: []
- name: Verify
  hosts: [app, proxy]
  tasks: []
"""


def _write(folder: Path, name: str, text: str = _PLAYBOOK) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_with_underscores_is_a_command_with_hyphens(tmp_path: Path) -> None:
    _write(tmp_path, "mend_shop.yml")

    assert list(scenario_files([tmp_path])) == ["mend-shop"]


def test_a_scenario_of_ones_own_comes_before_a_bundled_one_of_the_same_name(tmp_path: Path) -> None:
    _write(tmp_path, "full.yml")

    assert find("full", [tmp_path, bundled_playbooks()]).title == "Mend the shop"


def test_metadata_and_phases_are_read_from_the_plays(tmp_path: Path) -> None:
    scenario = load("mend", _write(tmp_path, "mend.yml"))

    assert (scenario.title, scenario.level, scenario.target_seconds) == ("Mend the shop", "1", 60)
    assert [(phase.name, phase.hosts) for phase in scenario.phases] == [
        ("Declare", "all"),
        ("Verify", "app:proxy"),
    ]


def test_plays_of_one_name_in_a_row_are_one_phase(tmp_path: Path) -> None:
    more = _PLAYBOOK + "- {name: Verify, hosts: 'proxy:cache', tasks: []}\n"

    scenario = load("mend", _write(tmp_path, "mend.yml", more))

    assert [(phase.name, phase.hosts) for phase in scenario.phases] == [
        ("Declare", "all"),
        ("Verify", "app:proxy:cache"),
    ]


def test_a_phase_that_is_imported_counts_as_a_play_of_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    _write(tmp_path / "parts", "verify.yml", "- {name: Verify, hosts: proxy}")
    text = """
- name: Declare
  import_playbook: sre.rollback.phases.declare
  vars:
    rollback_scenario: {title: Mend the shop, level: "1", target_seconds: 60}
- name: Verify
  ansible.builtin.import_playbook: parts/verify.yml
"""
    scenario = load("mend", _write(tmp_path, "mend.yml", text))

    assert scenario.title == "Mend the shop"
    assert [(phase.name, phase.hosts) for phase in scenario.phases] == [
        ("Declare", "all"),
        ("Verify", "proxy"),
    ]


def test_an_import_that_leads_nowhere_is_refused_by_name(tmp_path: Path) -> None:
    text = _PLAYBOOK + "- import_playbook: sre.rollback.phases.chaos"

    with pytest.raises(UsageError, match=r"phases/chaos\.yml"):
        load("bad", _write(tmp_path, "bad.yml", text))


def test_an_unknown_scenario_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="no scenario named 'emergancy'") as caught:
        find("emergancy", [bundled_playbooks()])

    assert caught.value.hint == "did you mean emergency?"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("- name: [", "cannot be read", id="broken YAML"),
        pytest.param("{}", "no plays", id="not a list"),
        pytest.param("- {name: Declare, hosts: all}", "rollback_scenario", id="no metadata"),
        pytest.param(_PLAYBOOK.replace("Verify", "Chaos"), "not a phase", id="unknown phase"),
        pytest.param(
            _PLAYBOOK + "- {name: Declare, hosts: all}", "out of order", id="phase comes back"
        ),
    ],
)
def test_a_file_that_is_no_scenario_is_refused_by_name(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = _write(tmp_path, "bad.yml", text)

    with pytest.raises(UsageError, match=complaint) as caught:
        load("bad", path)

    assert str(path) in str(caught.value)


@pytest.mark.parametrize("path", sorted(bundled_playbooks().glob("*.yml")), ids=lambda p: p.stem)
def test_every_bundled_scenario_says_when_and_when_not_and_how_to_undo_it(path: Path) -> None:
    scenario = load(path.stem, path)

    assert all((scenario.title, scenario.when, scenario.when_not, scenario.undo))
    assert scenario.title == title_of(path)
    assert scenario.target_seconds > 0
    assert {phase.name for phase in scenario.phases} <= set(PHASES)


def test_cache_flush_says_up_to_which_size_an_undo_brings_the_keys_back() -> None:
    defaults = bundled_playbooks().parent / "roles" / "cache" / "defaults" / "main.yml"
    kept = yaml.safe_load(defaults.read_text(encoding="utf-8"))["cache_restore_point_max_bytes"]

    assert f"{kept // 2**20} MiB" in find("cache-flush", [bundled_playbooks()]).undo


@pytest.mark.parametrize("path", sorted(bundled_playbooks().glob("*.yml")), ids=lambda p: p.stem)
def test_a_bundled_scenario_that_switches_also_verifies_and_lets_users_in_again(path: Path) -> None:
    scenario = load(path.stem, path)

    if scenario.has("Switch"):
        assert scenario.has("Verify")
        # A breach closes the hosts from Protect on.
        keeps_out = scenario.has("Pause") or path.stem == "security_breach"
        assert scenario.has("Resume") is keeps_out
        assert scenario.has("Confirm") or not keeps_out


_BLOCK = ("block", "rescue", "always")


@pytest.mark.parametrize("path", sorted(bundled_playbooks().glob("*.yml")), ids=lambda p: p.stem)
def test_a_bundled_scenario_makes_the_release_ready_before_it_switches_to_it(path: Path) -> None:
    steps = list(_steps_of_release(read_plays(path)))

    switched = next((at for at, step in enumerate(steps) if step in ("switch", "gradual")), None)
    assert switched is None or "prepare" in steps[:switched]


@pytest.mark.parametrize("path", sorted(bundled_playbooks().glob("*.yml")), ids=lambda p: p.stem)
def test_an_attempt_is_remembered_when_all_is_ready_and_before_users_notice_anything(
    path: Path,
) -> None:
    """One that was refused before that has left nothing for the next to go on with."""
    plays = yaml.safe_load(path.read_text(encoding="utf-8"))
    forgets = "tasks_from: forget" in path.read_text(encoding="utf-8") or any(
        "phases.confirm" in str(play) for play in plays
    )
    names = [play["name"] for play in plays]
    at = [n for n, play in enumerate(plays) if "phases.remember" in str(play)]

    assert len(at) == (1 if "tasks_from': 'decide'" in str(plays) and forgets else 0)
    for place in at:
        assert names[place] == "Prepare"
        assert names[place + 1] in ("Pause", "Switch")
        assert "Prepare" not in names[place + 1 :]


@pytest.mark.parametrize("path", sorted(bundled_playbooks().glob("*.yml")), ids=lambda p: p.stem)
def test_keys_are_counted_and_kept_before_they_are_flushed(path: Path) -> None:
    """Else the flush could not be undone."""
    plays = [str(play) for play in yaml.safe_load(path.read_text(encoding="utf-8"))]
    cache = "'sre.rollback.cache', 'tasks_from': "

    def first(*marks: str) -> int:
        found = (n for n, play in enumerate(plays) if any(mark in play for mark in marks))
        return next(found, len(plays))

    flushed = first(f"{cache}'flush'", "phases.switch_release")
    counted = first(f"{cache}'prepare'", "phases.prepare_release", "phases.prepare_cache")
    assert flushed == len(plays) or counted < flushed


def _steps_of_release(plays: list[dict[str, Any]]) -> Iterator[str]:
    """What the plays ask the role ``release`` for, in order."""
    for play in plays:
        waiting = list(play.get("tasks") or ())
        while waiting:
            task = waiting.pop(0)
            waiting[:0] = [each for part in _BLOCK for each in task.get(part) or ()]
            for asked in (task.get(f"ansible.builtin.{how}_role") for how in ("import", "include")):
                if asked and asked["name"] == "sre.rollback.release":
                    yield asked["tasks_from"]


@pytest.mark.parametrize(
    "path",
    [pytest.param(each, id=each.stem) for each in sorted(bundled_playbooks().rglob("*.yml"))],
)
def test_a_play_that_lost_a_host_ends_the_run(path: Path) -> None:
    """any_errors_fatal alone ends the play, and the next one runs on whoever is left."""
    plays = yaml.safe_load(path.read_text(encoding="utf-8"))
    whole = [play for play in plays if play.get("any_errors_fatal")]
    assert [play["name"] for play in whole if "max_fail_percentage" not in play] == []


def test_the_command_line_and_its_collection_have_one_version() -> None:
    assert require_same_version().count(".") == 2


def test_what_asks_for_protection_first_has_it_before_anything_is_looked_at() -> None:
    scenarios = [load(path.stem, path) for path in bundled_playbooks().glob("*.yml")]
    first = [each for each in scenarios if each.protects_first]

    assert {"emergency", "request_isolation", "security_breach"} <= {each.name for each in first}
    assert [each.name for each in first if each.phases[1].name != "Protect"] == []


@pytest.mark.parametrize(
    ("name", "beside"), [("backup-verify", True), ("full", False), ("gone-since", False)]
)
def test_only_what_locks_nothing_runs_beside_everything_else(name: str, beside: bool) -> None:
    assert runs_beside(name, [bundled_playbooks()]) is beside


_SWITCHING = """
- name: Declare
  hosts: all
  vars:
    rollback_scenario: {title: Mend the shop, level: "1", target_seconds: 60}
- name: Protect
  hosts: app
  %s
- name: Assess
  hosts: app
- name: Switch
  hosts: app
"""
_BY_THE_ROLE = """tasks:
    - ansible.builtin.import_role: {name: sre.rollback.protect, tasks_from: open}"""


def _looks_ahead(path: Path, *, asked: bool = False, **variables: Any) -> bool:
    return load("mend", path).looks_ahead(asked=asked, variables=variables)


def test_whoever_is_asked_is_told_first_what_was_found(tmp_path: Path) -> None:
    assert _looks_ahead(_write(tmp_path, "mend.yml", _SWITCHING % _BY_THE_ROLE), asked=True)


@pytest.mark.parametrize("name", ["application", "full", "gradual", "data-corruption"])
def test_unasked_a_scenario_assesses_once_where_nothing_is_protected_before(name: str) -> None:
    scenario = find(name, [bundled_playbooks()])

    assert not scenario.looks_ahead(asked=False, variables={"protect_breakers": []})
    assert scenario.looks_ahead(asked=True, variables={})


@pytest.mark.parametrize(
    "said", [{"protect_breakers": ["payment"]}, {"protect_flags": "{{ flags_of_the_shop }}"}]
)
def test_what_cannot_be_mended_is_refused_before_breakers_are_opened(said: dict[str, Any]) -> None:
    scenario = find("application", [bundled_playbooks()])

    assert scenario.looks_ahead(asked=False, variables=said)


@pytest.mark.parametrize(
    "play",
    [
        "tasks: [{ansible.builtin.command: /usr/local/bin/shed-load}]",
        f"{_BY_THE_ROLE}\n      vars: {{protect_breakers: [payment]}}",
        f"vars: {{protect_flags: {{checkout: off}}}}\n  {_BY_THE_ROLE}",
        f"pre_tasks: [{{ansible.builtin.command: shed-load}}]\n  {_BY_THE_ROLE}",
        "roles: [sre.rollback.protect]",
        f"tasks:\n    - block:\n{indent(_BY_THE_ROLE.partition('tasks:')[2][1:], '    ')}",
    ],
)
def test_a_protection_of_ones_own_is_taken_for_one_that_acts(tmp_path: Path, play: str) -> None:
    assert not _looks_ahead(_write(tmp_path, "role.yml", _SWITCHING % _BY_THE_ROLE))
    assert _looks_ahead(_write(tmp_path, "own.yml", _SWITCHING % play))


def test_emergency_looks_ahead_for_nobody() -> None:
    scenario = find("emergency", [bundled_playbooks()])

    assert not scenario.looks_ahead(asked=True, variables={"protect_breakers": ["payment"]})
