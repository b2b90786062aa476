# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a value has to be: equal, within bounds, or matching.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import json
import math
import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    Leash,
    Options,
    ProbeFailedError,
    ProbeInconclusiveError,
    ProbeRefusedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.matching import Pattern

_SHOWN = 80


def shown(value: t.Any) -> str:
    """``value`` for a message, cut to a readable length."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


@dataclass(frozen=True)
class Bounds:
    """Inclusive limits of a number."""

    lowest: float | None
    highest: float | None

    @classmethod
    def of(cls, options: Options) -> Bounds:
        """From the options ``min`` and ``max``. Raises ProbeRefusedError."""
        low, high = options.get("min"), options.get("max")
        for limit in (low, high):
            if limit is not None and not math.isfinite(limit):
                raise ProbeRefusedError("min and max must be finite numbers")
        if low is not None and high is not None and low > high:
            raise ProbeRefusedError(f"min {low:g} is above max {high:g}")
        return cls(low, high)

    def __bool__(self) -> bool:
        return self.lowest is not None or self.highest is not None

    def check(self, value: float, what: str) -> None:
        """Raise ProbeFailedError unless ``value`` is a number within the limits."""
        if math.isnan(value):
            raise ProbeInconclusiveError(f"{what} is not a number (NaN)")
        if self.lowest is not None and value < self.lowest:
            raise ProbeFailedError(f"{what} is {value:.6g}, below {self.lowest:g}")
        if self.highest is not None and value > self.highest:
            raise ProbeFailedError(f"{what} is {value:.6g}, above {self.highest:g}")


@dataclass(frozen=True)
class Expectation:
    """What one value has to be. Without any demand it only has to be there."""

    expected: t.Any
    bounds: Bounds
    pattern: Pattern | None

    @classmethod
    def of(cls, options: Options) -> Expectation:
        """From ``expected``, ``min``, ``max`` and ``matches``. Raises ProbeRefusedError."""
        pattern = options.get("matches")
        return cls(
            expected=options.get("expected"),
            bounds=Bounds.of(options),
            pattern=None if pattern is None else Pattern.compile(pattern, "matches"),
        )

    def __bool__(self) -> bool:
        return self.expected is not None or bool(self.bounds) or self.pattern is not None

    def check(self, value: t.Any, what: str, leash: Leash) -> None:
        """Raise ProbeFailedError, or ProbeInconclusiveError for NaN, unless it is as demanded."""
        if value is None:
            raise ProbeFailedError(f"{what} is null")
        if self.expected is not None and not same(value, self.expected):
            raise ProbeFailedError(f"{what} is {shown(value)}, expected {shown(self.expected)}")
        if self.bounds:
            self.bounds.check(as_number(value, what), what)
        if self.pattern is not None and not self.pattern.found_in(plain(value), leash):
            raise ProbeFailedError(
                f"{what} is {shown(value)}, which does not match {self.pattern.text!r}"
            )


def plain(value: t.Any) -> str:
    """``value`` as text: a string as it is, all else as JSON writes it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def same(value: t.Any, expected: t.Any) -> bool:
    """Whether two values are equal, also when templating has made a string of one of them."""
    if isinstance(value, bool) or isinstance(expected, bool):
        return plain(value).lower() == plain(expected).lower()
    if isinstance(value, (int, float)) or isinstance(expected, (int, float)):
        with contextlib.suppress(TypeError, ValueError):
            return float(value) == float(expected)
    if isinstance(value, str) or isinstance(expected, str):
        return plain(value) == plain(expected)
    return bool(value == expected)


def as_number(value: t.Any, what: str) -> float:
    """``value`` as a number. Raises ProbeFailedError when it is none."""
    if not isinstance(value, bool):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    raise ProbeFailedError(f"{what} is {shown(value)}, which is not a number")
