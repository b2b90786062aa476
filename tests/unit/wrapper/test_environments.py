"""What ``-i`` means."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollback_playbook.catalogue.environments import resolve
from rollback_playbook.errors import UsageError


@pytest.fixture
def inventories(tmp_path: Path) -> Path:
    for name in ("prod", "staging"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "hosts.yml").write_text("all: {}\n", encoding="utf-8")
    return tmp_path


def test_a_name_is_looked_up_in_the_search_path_in_its_order(
    inventories: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    second = tmp_path_factory.mktemp("second")
    (second / "prod").mkdir()
    (second / "lab").mkdir()

    assert resolve("prod", [inventories, second]).inventory == str(inventories / "prod")
    assert resolve("lab", [inventories, second]).inventory == str(second / "lab")


def test_a_path_is_taken_as_it_is_and_named_after_its_folder(inventories: Path) -> None:
    environment = resolve(str(inventories / "prod" / "hosts.yml"), [])

    assert environment.name == "prod"
    assert environment.inventory == str(inventories / "prod" / "hosts.yml")


def test_a_list_of_hosts_is_passed_to_ansible(inventories: Path) -> None:
    assert resolve("web1,web2,", [inventories]).inventory == "web1,web2,"


def test_an_unknown_name_is_refused_with_the_nearest_one(inventories: Path) -> None:
    with pytest.raises(UsageError, match="no environment named 'prd'") as caught:
        resolve("prd", [inventories])

    assert caught.value.hint == "did you mean prod?"


def test_the_lab_that_is_not_up_is_named_as_such(inventories: Path) -> None:
    with pytest.raises(UsageError) as caught:
        resolve("lab", [inventories])

    assert "rollback-playbook lab up" in caught.value.hint


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no inventory at"):
        resolve(str(tmp_path / "nowhere"), [])
