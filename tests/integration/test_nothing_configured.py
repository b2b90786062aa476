"""A scenario for which the inventory names nothing is refused before anything is changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.role_runner import run_playbook

pytestmark = pytest.mark.integration

_GROUPS = ("app", "database", "cache", "proxy")
_FILES: dict[str, Any] = {"configuration_paths": ["/nowhere/shop.conf"]}
_SERVICES: dict[str, Any] = {"services_names": ["shop"]}


class Environment:
    """One host for each group, of which the inventory says nothing but what a test adds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "releases" / "1.0.0").mkdir(parents=True)
        (folder / "current").symlink_to("releases/1.0.0")
        self.variables: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "rollback_environment": "empty",
            "rollback_protected": False,
            "rollback_restore_points": str(folder / "restore-points"),
            "incident_lock_path": str(folder / "locks"),
            "release_root": str(folder),
            "cache_mode": "none",
            "traffic_provider": "none",
            "verify_checks": [{"name": "the disk is there", "command": {"argv": ["true"]}}],
            "verify_period": 0.1,
            "verify_hold": 0.1,
        }
        self.of_group: dict[str, dict[str, Any]] = {}

    def inventory(self) -> dict[str, Any]:
        return {
            "all": {
                "vars": self.variables,
                "children": {
                    name: {"hosts": {f"{name}1": {}}, "vars": self.of_group.get(name, {})}
                    for name in _GROUPS
                },
            }
        }

    def types(self, *argv: str) -> tuple[int, str]:
        """``rollback-playbook ARGV``: its exit code, and what it said in one line."""
        path = self.folder / "hosts.json"
        path.write_text(json.dumps(self.inventory()), encoding="ascii")
        done = subprocess.run(
            [sys.executable, "-m", "rollback_playbook", *argv, "-i", str(path)],
            env={**os.environ, "ROLLBACK_PLAYBOOK_STATE_DIR": str(self.folder / "state")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, " ".join(done.stderr.split())


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


@pytest.mark.parametrize(
    ("scenario", "said", "missing"),
    [
        ("configuration", {}, "configuration_paths names nothing on app1, proxy1"),
        ("configuration", {"database": _FILES}, "configuration_paths names nothing on app1"),
        ("tls-certificates", {"proxy": _FILES}, "configuration_certificates names nothing on"),
        ("infrastructure", {"app": _FILES}, "configuration_paths names nothing on database1"),
        ("application-config", {}, "Without any configuration it is the scenario application."),
        ("application-config", {"app": _FILES}, "say so: configuration_services: []"),
        ("complete-failure", {}, "services_names names no service on proxy1, app1"),
        ("complete-failure", {"app": _SERVICES}, "Name their checks in services_checks"),
        ("infrastructure", {"cache": _SERVICES, "proxy": _FILES}, "shop on cache1: nothing says"),
    ],
)
def test_scenario_for_which_nothing_is_named_is_refused_and_says_what_to_name(
    environment: Environment, scenario: str, said: dict[str, dict[str, Any]], missing: str
) -> None:
    environment.of_group = said
    options = ["--to", "1.0.0"] if scenario == "application-config" else []

    code, stderr = environment.types(scenario, *options)

    assert code == 3, stderr
    assert missing in stderr
    assert "nothing was changed" in stderr


_PAYMENTS = "payment_failure_breakers names no breaker"
_KEPT_OUT = "traffic_provider is none"


@pytest.mark.parametrize(
    ("scenario", "said", "missing"),
    [
        ("traffic-pause", {}, _KEPT_OUT),
        ("traffic-resume", {}, _KEPT_OUT),
        ("request-isolation", {}, f"{_KEPT_OUT}, so there is nothing that this scenario could do."),
        ("cache-flush", {}, "cache_mode is none"),
        ("payment-failure", {"payment_failure_breakers": []}, _PAYMENTS),
        ("feature-flags", {"feature_flags_safe": {}}, "feature_flags_safe names no flag"),
        ("performance-regression", {"performance_regression_flags": {}}, "flags names no flag"),
        ("breaker-recovery", {}, "protect_breakers and payment_failure_breakers name no breaker"),
    ],
)
def test_scenario_that_would_do_nothing_does_not_end_as_if_it_had_done_it(
    environment: Environment, scenario: str, said: dict[str, Any], missing: str
) -> None:
    environment.variables |= said

    code, stderr = environment.types(scenario)

    assert code == 3, stderr
    assert missing in stderr
    assert "nothing was changed" in stderr.lower()
    # So that what is advised instead can be typed at once.
    assert "stays locked" not in stderr


_BREACH = """
- name: Declare
  ansible.builtin.import_playbook: sre.rollback.security_breach
  vars: {release_version: 1.0.0, database_backup: shop-1, incident_id: inc-1}
"""
_SECRETS = "which secrets are replaced (secrets_rotated)"
_PASSWORDS = "how users are made to choose new passwords (secrets_reset_sql)"


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        ({}, {_SECRETS, _PASSWORDS}),
        ({"secrets_reset_sql": "SELECT 1"}, {_SECRETS}),
        ({"secrets_rotated": []}, {_PASSWORDS}),
        ({"secrets_rotated": [], "secrets_reset_sql": ""}, set()),
    ],
)
def test_breach_wants_to_be_told_that_there_is_no_secret_to_replace(
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
    said: dict[str, Any],
    missing: set[str],
) -> None:
    monkeypatch.setenv("ANSIBLE_RUN_TAGS", "Assess")
    environment.variables |= {"database_name": "shop", "database_login_port": 1, **said}

    done = run_playbook(environment.folder, _BREACH, environment.inventory())

    asked = " ".join(done.stdout.split() + done.stderr.split())
    assert {each for each in (_SECRETS, _PASSWORDS) if each in asked} == missing
    assert ("cannot connect to database 'shop'" in asked) is (missing == set()), asked


