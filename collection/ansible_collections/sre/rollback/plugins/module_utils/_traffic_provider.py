# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every provider of traffic offers to the module.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t

Facts = t.Dict[str, t.Any]


class Provider(t.Protocol):
    """One proxy that users come through, and the state that it shall get."""

    #: Options of the module that undo needs to find the same place again.
    place: t.Mapping[str, t.Any]

    def observe(self) -> Facts:
        """What users get, and what the proxy was told. Raises RollbackError."""

    def is_as_asked(self, found: Facts) -> bool:
        """Whether nothing is left to do, nor to prove."""

    def predict(self, found: Facts) -> Facts:
        """What ``observe`` would find after ``bring``."""

    def bring(self) -> None:
        """Do it and prove it. Raises RollbackError, which says what users get then."""

    def undo(self, found: Facts) -> t.Mapping[str, t.Any]:
        """Options that bring back what was found, beside ``place``."""
