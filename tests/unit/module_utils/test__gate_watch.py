"""A gate that is watched: it says each turn of a check once, and never fails for the watcher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.sre.rollback.plugins.module_utils._gate import FAILED, PASSED, Gate
from ansible_collections.sre.rollback.plugins.module_utils._gate import Observation as Seen
from ansible_collections.sre.rollback.plugins.module_utils._gate_watch import (
    VARIABLE,
    GateWatch,
    watch_from,
)
from tests.unit.module_utils.test__gate import check_rules, gate_rules


def _gate() -> Gate:
    return Gate(gate_rules(check_rules("db", success_threshold=1), check_rules("shop")))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_turn_of_a_check_is_said_once(tmp_path: Path) -> None:
    path, gate = tmp_path / "gate.jsonl", _gate()
    look = watch_from({VARIABLE: str(path)})

    look(gate, 0.0)
    for second in (1.0, 2.0, 3.0):
        gate.observe(0, Seen(second, PASSED))
        gate.observe(1, Seen(second, FAILED, reason="password c4nary was refused"))
        look(gate, second)

    said = [{each["name"]: each["state"] for each in line["checks"]} for line in _lines(path)]
    assert said == [
        {"db": "waiting", "shop": "waiting"},
        {"db": "passed", "shop": "failed"},
    ]
    assert path.stat().st_mode & 0o777 == 0o600
    assert "c4nary" not in path.read_text(encoding="utf-8")


def test_check_that_flickers_fills_no_disk(tmp_path: Path) -> None:
    path, gate = tmp_path / "gate.jsonl", _gate()
    watch = GateWatch(str(path))

    for number in range(1000):
        gate.observe(0, Seen(number / 1000, FAILED if number % 2 else PASSED))
        watch.look(gate, number / 1000)

    assert 1 < len(_lines(path)) <= 6


def test_gate_goes_on_where_nothing_can_be_written(tmp_path: Path) -> None:
    watch_from({VARIABLE: str(tmp_path / "none" / "gate.jsonl")})(_gate(), 0.0)
    watch_from({})(_gate(), 0.0)

    assert list(tmp_path.iterdir()) == []
