# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe kind ``load``: a small closed-loop load, and how well it was answered.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import collections
import math
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Context,
    Kind,
    Leash,
    Options,
    Probe,
    ProbeFailedError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.crowd import run_all
from ansible_collections.sre.rollback.plugins.module_utils._probes.http_client import (
    METHODS,
    Request,
    fetch,
    prepare_request,
    read_statuses,
    request_options,
    require_status,
)

_MOST_REQUESTS = 100_000
_MOST_AT_ONCE = 100


def _options() -> dict[str, t.Any]:
    return {
        **request_options(),
        "method": {"type": "str", "default": "GET", "choices": list(METHODS)},
        "body": {"type": "raw"},
        "status": {"type": "list", "elements": "int", "default": [200]},
        "requests": {"type": "int", "default": 50},
        "at_once": {"type": "int", "default": 5},
        "request_timeout": {"type": "float", "default": 5.0},
        "min_success": {"type": "float", "default": 0.95},
        "max_mean": {"type": "float"},
        "max_p95": {"type": "float"},
    }


def prepare(options: Options, _context: Context) -> Probe:
    """Read the options. Raises ProbeRefusedError."""
    _refuse_nonsense(options)
    request = prepare_request(options, body=options.get("body"))
    allowed = read_statuses(options["status"])

    def task(leash: Leash) -> float:
        return _answered(request, allowed, leash)

    def probe(leash: Leash) -> None:
        outcomes = run_all(
            [task] * options["requests"],
            at_once=options["at_once"],
            patience=options["request_timeout"],
            leash=leash,
        )
        judge(outcomes, options)

    return probe


def _refuse_nonsense(options: Options) -> None:
    if not 1 <= options["requests"] <= _MOST_REQUESTS:
        raise ProbeRefusedError(f"requests must be from 1 to {_MOST_REQUESTS}")
    if not 1 <= options["at_once"] <= _MOST_AT_ONCE:
        raise ProbeRefusedError(f"at_once must be from 1 to {_MOST_AT_ONCE}")
    if not 0 < options["min_success"] <= 1:
        raise ProbeRefusedError("min_success must be a share above 0, up to 1")
    for option in ("request_timeout", "max_mean", "max_p95"):
        value = options.get(option)
        if value is not None and not 0 < value < math.inf:
            raise ProbeRefusedError(f"{option} must be above 0")


def _answered(request: Request, allowed: t.Collection[int], leash: Leash) -> float:
    answer = fetch(request, leash)
    require_status(answer, allowed)
    return answer.latency


def judge(outcomes: t.Sequence[float | Exception], options: Options) -> None:
    """Raise ProbeFailedError unless enough requests were answered well, and fast enough."""
    latencies = sorted(each for each in outcomes if not isinstance(each, Exception))
    share = len(latencies) / len(outcomes)
    if share < options["min_success"]:
        reasons = collections.Counter(str(e) for e in outcomes if isinstance(e, Exception))
        often, count = reasons.most_common(1)[0]
        raise ProbeFailedError(
            f"{len(latencies)} of {len(outcomes)} requests succeeded ({share:.1%}), "
            f"{options['min_success']:.1%} must; most often ({count} times): {often}"
        )
    mean = math.fsum(latencies) / len(latencies)
    p95 = latencies[math.ceil(0.95 * len(latencies)) - 1]
    for what, seconds, limit in (
        ("mean", mean, options.get("max_mean")),
        ("95th percentile", p95, options.get("max_p95")),
    ):
        if limit is not None and seconds > limit:
            raise ProbeFailedError(
                f"the {what} of the latency is {seconds:.3f} s, allowed are {limit:g} s"
            )


KIND = Kind("load", _options, prepare)
