"""``drill SCENARIO -i staging``: an environment that is not the lab to the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.lab.mending import mend_lab
from tests.e2e.conftest import Operator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

_BREAKS = """\
- name: Somebody deploys
  hosts: {hosts}
  gather_facts: false
  tasks:
    - name: Release 1.1.0 runs without its migration
      ansible.builtin.command:
        argv: {argv}
      changed_when: true
"""

_TELLS = """\
    - name: It was played to its end
      ansible.builtin.lineinfile:
        path: {path}
        line: "{{{{ now(utc=true) }}}}"
        create: true
        mode: "0600"
"""


@dataclass(frozen=True)
class Staging:
    """An inventory of somebody's own, with a playbook that breaks what is in it."""

    operator: Operator
    folder: Path

    @property
    def inventory(self) -> Path:
        return self.folder / "inventories" / "staging"

    @property
    def release(self) -> str:
        return str(self.operator.health()["release"])

    def says(self, **variables: Any) -> None:
        path = self.inventory / "group_vars" / "all" / "drills.yml"
        fault = {"playbook": "../../deploys.yml", "mend": "../../mends.yml"}
        said = {"drill_url": self.url, "drill_faults": {"application": fault}, **variables}
        path.write_text(json.dumps(said))

    @property
    def url(self) -> str:
        return f"{self.operator.lab.state().url}/orders/1"

    def plays(self, name: str, *words: str, hosts: str = "app") -> None:
        argv = [sys.executable, "-m", "rollback_playbook", *words]
        (self.folder / name).write_text(_BREAKS.format(hosts=hosts, argv=json.dumps(argv)))

    def mended(self) -> int:
        """How often the playbook that mends was played to its end."""
        path = self.folder / "mended"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def drill(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return self.operator.types("drill", *argv, "-i", str(self.inventory))

    def log(self) -> list[dict[str, Any]]:
        shown = self.operator.types("drill", "history", "-i", "staging", "--json").stdout
        return [json.loads(line) for line in shown.splitlines()]


@pytest.fixture
def staging(working: Operator, tmp_path: Path) -> Iterator[Staging]:
    # Records of their own: a drill that leaves the place broken is in the way of the next one.
    place = Staging(replace(working, state_dir=tmp_path / "state"), tmp_path)
    shutil.copytree(working.lab.inventory, place.inventory)
    variables = place.inventory / "group_vars" / "all" / "rollback.yml"
    text = variables.read_text(encoding="utf-8")
    variables.write_text(text.replace("environment: lab", "environment: staging"))
    lab = ("--dir", str(working.lab.directory))
    place.plays("deploys.yml", "lab", "break", "--code-only", *lab)
    place.plays("mends.yml", "lab", "mend", *lab)
    with (tmp_path / "mends.yml").open("a", encoding="utf-8") as mends:
        mends.write(_TELLS.format(path=tmp_path / "mended"))
    place.says()
    yield place
    mend_lab(working.lab.directory)


@pytest.mark.parametrize(
    "scenarios",
    [
        # With every change it is drilled on Compose.
        pytest.param(["application"], id="one", marks=pytest.mark.drill),
        pytest.param(["emergency", "application"], id="two", marks=pytest.mark.drill),
    ],
)
def test_every_drill_of_an_environment_is_measured_written_down_and_scored(
    staging: Staging, scenarios: list[str]
) -> None:
    before = len(staging.log())
    fault = {"playbook": "../../deploys.yml", "mend": "../../mends.yml"}
    staging.says(drill_faults=dict.fromkeys(scenarios, fault))

    done = staging.drill("--all")

    assert done.returncode == 0, done.stderr
    assert "✓ users are served again" in done.stderr
    assert "scorecard" in done.stdout
    assert done.stdout.count("healthy, in time") == len(scenarios)
    assert staging.mended() == len(scenarios)
    drills = {each["scenario"]: each for each in staging.log()[before:]}
    assert [*drills] == scenarios
    drill = drills["application"]
    assert (drill["scenario"], drill["environment"], drill["exit_code"]) == (
        "application", "staging", 0,
    )  # fmt: skip
    assert (drill["release_from"], drill["release_to"]) == ("1.1.0", "1.0.0")
    assert drill["failed_requests"] > 0
    assert {"Assess", "Switch", "Verify"} <= set(drill["phases"])
    assert drill["seconds"] < drill["target_seconds"]
    summary = staging.operator.last()
    assert (summary["kind"], summary["id"]) == ("drill", drill["incident"])
    plan = staging.operator.types(
        "plan", "application", "--no-assess", "-i", str(staging.inventory)
    ).stdout
    assert "on staging, version" in plan


@pytest.mark.drill
def test_scenario_that_leaves_users_with_the_fault_is_a_failed_drill_and_is_left_as_it_is(
    staging: Staging,
) -> None:
    # Users who get the maintenance answer are not served, however well that scenario ended.
    (staging.folder / "closes.yml").write_text(
        _BREAKS.format(hosts="app", argv=json.dumps(["/bin/true"]))
    )
    staging.says(
        drill_faults={"traffic-pause": {"playbook": "../../closes.yml", "mend": "../../mends.yml"}}
    )

    done = staging.drill("traffic-pause")

    assert done.returncode == 5, done.stderr
    assert "so they do not feel it" in done.stderr
    assert "✗ users still fail: " in done.stderr
    assert "not mended, so that it can be looked at" in done.stderr
    assert staging.mended() == 0
    assert staging.log()[-1]["exit_code"] == 5
    resumed = staging.operator.types("traffic-resume", "-i", "lab")
    assert resumed.returncode == 0, resumed.stderr


@pytest.mark.parametrize(
    ("variables", "code", "words"),
    [
        pytest.param(
            {"rollback_protected": True}, 3, "is protected, and a drill breaks", id="protected"
        ),
        pytest.param(
            {"drill_url": "http://127.0.0.1:9/"}, 3, "is not well before anything was broken",
            id="users not served", marks=pytest.mark.drill,
        ),
        pytest.param({"drill_faults": {}}, 3, "does not say how it may be broken", id="no fault"),
        pytest.param({"drill_rate": -1}, 2, "above 0", id="wrong rate"),
    ],
)  # fmt: skip
def test_environment_that_may_not_be_broken_is_left_alone(
    staging: Staging, variables: dict[str, Any], code: int, words: str
) -> None:
    # Variables of the file that is read last count.
    staging.says(**variables)
    (staging.inventory / "group_vars" / "all" / "zz.yml").write_text(json.dumps(variables))

    done = staging.drill("application")

    assert (done.returncode, staging.release) == (code, "1.0.0"), done.stderr
    assert words in done.stderr


def test_fault_that_reaches_nobody_begins_no_rollback(staging: Staging) -> None:
    staging.plays("deploys.yml", "lab", "break", hosts="nobody")

    done = staging.drill("application")

    assert done.returncode == 3, done.stderr
    assert "reached no host of staging; nothing was broken" in done.stderr
    assert staging.operator.last()["scenario"] == "mark-good"


@pytest.mark.drill
def test_fault_that_could_not_be_caused_is_told_with_what_to_do(staging: Staging) -> None:
    staging.plays("deploys.yml", "lab", "break", "--fault", "no-such-fault")

    done = staging.drill("application")

    assert done.returncode == 4, done.stderr
    assert "there is no fault named 'no-such-fault'" in done.stderr
    assert "may be broken in part" in done.stderr


@pytest.mark.parametrize("option", [["--scale", "0.1"], ["--staged"], ["--dir", "/nowhere"]])
def test_options_of_the_lab_are_wrong_usage_elsewhere(staging: Staging, option: list[str]) -> None:
    done = staging.drill("application", *option)

    assert done.returncode == 2, done.stderr
    assert "of the lab" in done.stderr
