"""Connections to containers that cannot answer, led to those that can."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from ansible_collections.sre.rollback.plugins.module_utils import _compose_detour as detours
from ansible_collections.sre.rollback.plugins.module_utils._compose_detour import (
    Detour,
    Lead,
    end_detours,
)
from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    ComposeError,
    Project,
)

OLD, NEW, PROXY, OTHER = (letter * 64 for letter in "abcd")
FRONT, BACK = "front", "back"
Networks = dict[str, dict[str, str]]
TWO_NETWORKS: Networks = {
    FRONT: {OLD: "172.18.0.3", NEW: "172.18.0.5", PROXY: "172.18.0.2"},
    BACK: {OLD: "172.19.0.3", NEW: "172.19.0.5", OTHER: "172.19.0.2"},
}


@dataclass(frozen=True)
class Engine(Project):
    """One that knows these networks."""

    networks: Networks = field(default_factory=dict, hash=False)
    driver: str = "bridge"
    ipv6: bool = False

    def run(self, *arguments: str, **_: Any) -> str:
        if arguments[:2] == ("network", "inspect"):
            return json.dumps([self._described(each) for each in arguments[2:]])
        assert arguments[:3] == ("inspect", "--type", "container")
        return json.dumps(
            [
                {
                    "NetworkSettings": {
                        "Networks": {net: {"NetworkID": net} for net in self._of(one)}
                    }
                }
                for one in arguments[3:]
            ]
        )

    def _of(self, container: str) -> list[str]:
        return [net for net, ends in self.networks.items() if container in ends]

    def _described(self, network: str) -> dict[str, Any]:
        ends = {one: {"IPv4Address": f"{ip}/16"} for one, ip in self.networks[network].items()}
        # What the Engine has there for itself has no id of a container.
        ends["lb-shop"] = {"IPv4Address": "172.18.0.9/16"}
        return {
            "Id": network, "Name": network, "Driver": self.driver, "EnableIPv6": self.ipv6,
            "Containers": ends,
        }  # fmt: skip


@dataclass(eq=False)
class Filter:
    """The packet filter of one container."""

    container: str
    rules: list[str] = field(default_factory=list)
    says: str = ""
    there: bool = True

    def change(self, table: str, *, insert: Sequence[str] = (), delete: Sequence[str]) -> None:
        assert table == "nat"
        if self.says:
            raise ComposeError(self.says)
        assert set(delete) <= set(self.rules), "it would change nothing at all"
        self.rules = [*insert, *(each for each in self.rules if each not in delete)]

    def ours(self, _table: str, _chain: str) -> list[str]:
        return list(self.rules)

    def is_there(self) -> bool:
        return self.there

    def led(self) -> list[tuple[str, str]]:
        """From where to where."""
        found = (re.fullmatch(r"OUTPUT -d (\S+) .* (\S+)", each) for each in self.rules)
        return sorted((each[1], each[2]) for each in found if each)

    def ends(self) -> set[str]:
        return {end for rule in self.rules for end in re.findall(r"--datestop (\S+)", rule)}


Filters = dict[str, Filter]


@pytest.fixture
def filters(monkeypatch: pytest.MonkeyPatch) -> Filters:
    found = {each: Filter(each) for each in (OLD, NEW, PROXY, OTHER)}
    monkeypatch.setattr(
        detours, "networks_of", lambda _, containers: [found[each] for each in containers]
    )
    return found


def engine(networks: Networks = TWO_NETWORKS, **more: Any) -> Engine:
    return Engine("/srv/shop", networks=networks, **more)


def test_everybody_around_is_led_on_each_network_but_containers_of_the_service_itself(
    filters: Filters,
) -> None:
    with Detour(engine(), [OLD, NEW], seconds=0) as detour:
        detour.lead(Lead([OLD], [NEW]))
        both = [("172.18.0.3", "172.18.0.5"), ("172.19.0.3", "172.19.0.5")]
        assert {each: one.led() for each, one in filters.items()} == {
            OLD: [], NEW: [], PROXY: both, OTHER: both,
        }  # fmt: skip
        assert detour.gap == ""


def test_what_was_said_last_holds_alone(filters: Filters) -> None:
    with Detour(engine(), [OLD, NEW], seconds=0) as detour:
        detour.lead(Lead([NEW], [OLD]))
        detour.lead(Lead([OLD], [NEW]))
        assert filters[PROXY].led() == [("172.18.0.3", "172.18.0.5"), ("172.19.0.3", "172.19.0.5")]
        detour.lead()
        assert filters[PROXY].led() == []


def test_containers_are_shared_among_those_that_answer_instead(filters: Filters) -> None:
    one_network = {FRONT: {**dict.fromkeys((PROXY,), "172.18.0.2")}}
    more = [letter * 64 for letter in "1234"]
    for number, each in enumerate(more):
        one_network[FRONT][each] = f"172.18.0.1{number}"
        filters[each] = Filter(each)
    with Detour(engine(one_network), more, seconds=0) as detour:
        detour.lead(Lead(more[:3], more[3:]))
        assert [target for _, target in filters[PROXY].led()] == ["172.18.0.13"] * 3
        detour.lead(Lead(more[:2], more[2:]))
        assert [target for _, target in filters[PROXY].led()] == ["172.18.0.12", "172.18.0.13"]


def test_nobody_is_led_to_where_there_is_nobody(filters: Filters) -> None:
    apart = {FRONT: {OLD: "172.18.0.3", PROXY: "172.18.0.2"}, BACK: {NEW: "172.19.0.5"}}
    with Detour(engine(apart), [OLD, NEW], seconds=0) as detour:
        detour.lead(Lead([OLD], [NEW]), Lead([OLD], []))
        assert not any(each.rules for each in filters.values())


def test_rules_are_renewed_while_it_lasts_and_end_by_themselves_afterwards(
    filters: Filters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detours, "_RENEW_SECONDS", 0.05)
    monkeypatch.setattr(detours, "_HOLD_SECONDS", 20.0)
    with Detour(engine(), [OLD, NEW], seconds=2) as detour:
        detour.lead(Lead([OLD], [NEW]))
        first = filters[PROXY].ends()
        deadline = time.monotonic() + 10
        while filters[PROXY].ends() == first and time.monotonic() < deadline:
            time.sleep(0.02)
        assert max(filters[PROXY].ends()) > max(first)
        assert len(filters[PROXY].rules) == 2
    left = filters[PROXY]
    assert len(left.rules) == 2
    assert max(left.ends()) < max(first)
    assert not [each for each in threading.enumerate() if "_renew" in each.name]


def test_one_that_has_ended_meanwhile_asks_nobody(filters: Filters) -> None:
    filters[OTHER] = Filter(OTHER, says="nsenter: no such file", there=False)
    with Detour(engine(), [OLD, NEW], seconds=0) as detour:
        detour.lead(Lead([OLD], [NEW]))
        assert detour.gap == ""
        assert filters[PROXY].led()


def test_one_that_cannot_be_led_is_a_gap_and_the_others_are_led(filters: Filters) -> None:
    filters[OTHER] = Filter(OTHER, says="iptables-restore: no table nat")
    with Detour(engine(), [OLD, NEW], seconds=0) as detour:
        detour.lead(Lead([OLD], [NEW]))
        assert detour.gap == "iptables-restore: no table nat"
        assert filters[PROXY].led()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"driver": "macvlan"}, "network front reaches further than this host (macvlan)"),
        ({"ipv6": True}, "network front has IPv6 addresses, too"),
    ],
)
@pytest.mark.usefixtures("filters")
def test_those_who_may_ask_and_are_not_led_are_a_gap(more: dict[str, Any], says: str) -> None:
    with Detour(engine(**more), [OLD, NEW], seconds=0) as detour:
        assert detour.gap == says


def test_where_containers_are_out_of_reach_nothing_is_done_and_it_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def out_of_reach(*_: object) -> list[Filter]:
        raise ComposeError("the Engine is on another host")

    monkeypatch.setattr(detours, "networks_of", out_of_reach)
    with Detour(engine(), [OLD, NEW], seconds=0) as detour:
        detour.lead(Lead([OLD], [NEW]))
        assert detour.gap == "the Engine is on another host"
    end_detours(engine(), [OLD])


@pytest.mark.parametrize(
    ("address", "seconds", "is_waited_for"),
    [
        pytest.param("172.18.0.44", 2, True, id="nobody has the address any more"),
        pytest.param("172.18.0.44", -60, False, id="it has ended"),
        pytest.param("172.18.0.5", 2, False, id="a container has the address"),
    ],
)
def test_rule_that_was_left_is_removed_and_waited_for_while_it_is_needed(
    filters: Filters,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    seconds: int,
    *,
    is_waited_for: bool,
) -> None:
    end = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + seconds))
    rule = f"OUTPUT -d {address}/32 -p tcp -m time --datestop {end} -j DNAT --to 172.18.0.5"
    filters[PROXY].rules = [rule]
    slept: list[float] = []
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda each: (slept.append(each), sleep(each)))
    end_detours(engine(), [OLD, NEW])
    assert filters[PROXY].rules == []
    assert bool(slept) == is_waited_for
