"""What an inventory says of the drills of its environment, and what it may not say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.drill.definition import Definition, definition_of
from rollback_playbook.errors import RefusedError, UsageError
from rollback_playbook.lab.certificates import issue

_SCENARIOS = ("application", "full", "gradual")
_URL = "https://staging.example/orders"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inventory").mkdir()
    for name in ("break", "mend"):
        (tmp_path / f"{name}.yml").write_text("[]")
    return tmp_path


def _definition(folder: Path, **variables: Any) -> Definition:
    faults = {"application": {"playbook": "../break.yml"}}
    said = {"drill_url": _URL, "drill_faults": faults, **variables}
    return definition_of("staging", str(folder / "inventory"), said, _SCENARIOS)


def test_fault_is_a_playbook_beside_the_inventory(folder: Path) -> None:
    found = _definition(folder)

    assert found.users.urls == (_URL,)
    assert (found.users.rate, found.users.timeout) == (25, 1)
    assert found.fault_for("application").playbook == folder / "break.yml"


def test_path_means_the_same_when_the_inventory_is_a_file_in_that_folder(folder: Path) -> None:
    file = folder / "inventory" / "hosts.yml"
    file.write_text("all: {}")
    said = {"drill_url": _URL, "drill_faults": {"full": {"playbook": "../break.yml"}}}

    found = definition_of("staging", str(file), said, _SCENARIOS)

    assert found.fault_for("full").playbook == folder / "break.yml"


def test_everything_that_can_be_said_is_taken(folder: Path) -> None:
    fault = {"playbook": "../break.yml", "mend": "../mend.yml", "variables": {"a": [1]}}
    found = _definition(
        folder,
        drill_url=[_URL, "http://127.0.0.1:80/"],
        drill_rate="2",
        drill_timeout=0.5,
        drill_faults={"gradual": fault, "application": {"playbook": str(folder / "break.yml")}},
    )

    assert found.users.urls == (_URL, "http://127.0.0.1:80/")
    assert (found.users.rate, found.users.timeout) == (2, 0.5)
    assert list(found.faults) == ["gradual", "application"]
    assert found.fault_for("gradual").mend == folder / "mend.yml"
    assert found.fault_for("gradual").variables == ('{"a": [1]}',)


def test_certificates_are_those_of_a_file_beside_the_inventory(folder: Path) -> None:
    issue(folder / "tls")

    found = _definition(folder, drill_ca_cert="../tls/ca.pem")

    assert found.users.ca_cert == str(folder / "tls" / "ca.pem")


@pytest.mark.parametrize("path", ["../nowhere.pem", "../break.yml", "bad\0name"])
def test_certificates_that_cannot_be_used_are_wrong_usage(folder: Path, path: str) -> None:
    with pytest.raises(UsageError, match="drill_ca_cert"):
        _definition(folder, drill_ca_cert=path)


@pytest.mark.parametrize("faults", [None, {}])
def test_environment_that_says_nothing_of_drills_is_not_broken(folder: Path, faults: Any) -> None:
    with pytest.raises(RefusedError, match="does not say how it may be broken"):
        _definition(folder, drill_faults=faults)


def test_scenario_without_a_fault_is_refused_with_those_that_have_one(folder: Path) -> None:
    with pytest.raises(RefusedError, match="no fault that full mends") as refused:
        _definition(folder).fault_for("full")

    assert "application" in refused.value.hint


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"drill_faults": ["application"]}, "a mapping of scenarios"),
        ({"drill_faults": {"fulll": {"playbook": "../break.yml"}}}, "no scenario: fulll"),
        ({"drill_faults": {"full": "../break.yml"}}, "a mapping that names a playbook"),
        ({"drill_faults": {"full": {}}}, "a mapping that names a playbook"),
        ({"drill_faults": {"full": {"playbook": "break.yml"}}}, "there is no playbook at"),
        ({"drill_faults": {"full": {"playbook": ".."}}}, "there is no playbook at"),
        (
            {"drill_faults": {"full": {"playbook": "../break.yml", "mend": "../no.yml"}}},
            "full.mend: there is no playbook",
        ),
        ({"drill_faults": {"full": {"playbook": "../break.yml", "heal": "x"}}}, "not heal"),
        (
            {"drill_faults": {"full": {"playbook": "../break.yml", "variables": "a=1"}}},
            "variables has to be a mapping",
        ),
        ({"drill_url": None}, "what users ask for"),
        ({"drill_url": []}, "what users ask for"),
        ({"drill_url": {"a": "b"}}, "has to be an address"),
        ({"drill_url": "ftp://staging.example/"}, "has to be an address"),
        ({"drill_url": "http:///orders"}, "has to be an address"),
        ({"drill_url": "http://[::1/"}, "has to be an address"),
        ({"drill_url": "http://{{ host }}/"}, "has to be an address"),
        ({"drill_url": [_URL, 7]}, "has to be an address"),
        ({"drill_rate": 0}, "drill_rate has to be a number above 0"),
        ({"drill_rate": "fast"}, "drill_rate has to be a number above 0"),
        ({"drill_rate": True}, "drill_rate has to be a number above 0"),
        ({"drill_rate": float("nan")}, "drill_rate has to be a number above 0"),
        ({"drill_timeout": -1}, "drill_timeout has to be a number above 0"),
        ({"drill_timeout": 1001}, "drill_timeout has to be a number above 0"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(
    folder: Path, variables: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        _definition(folder, **variables)
