# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What it means when a metric has no value.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    ProbeFailedError,
    ProbeInconclusiveError,
)


@dataclass(frozen=True)
class NoData:
    """``on_no_data``: what an empty answer counts as. NaN is never a pass, whatever it says."""

    means: str

    @staticmethod
    def option() -> dict[str, t.Any]:
        """Its argument spec."""
        return {"type": "str", "default": "fail", "choices": ["fail", "pass", "inconclusive"]}

    def judge(self, what: str) -> None:
        """Return when an empty answer is a pass, else raise."""
        if self.means == "fail":
            raise ProbeFailedError(what)
        if self.means == "inconclusive":
            raise ProbeInconclusiveError(what)

    def judge_nan(self, what: str) -> t.NoReturn:
        """Raise for a value that is not a number."""
        error = ProbeFailedError if self.means == "fail" else ProbeInconclusiveError
        raise error(f"{what} is not a number (NaN)")
