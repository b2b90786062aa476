"""Containers that refuse before they go, and neighbours that refuse in their place afterwards."""

from __future__ import annotations

import time

import pytest

from ansible_collections.sre.rollback.plugins.module_utils import _compose_drain as drain
from ansible_collections.sre.rollback.plugins.module_utils._compose_project import Project


class Neighbour:
    """The packet filter of one, as a list of its rules."""

    def __init__(self) -> None:
        self.rules: list[tuple[str, ...]] = []

    def add(self, *rule: str) -> None:
        self.rules.insert(0, rule)

    def remove(self, *rule: str) -> None:
        self.rules.remove(rule)

    def is_connected(self) -> bool:
        return True


@pytest.fixture
def neighbour(monkeypatch: pytest.MonkeyPatch) -> Neighbour:
    """The only one of the containers that go."""
    only = Neighbour()
    monkeypatch.setattr(drain, "_beside", lambda *_: (["172.18.0.3"], ["proxy"]))
    monkeypatch.setattr(drain, "_networks", lambda *_: [only])
    return only


@pytest.mark.parametrize("stopped", [True, False])
def test_neighbour_refuses_for_a_minute_at_most_and_then_only_for_as_long_as_was_asked(
    neighbour: Neighbour, *, stopped: bool
) -> None:
    class StopFailedError(Exception):
        pass

    try:
        with drain.refused_in_their_place(Project("/srv/shop"), ["old"], seconds=3):
            (meanwhile,) = neighbour.rules
            if not stopped:
                raise StopFailedError
    except StopFailedError:
        assert not stopped

    (afterwards,) = neighbour.rules
    ends = [rule[rule.index("--datestop") + 1] for rule in (afterwards, meanwhile)]
    assert ends == sorted(ends)
    assert ends[0] != ends[1]
    assert "172.18.0.3" in afterwards


def test_container_to_which_somebody_stays_connected_refuses_and_has_its_time(
    neighbour: Neighbour,
) -> None:
    began = time.monotonic()
    assert drain.refuse_new(Project("/srv/shop"), ["old"], seconds=0.3) == ""
    assert time.monotonic() >= began + 0.3
    assert [rule[0] for rule in neighbour.rules] == ["INPUT"]
