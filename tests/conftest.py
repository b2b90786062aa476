"""Real servers on loopback and a way to run one module, for every test."""

from __future__ import annotations

import os

# Nothing of the person's own Ansible configuration may reach a test.
os.environ["ANSIBLE_CONFIG"] = os.devnull

pytest_plugins = [
    "tests.real_servers",
    "tests.module_runner",
    "tests.redis_topologies",
    "tests.breaker_client",
    "tests.actuator",
]
