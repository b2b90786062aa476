# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe kind ``prometheus``: an instant query, every series of which is within bounds.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import json
import math
import typing as t
import urllib.parse

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
from ansible_collections.sre.rollback.plugins.module_utils._probes.http_client import (
    Answer,
    fetch,
    prepare_request,
    request_options,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.network import split_url
from ansible_collections.sre.rollback.plugins.module_utils._probes.no_data import NoData

Series = t.List[t.Tuple[str, float]]


def _options() -> dict[str, t.Any]:
    return {
        **request_options(),
        "query": {"type": "str", "required": True},
        "min": {"type": "float"},
        "max": {"type": "float"},
        "on_no_data": NoData.option(),
    }


def prepare(options: Options, _context: Context) -> Probe:
    """Read the options. Raises ProbeRefusedError."""
    bounds = Bounds.of(options)
    if not bounds:
        raise ProbeRefusedError("needs min or max")
    if not options["query"].strip():
        raise ProbeRefusedError("query is empty")
    split_url(options["url"], ("http", "https"))
    query = urllib.parse.urlencode({"query": options["query"]})
    request = prepare_request(options, url=f"{options['url'].rstrip('/')}/api/v1/query?{query}")
    no_data = NoData(options["on_no_data"])

    def probe(leash: Leash) -> None:
        try:
            answer = fetch(request, leash)
        except ProbeFailedError as exc:
            # The instrument is broken: that says nothing about what it measures.
            raise ProbeInconclusiveError(f"Prometheus cannot be asked: {exc}") from exc
        judge(parse_answer(answer), bounds, no_data)

    return probe


def judge(series: Series, bounds: Bounds, no_data: NoData) -> None:
    """Raise unless there are series and all are within ``bounds``."""
    if not series:
        no_data.judge("the query returned no data")
    for labels, value in series:
        if math.isnan(value):
            no_data.judge_nan(f"the value{labels}")
        bounds.check(value, f"the value{labels}")


def parse_answer(answer: Answer) -> Series:
    """The series of an instant query. Raises ProbeInconclusiveError when it is no such answer."""
    try:
        document = json.loads(answer.text())
        if document["status"] != "success":
            raise ProbeInconclusiveError(
                f"Prometheus refused the query: {document.get('error', 'no reason given')}"
            )
        return _series(document["data"])
    except (ValueError, KeyError, TypeError, IndexError):
        raise ProbeInconclusiveError(
            f"not an answer of Prometheus (HTTP status {answer.status})"
        ) from None


def _series(data: t.Mapping[str, t.Any]) -> Series:
    if data["resultType"] == "scalar":
        return [("", float(data["result"][1]))]
    if data["resultType"] != "vector":
        raise ProbeInconclusiveError(
            f"the query returns a {data['resultType']}; it must return numbers of one moment"
        )
    return [(_labels(each["metric"]), float(each["value"][1])) for each in data["result"]]


def _labels(metric: t.Mapping[str, str]) -> str:
    shown = ", ".join(f"{name}={value}" for name, value in sorted(metric.items()))
    return f" of {{{shown}}}" if shown else ""


KIND = Kind("prometheus", _options, prepare, instrument=True)
