"""The command of a container's own health check, from what the Engine says of the container."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._docker_health_check import (
    health_check_command,
)


@pytest.mark.parametrize(
    ("config", "command"),
    [
        pytest.param({}, (), id="none is defined"),
        pytest.param({"Healthcheck": None}, (), id="null"),
        pytest.param({"Healthcheck": {"Test": None}}, (), id="only an interval is defined"),
        pytest.param({"Healthcheck": {"Test": []}}, (), id="the image's, which has none"),
        pytest.param({"Healthcheck": {"Test": ["NONE"]}}, (), id="switched off"),
        pytest.param({"Healthcheck": {"Test": ["CMD", "a", "b c"]}}, ("a", "b c"), id="words"),
        pytest.param(
            {"Healthcheck": {"Test": ["CMD-SHELL", "a | b"]}},
            ("/bin/sh", "-c", "a | b"),
            id="for a shell",
        ),
        pytest.param(
            {"Healthcheck": {"Test": ["CMD-SHELL", "a"]}, "Shell": ["/bin/bash", "-ec"]},
            ("/bin/bash", "-ec", "a"),
            id="for the image's own shell",
        ),
    ],
)
def test_health_check_is_run_as_the_engine_runs_it(
    config: dict[str, Any], command: tuple[str, ...]
) -> None:
    assert health_check_command(config) == command