@pytest.mark.parametrize(("said", "goes_on"), [({}, False), ({"services_names": []}, True)])
def test_breach_wants_to_be_told_before_anything_is_closed_that_there_is_no_service_to_stop(
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
    said: dict[str, Any],
    *,
    goes_on: bool,
) -> None:
    monkeypatch.setenv("ANSIBLE_RUN_TAGS", "Declare")
    environment.variables |= {"incident_operator": "ada", "incident_reason": "a stranger", **said}

    done = run_playbook(environment.folder, _BREACH, environment.inventory())

    text = " ".join(done.stdout.split())
    assert ("PLAY [Protect]" in text) is goes_on, text
    assert ("say so: services_names: []. Nothing was changed." in text) is not goes_on


_GATED = """
- name: Switch
  hosts: app
  gather_facts: false
  tasks:
    - name: Services run and answer
      ansible.builtin.include_role: {name: sre.rollback.services, tasks_from: gated}
"""


@pytest.mark.parametrize(("names", "ends"), [([], True), (["shop"], False)])
def test_services_without_checks_are_never_taken_for_services_that_answer(
    tmp_path: Path, names: list[str], *, ends: bool
) -> None:
    control = tmp_path / "supervisorctl"
    control.write_text("#!/bin/sh\necho shop RUNNING pid 1, uptime 0:00:01\n", encoding="ascii")
    control.chmod(0o755)
    (tmp_path / "supervisord.conf").touch()
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "services_names": names,
        "services_supervisor_bin": str(control),
        "services_supervisor_config": str(tmp_path / "supervisord.conf"),
    }

    done = run_playbook(
        tmp_path, _GATED, {"all": {"vars": variables}, "app": {"hosts": {"app1": {}}}}
    )

    assert (done.returncode == 0) is ends, done.stdout + done.stderr
    assert ("Services answer: shop" in done.stdout) is not ends
