"""Real servers on loopback and a way to run one module, for every test."""

from __future__ import annotations

import os
import signal
from pathlib import Path

os.environ["ANSIBLE_CONFIG"] = str(Path(__file__).with_name("ansible.cfg"))

# A job in the background of a shell ignores SIGINT, and so would every server that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = [
    "tests.real_servers",
    "tests.module_runner",
    "tests.redis_topologies",
    "tests.breaker_client",
    "tests.actuator",
    "tests.pg_restoring",
    "tests.proxies",
]
