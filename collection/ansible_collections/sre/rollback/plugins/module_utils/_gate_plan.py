# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a module's parameters to the rules of a gate and its probes; refuses what cannot work.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._gate import (
    FAILED,
    INCONCLUSIVE,
    CheckRules,
    GateRefusedError,
    GateRules,
    refuse_unreachable,
)
from ansible_collections.sre.rollback.plugins.module_utils._gate_runner import ArmedProbe
from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Context,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.registry import KINDS

DEFAULT_DEADLINE = 300.0
_SHORTEST_PERIOD = 0.01
_LONGEST = 7 * 86400.0

Params = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Plan:
    """A gate that can be run."""

    rules: GateRules
    probes: tuple[ArmedProbe, ...]


def gate_argument_spec() -> dict[str, t.Any]:
    """The options of ``health_gate``."""
    return {
        "checks": {
            "type": "list",
            "elements": "dict",
            "required": True,
            "options": _check_options(),
            "mutually_exclusive": [sorted(KINDS)],
            "required_one_of": [sorted(KINDS)],
        },
        "require": {"type": "str", "default": "all"},
        "success_threshold": {"type": "int", "default": 3},
        "failure_threshold": {"type": "int", "default": 0},
        "period": {"type": "float", "default": 1.0},
        "timeout": {"type": "float", "default": 5.0},
        "deadline": {"type": "float"},
        "hold": {"type": "float", "default": 0.0},
        "concurrency": {"type": "int", "default": 100},
    }


def _check_options() -> dict[str, t.Any]:
    kinds = {
        kind.name: {"type": "dict", "options": kind.options(), **kind.constraints}
        for kind in KINDS.values()
    }
    return {
        "name": {"type": "str", "required": True},
        **kinds,
        "success_threshold": {"type": "int"},
        "failure_threshold": {"type": "int"},
        "period": {"type": "float"},
        "timeout": {"type": "float"},
        "deadline": {"type": "float"},
    }


def plan_gate(params: Params, *, started_epoch: float) -> Plan:
    """Read everything once. Raises GateRefusedError or ProbeRefusedError; probes nothing."""
    rules = read_rules(params)
    context = Context(started_epoch=started_epoch)
    probes = tuple(_arm(check, context) for check in params["checks"])
    return Plan(rules, probes)


def read_rules(params: Params) -> GateRules:
    """The rules alone. Raises GateRefusedError."""
    given = params["checks"]
    if not given:
        raise GateRefusedError("checks is empty: a gate without checks would prove nothing")
    _refuse_bad_names(given)
    checks = tuple(_check_rules(check, params) for check in given)
    hold = _seconds("hold", params["hold"], least=0)
    rules = GateRules(
        checks=checks,
        required=_required(params["require"], len(checks)),
        hold=hold,
        deadline=math.inf,
        concurrency=_count("concurrency", params["concurrency"], least=1),
    )
    rules = _with_deadline(rules, params.get("deadline"))
    refuse_unreachable(rules)
    return rules


def _with_deadline(rules: GateRules, given: float | None) -> GateRules:
    deadline = rules.worst_case if given is None else _seconds("deadline", given, above=0)
    return GateRules(rules.checks, rules.required, rules.hold, deadline, rules.concurrency)


def _refuse_bad_names(checks: t.Sequence[Params]) -> None:
    names = [check["name"] for check in checks]
    if not all(name.strip() for name in names):
        raise GateRefusedError("every check needs a name, one has an empty name")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise GateRefusedError(f"two checks have the same name: {', '.join(map(repr, twice))}")


def _check_rules(check: Params, params: Params) -> CheckRules:
    def own(option: str) -> t.Any:
        value = check.get(option)
        return params.get(option) if value is None else value

    deadline = own("deadline")
    try:
        return CheckRules(
            name=check["name"],
            kind=kind_of(check),
            success_threshold=_count("success_threshold", own("success_threshold"), least=1),
            failure_threshold=_count("failure_threshold", own("failure_threshold"), least=0),
            period=_seconds("period", own("period"), least=_SHORTEST_PERIOD),
            timeout=_seconds("timeout", own("timeout"), above=0),
            deadline=_seconds(
                "deadline", DEFAULT_DEADLINE if deadline is None else deadline, above=0
            ),
        )
    except GateRefusedError as exc:
        raise GateRefusedError(f"check {check['name']!r}: {exc}") from None


def kind_of(check: Params) -> str:
    """The one kind that the check has."""
    kinds = [kind for kind in KINDS if check.get(kind) is not None]
    if len(kinds) != 1:
        known = ", ".join(sorted(KINDS))
        raise GateRefusedError(f"needs exactly one kind of probe out of {known}")
    return kinds[0]


def _required(text: str, checks: int) -> int:
    wanted = text.strip().lower()
    if wanted in ("all", "any"):
        return checks if wanted == "all" else 1
    if not wanted.isdecimal() or not 1 <= int(wanted) <= checks:
        raise GateRefusedError(
            f"require must be all, any, or a number from 1 to {checks} (so many checks are there), "
            f"not {text!r}"
        )
    return int(wanted)


def _seconds(
    option: str, value: float, *, least: float = -math.inf, above: float = -math.inf
) -> float:
    if not (value >= least and value > above and value <= _LONGEST):
        bound = f"above {above:g}" if above > -math.inf else f"at least {least:g}"
        raise GateRefusedError(
            f"{option} must be {bound} and at most {_LONGEST:g} seconds, not {value:g}"
        )
    return float(value)


def _count(option: str, value: int, *, least: int) -> int:
    if not least <= value <= 1000:
        raise GateRefusedError(f"{option} must be from {least} to 1000, not {value}")
    return value


def _arm(check: Params, context: Context) -> ArmedProbe:
    kind = KINDS[kind_of(check)]
    try:
        probe = kind.prepare(check[kind.name], context)
    except ProbeRefusedError as exc:
        raise ProbeRefusedError(
            f"check {check['name']!r} ({kind.name}): {exc}", **exc.result
        ) from None
    return ArmedProbe(probe, INCONCLUSIVE if kind.instrument else FAILED)
