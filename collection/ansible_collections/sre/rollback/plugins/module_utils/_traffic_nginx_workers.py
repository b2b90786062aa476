# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The worker processes of a running nginx.

For a tenth of a second and more after a reload the old workers take connections beside the new
ones: the master starts the new ones, sleeps, and only then tells the old ones to go
(``ngx_master_process_cycle``). On a busy machine that takes as long as it takes, so that no number
of right answers in a row proves that the next one is right, too.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import re
import time
import typing as t
from pathlib import Path

_PID = re.compile(r"""^\s*pid\s+(["']?)([^"';]+)\1\s*;""", re.MULTILINE)
_MASTER = b"nginx: master process"
_WORKER = b"nginx: worker process"
_LEAVING = b"is shutting down"
_PAUSE = 0.005


def master_of(configuration: str, prefix: str) -> int | None:
    """The master's pid by the ``pid`` directive of ``nginx -T``; None when this host does not say.

    That is so in a container, where the directive is left out, and where /proc is hidden.
    """
    found = _PID.search(configuration)
    if found is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        pid = int(Path(prefix, found[2].strip()).read_text(encoding="ascii"))
        if _title(pid).startswith(_MASTER):
            return pid
    return None


def listening(master: int) -> frozenset[int]:
    """The workers that take connections. Raises OSError when the master is gone."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text(encoding="ascii")
    return frozenset(pid for pid in map(int, children.split()) if _takes_connections(pid))


def await_gone(old: t.AbstractSet[int], master: int, *, deadline: float) -> bool:
    """Wait until none of ``old`` takes connections; False at the deadline (monotonic seconds)."""
    with contextlib.suppress(OSError):
        while old & listening(master):
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE)
    return True


def _takes_connections(pid: int) -> bool:
    with contextlib.suppress(OSError):
        title = _title(pid)
        return title.startswith(_WORKER) and _LEAVING not in title
    return False


def _title(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
