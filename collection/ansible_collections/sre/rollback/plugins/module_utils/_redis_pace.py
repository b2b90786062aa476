# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much to ask of a server at once, so that nobody else waits too long for it.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

# A server answers one client at a time. It handles a batch of ours as a whole, so others wait as
# long as one batch takes. A quarter of the limit is the aim: the next batch may be heavier, and the
# machine may let the server wait for a processor.
_AIM = 0.25

_FIRST, _GROWTH = 100, 1.5


class Pace:
    """The size of the next batch, from how long the batches before it took.

    ``longest`` is the longest batch so far in seconds. A batch is never below ``smallest``: times
    that are long for another reason, such as a busy network, must not bring the work to a halt.
    """

    def __init__(
        self, *, max_stall: float, idle_round_trip: float, smallest: int, largest: int
    ) -> None:
        self._aim = max_stall * _AIM
        self._idle = idle_round_trip
        self._smallest = smallest
        self._largest = largest
        self.size = min(_FIRST, largest)
        self.longest = 0.0

    def record(self, seconds: float) -> None:
        """A batch of the present size took so long, the way there and back included."""
        busy = max(seconds - self._idle, 1e-6)
        self.longest = max(self.longest, busy)
        affordable = self.size * min(self._aim / busy, _GROWTH)
        self.size = int(min(max(affordable, self._smallest), self._largest))
