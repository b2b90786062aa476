"""Real servers on loopback and a way to run one module, for every test."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ["ANSIBLE_CONFIG"] = str(Path(__file__).with_name("ansible.cfg"))

# On a machine that is busy elsewhere, how long an example took says nothing about it.
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")

# A job in the background of a shell ignores SIGINT, and so would every server that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = [
    "tests.real_servers",
    "tests.module_runner",
    "tests.redis_topologies",
    "tests.breaker_client",
    "tests.actuator",
    "tests.pg_restoring",
    "tests.pg_two_contents",
    "tests.proxies",
    "tests.unleash",
    "tests.module_places",
    "tests.configuration_site",
    "tests.work_tree",
]

#: Folders whose files take minutes come first: at the end, one process would wait for the other.
_LONGEST_FIRST = ("e2e", "compose", "integration", "unit")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files; tests of one file stay as they are."""
    places = {name: place for place, name in enumerate(_LONGEST_FIRST)}
    here = Path(__file__).parent
    items.sort(key=lambda item: places.get(item.path.relative_to(here).parts[0], len(places)))
