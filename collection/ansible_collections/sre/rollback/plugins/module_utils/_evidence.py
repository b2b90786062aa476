# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evidence of what ran: log files and a state, in a folder on the host, kept once.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file


def argument_spec() -> dict[str, t.Any]:
    """The options of the documentation fragment ``sre.rollback._evidence``."""
    return {
        "dest": {"type": "path", "required": True},
        "lines": {"type": "int", "default": 100},
    }


def is_kept(dest: Path, mark: str) -> bool:
    """Whether an earlier attempt has kept everything: the file ``mark`` is written last."""
    return (dest / mark).exists()


def keep(dest: Path, files: t.Iterable[tuple[str, bytes]]) -> list[str]:
    """Write files of a name and their bytes, readable by the owner alone; raises OSError.

    The last one is the mark, and stands first in the names that are returned.
    """
    dest.mkdir(mode=0o700, parents=True, exist_ok=True)
    written: list[str] = []
    for name, content in files:
        _atomic_file.replace(str(dest / name), content, mode=0o600)
        written.append(name)
    return [*written[-1:], *written[:-1]]
