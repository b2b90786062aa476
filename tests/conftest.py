"""Real servers on loopback and a way to run one module, for every test."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["ANSIBLE_CONFIG"] = str(Path(__file__).with_name("ansible.cfg"))

pytest_plugins = [
    "tests.real_servers",
    "tests.module_runner",
    "tests.redis_topologies",
    "tests.breaker_client",
    "tests.actuator",
    "tests.pg_restoring",
]
