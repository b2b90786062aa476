"""What the catalogue makes of a folder of playbooks."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rollback_playbook.catalogue.collection import bundled_playbooks, require_same_version
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


@pytest.mark.parametrize("path", sorted(bundled_playbooks().glob("*.yml")), ids=lambda p: p.stem)
def test_a_bundled_scenario_that_switches_also_verifies_and_lets_users_in_again(path: Path) -> None:
    scenario = load(path.stem, path)

    if scenario.has("Switch"):
        assert scenario.has("Verify")
        # A breach keeps users out from Protect on; nothing else in Protect does.
        keeps_out = scenario.has("Pause") or path.stem == "security_breach"
        assert scenario.has("Resume") is keeps_out
        assert scenario.has("Confirm") or not keeps_out


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


@pytest.mark.parametrize(
    ("name", "beside"), [("backup-verify", True), ("full", False), ("gone-since", False)]
)
def test_only_what_locks_nothing_runs_beside_everything_else(name: str, beside: bool) -> None:
    assert runs_beside(name, [bundled_playbooks()]) is beside
