"""The networks of containers, as the host sees them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pytest

from ansible_collections.sre.rollback.plugins.module_utils import _container_network
from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    ComposeError,
    Project,
)
from ansible_collections.sre.rollback.plugins.module_utils._container_network import networks_of

WEB, PROXY, LOOPING, AGENT = (letter * 64 for letter in "abcd")


@dataclass(frozen=True)
class Engine(Project):
    """One that describes four containers."""

    def run(self, *_arguments: str, **_: Any) -> str:
        return f"17 {WEB} shop\n18 {PROXY} shop\n0 {LOOPING} shop\n19 {AGENT} host\n"


@pytest.fixture(autouse=True)
def _engine_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)


def test_one_that_has_just_ended_and_one_on_the_network_of_the_host_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_container_network, "_require_own", lambda *_: None)
    found = networks_of(Engine("/srv/shop"), [WEB, PROXY, LOOPING, AGENT])
    assert [(each.pid, each.container) for each in found] == [("17", WEB), ("18", PROXY)]


def test_process_of_another_host_with_the_same_number_is_not_touched() -> None:
    @dataclass(frozen=True)
    class Elsewhere(Project):
        def run(self, *_arguments: str, **_: Any) -> str:
            return f"{os.getpid()} {WEB} shop\n"

    with pytest.raises(ComposeError, match="not to be seen from here"):
        networks_of(Elsewhere("/srv/shop"), [WEB])


def test_engine_of_another_host_is_refused_without_asking_it() -> None:
    with pytest.raises(ComposeError, match="on another host"):
        networks_of(Project("/srv/shop", docker_host="tcp://db1:2376"), [WEB])
