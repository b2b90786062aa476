# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe kind ``metrics``: a service's own metrics page, where no Prometheus server is.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import collections
import math
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Context,
    Kind,
    Leash,
    Options,
    Probe,
    ProbeFailedError,
    ProbeInconclusiveError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.expectation import Bounds
from ansible_collections.sre.rollback.plugins.module_utils._probes.exposition import (
    Labels,
    Page,
    Selector,
    parse_page,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.http_client import (
    Request,
    fetch,
    prepare_request,
    request_options,
    require_status,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.no_data import NoData


def _options() -> dict[str, t.Any]:
    return {
        **request_options(),
        "metric": {"type": "str", "required": True},
        "labels": {"type": "dict", "default": {}},
        "function": {
            "type": "str",
            "default": "value",
            "choices": ["value", "increase", "rate", "quantile"],
        },
        "window": {"type": "float", "default": 60.0},
        "quantile": {"type": "float", "default": 0.95},
        "per": {
            "type": "dict",
            "options": {
                "metric": {"type": "str", "required": True},
                "labels": {"type": "dict", "default": {}},
            },
        },
        "min": {"type": "float"},
        "max": {"type": "float"},
        "on_no_data": NoData.option(),
    }


class NoValueError(Exception):
    """There is nothing to calculate with; the message says what is missing."""


@dataclass(frozen=True)
class Scrape:
    """A page and when it was read, on the monotonic clock."""

    at: float
    page: Page


def prepare(options: Options, _context: Context) -> Probe:
    """Read the options. Raises ProbeRefusedError."""
    bounds, no_data = Bounds.of(options), NoData(options["on_no_data"])
    if not bounds:
        raise ProbeRefusedError("needs min or max")
    calculate = calculation(options)
    request = prepare_request(options)
    history: collections.deque[Scrape] = collections.deque()
    what = f"the {options['function']} of {options['metric']}"

    def probe(leash: Leash) -> None:
        history.append(Scrape(time.monotonic(), _scrape(request, leash)))
        forget(history, options["window"])
        try:
            value = calculate(history)
        except NoValueError as exc:
            no_data.judge(str(exc))
            return
        if math.isnan(value):
            no_data.judge_nan(what)
        bounds.check(value, what)

    return probe


def _scrape(request: Request, leash: Leash) -> Page:
    try:
        answer = fetch(request, leash)
        require_status(answer, (200,))
        return parse_page(answer.text())
    except ProbeFailedError as exc:
        raise ProbeInconclusiveError(f"the metrics cannot be read: {exc}") from exc


def forget(history: collections.deque[Scrape], window: float) -> None:
    """Drop the scrapes that the window no longer needs; one at its beginning stays."""
    while len(history) > 2 and history[-1].at - history[1].at >= window:
        history.popleft()


Calculation = t.Callable[[t.Sequence[Scrape]], float]


def calculation(options: Options) -> Calculation:
    """What the options want to be calculated. Raises ProbeRefusedError."""
    function, share = options["function"], options["quantile"]
    if not options["window"] > 0:
        raise ProbeRefusedError("window must be above 0")
    if not 0 < share < 1:
        raise ProbeRefusedError("quantile must be between 0 and 1")
    if function == "quantile":
        if options.get("per"):
            raise ProbeRefusedError("per has no meaning with function quantile")
        buckets = Selector.of(f"{options['metric']}_bucket", options.get("labels"))
        return lambda history: quantile_of(history, buckets, share)
    of = _amount(function, Selector.of(options["metric"], options.get("labels")))
    if not options.get("per"):
        return of
    per = _amount(function, Selector.of(options["per"]["metric"], options["per"].get("labels")))
    return lambda history: _divide(of(history), per(history), options["per"]["metric"])


def _divide(dividend: float, divisor: float, name: str) -> float:
    if divisor == 0:
        raise NoValueError(f"there was no {name} to divide by")
    return dividend / divisor


def _amount(function: str, selector: Selector) -> Calculation:
    if function == "value":
        return lambda history: _sum_now(history, selector)
    if function == "increase":
        return lambda history: math.fsum(increases(history, selector).values())
    return lambda history: (
        math.fsum(increases(history, selector).values()) / (history[-1].at - history[0].at)
    )


def _sum_now(history: t.Sequence[Scrape], selector: Selector) -> float:
    selected = selector.select(history[-1].page)
    if not selected:
        raise NoValueError(f"the page has no such series of {selector.metric}")
    return math.fsum(selected.values()) if all(map(_finite, selected.values())) else math.nan


def _finite(value: float) -> bool:
    return math.isfinite(value)


def increases(history: t.Sequence[Scrape], selector: Selector) -> dict[Labels, float]:
    """How much each counter grew from the first scrape to the last.

    A counter that fell was reset by a restart and has grown from 0. One that is new has, too,
    because the service was there without it. Raises NoValueError, ProbeInconclusiveError.
    """
    if not selector.could_match(history[-1].page):
        raise NoValueError(f"the page has no such series of {selector.metric}")
    if len(history) < 2:
        raise ProbeInconclusiveError("this was the first scrape, it takes two to compare")
    grown: dict[Labels, float] = collections.defaultdict(float)
    scrapes = [selector.select(scrape.page) for scrape in history]
    for before, after in zip(scrapes, scrapes[1:]):
        for labels, value in after.items():
            earlier = before.get(labels, 0.0)
            grown[labels] += value - earlier if value >= earlier else value
    return dict(grown)


def quantile_of(history: t.Sequence[Scrape], buckets: Selector, share: float) -> float:
    """The quantile of a histogram, linear within a bucket, as ``histogram_quantile`` has it.

    Beyond the last finite bucket it is infinite, because how far beyond is not known.
    """
    counts: dict[float, float] = collections.defaultdict(float)
    for labels, grown in increases(history, buckets).items():
        with_bound = dict(labels)
        if "le" in with_bound:
            counts[float(with_bound["le"])] += grown
    total = counts.get(math.inf, 0.0)
    if not total > 0:
        raise NoValueError(f"nothing was counted in {buckets.metric}")
    rank, lower, below = share * total, 0.0, 0.0
    for bound in sorted(counts):
        if counts[bound] >= rank:
            inside = counts[bound] - below
            return bound if bound <= 0 else lower + (bound - lower) * (rank - below) / inside
        lower, below = bound, counts[bound]
    return math.inf


KIND = Kind("metrics", _options, prepare, instrument=True)
