"""The lab's faults and the scenarios that mend them name each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollback_playbook.catalogue.collection import bundled_playbooks
from rollback_playbook.catalogue.scenarios import scenario_files
from rollback_playbook.errors import UsageError
from rollback_playbook.lab.breaking import fault_for, fault_named
from rollback_playbook.lab.certificates import issue
from rollback_playbook.lab.faults import FAULTS


def test_every_fault_is_mended_by_a_scenario_that_there_is() -> None:
    bundled = scenario_files([bundled_playbooks()])

    assert {name for fault in FAULTS for name in fault.scenarios} <= set(bundled)


def test_every_fault_has_a_name_of_its_own_and_no_scenario_has_two() -> None:
    scenarios = [name for fault in FAULTS for name in fault.scenarios]

    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert len(set(scenarios)) == len(scenarios)


def test_the_fault_of_a_scenario_is_found_by_either_name() -> None:
    assert fault_for("websocket") is fault_named("stale-websockets")


def test_an_unknown_fault_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(UsageError, match="no fault named 'fire'") as caught:
        fault_named("fire")

    assert "bad-release" in caught.value.hint


def test_a_scenario_without_a_fault_cannot_be_drilled_and_says_which_can() -> None:
    with pytest.raises(UsageError, match="no fault that backup mends") as caught:
        fault_for("backup")

    assert "websocket" in caught.value.hint


def test_certificate_that_is_issued_anew_within_a_second_is_seen_by_a_proxy_that_reloads(
    tmp_path: Path,
) -> None:
    """nginx goes on with what it has of a file that is still the same and has the same time."""
    files = [tmp_path / "tls" / name for name in ("shop.pem", "shop.key")]
    issue(tmp_path / "tls")
    before = [file.stat().st_ino for file in files]

    issue(tmp_path / "tls", days_left=-1)

    assert all(file.stat().st_ino != inode for file, inode in zip(files, before, strict=True))
    assert [file.stat().st_mode & 0o777 for file in files] == [0o644, 0o600]
