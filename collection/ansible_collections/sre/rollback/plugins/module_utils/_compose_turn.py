# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One change of a Compose project at a time, also when the run that began it was killed.

What a killed run has told Compose to do goes on without it. A second Compose beside the first takes
containers away that the other one counts on, so the next run waits until the first has ended.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t
from dataclasses import replace

from ansible_collections.sre.rollback.plugins.module_utils._compose_project import (
    ComposeError,
    Project,
)

_PERIOD = 0.1


@contextlib.contextmanager
def turn(project: Project, *, timeout: float) -> t.Iterator[Project]:
    """The project, whose programs hold the turn for as long as they run.

    Raises ComposeError when another one has it for longer than ``timeout`` seconds.
    """
    try:
        folder = os.open(project.directory, os.O_RDONLY)
    except OSError as exc:
        raise ComposeError(f"{project.directory}: {exc.strerror}. Nothing was changed.") from exc
    try:
        _wait_for(folder, project, timeout)
        yield replace(project, held=(folder,))
    finally:
        os.close(folder)


def _wait_for(folder: int, project: Project, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as exc:
            if time.monotonic() > deadline:
                raise ComposeError(
                    f"another run has been changing {project.directory} for {timeout:g} s. Nothing "
                    "was changed. Look with docker compose ps, and start again when it has ended."
                ) from exc
        except OSError:
            # A file system without locks: as it would be without any of this.
            return
        time.sleep(_PERIOD)
