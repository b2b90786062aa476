"""Containers that refuse before they go."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ansible_collections.sre.rollback.plugins.module_utils import _compose_drain as drain
from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    ComposeError,
    Project,
)

SHOP = Project("/srv/shop")


class Connected:
    """The network of a container to which somebody stays connected."""

    def __init__(self, ours: list[str] | None = None) -> None:
        self.rules = ours or []

    def change(self, _table: str, *, insert: Any = (), delete: Any = ()) -> None:
        self.rules = [*insert, *(each for each in self.rules if each not in delete)]

    def ours(self, _table: str, _chain: str) -> list[str]:
        return self.rules

    def is_connected(self) -> bool:
        return True


class Gone(Connected):
    def ours(self, _table: str, _chain: str) -> list[str]:
        raise ComposeError("nsenter: cannot open /proc/17/ns/net")


def test_container_to_which_somebody_stays_connected_refuses_and_has_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only = Connected()
    monkeypatch.setattr(drain, "networks_of", lambda *_: [only])
    began = time.monotonic()
    assert drain.refuse_new(SHOP, ["old"], seconds=0.3) == ""
    assert time.monotonic() >= began + 0.3
    (rule,) = only.rules
    assert rule.startswith("INPUT ! -i lo ")


def test_container_in_the_network_of_another_does_not_refuse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only = Connected()
    monkeypatch.setattr(drain, "networks_of", lambda *_: [only])
    why = drain.refuse_new(SHOP, ["old", "in another's network"], seconds=0)
    assert "or shares its network" in why
    assert only.rules == []


def test_one_that_is_out_of_reach_keeps_no_other_from_accepting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = Connected(["INPUT -j REJECT"])
    monkeypatch.setattr(drain, "networks_of", lambda *_: [Gone(), there])
    drain.accept_new(SHOP, ["gone", "there"])
    assert there.rules == []
