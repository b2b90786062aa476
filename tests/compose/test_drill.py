"""``drill SCENARIO -i ENV`` on somebody's Compose project: broken as its owner breaks it."""

from __future__ import annotations

import json

import pytest

from tests.compose.conftest import MakeEnvironment
from tests.compose.stack import Stack

pytestmark = pytest.mark.compose

_DEPLOYS = """\
- name: Release 2.1.0 is deployed, whose orders fail
  hosts: app
  gather_facts: false
  tasks:
    - name: Version is written down
      ansible.builtin.lineinfile:
        path: {folder}/.env
        regexp: ^WEB=
        line: WEB=2.1.0
    - name: Project is up
      ansible.builtin.command:
        argv: [docker, compose, --project-directory, {folder}, up, --detach]
      changed_when: true
"""


def test_drill_on_a_compose_project_is_measured_and_written_down(
    stack: Stack, environment: MakeEnvironment
) -> None:
    shop = environment(
        stack,
        release_services=["web"],
        drill_url=f"http://127.0.0.1:{stack.port}/orders",
        drill_faults={"application": {"playbook": "../deploys.yml"}},
    )
    (shop.folder / "deploys.yml").write_text(_DEPLOYS.format(folder=stack.folder))

    done = shop.run("drill", "application")

    assert done.code == 0, done.output
    assert "✓ users are served again" in done.output
    assert stack.get() == (200, "1.0.0")
    assert stack.images("web") == {"shop/web:1.0.0"}
    written = (shop.folder / "state" / "drills.jsonl").read_text().splitlines()
    begun, drill = map(json.loads, written)
    assert begun["begun"]["id"] == drill["drill"]
    assert (drill["scenario"], drill["environment"]) == ("application", "shop-prod")
    assert (drill["release_from"], drill["release_to"]) == ("2.1.0", "1.0.0")
    assert drill["failed_requests"] > 0
