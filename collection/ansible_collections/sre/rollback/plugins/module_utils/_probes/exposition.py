# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text format in which services expose metrics to Prometheus.

Source of the rules: Prometheus' "Exposition formats", text format 0.0.4, and OpenMetrics 1.0 as far
as it looks the same (exemplars and time stamps are passed over).

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    ProbeInconclusiveError,
    ProbeRefusedError,
)

Labels = t.FrozenSet[t.Tuple[str, str]]

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SERIES = re.compile(rf'({_NAME})\s*(?:\{{((?:[^"}}]|"(?:\\.|[^"\\])*")*)\}})?\s*(\S+)')
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:\\.|[^"\\])*)"\s*(?:,|$)')
_TYPE = re.compile(rf"#\s+TYPE\s+({_NAME})\s+(\w+)")
_ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}


@dataclass(frozen=True)
class Page:
    """One scrape: every series by metric name, and the names that are declared."""

    series: t.Mapping[str, t.Mapping[Labels, float]]
    declared: frozenset[str]

    def knows(self, metric: str) -> bool:
        """Whether the service has such a metric, with or without values."""
        return metric in self.series or metric in self.declared


def parse_page(text: str) -> Page:
    """Raises ProbeInconclusiveError for what is no such page."""
    series: dict[str, dict[Labels, float]] = {}
    declared: set[str] = set()
    # Not splitlines(): a label's value may contain what else Unicode calls a line break.
    for raw in text.split("\n"):
        line = raw.strip(" \t\r")
        if line.startswith("#"):
            declared.update(_declared(line))
        elif line:
            name, labels, value = _parse_series(line)
            series.setdefault(name, {})[labels] = value
    if not series and not declared:
        raise ProbeInconclusiveError("the page contains no metrics")
    return Page(series, frozenset(declared))


def _declared(line: str) -> t.Iterator[str]:
    found = _TYPE.match(line)
    if found:
        name, kind = found.groups()
        yield name
        # OpenMetrics declares a counter without the suffix that its series carry.
        if kind == "counter" and not name.endswith("_total"):
            yield f"{name}_total"


def _parse_series(line: str) -> tuple[str, Labels, float]:
    found = _SERIES.match(line)
    if found is None:
        raise ProbeInconclusiveError("the page is not in the format of Prometheus")
    name, labels, value = found.groups()
    try:
        return name, _parse_labels(labels or ""), float(value)
    except ValueError:
        raise ProbeInconclusiveError(f"the page has an unreadable value of {name}") from None


def _parse_labels(text: str) -> Labels:
    pairs, position = [], 0
    while position < len(text):
        label = _LABEL.match(text, position)
        if label is None:
            raise ValueError(text)
        value = re.sub(r"\\.", lambda m: _ESCAPES.get(m.group(), m.group()), label[2])
        pairs.append((label[1], value))
        position = label.end()
    return frozenset(pairs)


@dataclass(frozen=True)
class Selector:
    """A metric and what its labels must match, as a whole."""

    metric: str
    labels: tuple[tuple[str, re.Pattern[str]], ...]

    @classmethod
    def of(cls, metric: str, labels: t.Mapping[str, t.Any] | None) -> Selector:
        """Raises ProbeRefusedError."""
        if not re.fullmatch(_NAME, metric):
            raise ProbeRefusedError(f"{metric!r} is not the name of a metric")
        try:
            patterns = tuple((k, re.compile(str(v))) for k, v in (labels or {}).items())
        except re.error as exc:
            raise ProbeRefusedError(f"labels: not a valid regular expression: {exc}") from None
        return cls(metric, patterns)

    def select(self, page: Page) -> dict[Labels, float]:
        """The series that match."""
        known = page.series.get(self.metric, {})
        return {labels: value for labels, value in known.items() if self._matches(dict(labels))}

    def _matches(self, labels: t.Mapping[str, str]) -> bool:
        return all(pattern.fullmatch(labels.get(name, "")) for name, pattern in self.labels)

    def could_match(self, page: Page) -> bool:
        """Whether nothing selected means zero so far, rather than a wrong name.

        The service must know the metric, and have either no series of it yet, or some that carry
        the labels' names.
        """
        known = page.series.get(self.metric, {})
        names = {name for name, _pattern in self.labels}
        return page.knows(self.metric) and (
            not known or any(names <= {name for name, _value in labels} for labels in known)
        )
