# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lease in a file of this host: for one controller.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import typing as t
from pathlib import Path
from urllib.parse import quote

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._lock_lease import (
    Lease,
    LockError,
    Request,
    change,
    fields_of,
    lease_from,
)

_WAIT = 0.005
_PATIENCE = 10.0


def exchange(
    params: t.Mapping[str, t.Any], request: Request, *, write: bool
) -> tuple[Lease, Lease, float]:
    """The lease before and after, and the time by this host's clock. Raises LockError.

    The guard is an advisory lock that the kernel drops when its holder dies.
    """
    folder = Path(params["path"])
    name = quote(request.environment, safe="")
    path = folder / f"{name}.json"
    if not write:
        now = time.time()
        before = _read(path)
        return before, change(request, before, now), now
    with _guard(folder, name):
        now = time.time()
        before = _read(path)
        after = change(request, before, now)
        if after is not before:
            content = json.dumps(fields_of(after)) + "\n"
            _atomic_file.replace(str(path), content.encode(), mode=0o600)
    return before, after, now


@contextlib.contextmanager
def _guard(folder: Path, name: str) -> t.Iterator[None]:
    guard = folder / f"{name}.guard"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(str(guard), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise LockError(
            f"the lock cannot be kept in {folder}: {exc.strerror}. Nothing was changed."
        ) from exc
    try:
        _lock(descriptor, guard)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, guard: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise LockError(
                    f"another process has had {guard} open for {_PATIENCE:.0f} s and does not go "
                    "on. Nothing was changed. See who it is with fuser, and run it again."
                ) from None
        except OSError as exc:
            raise LockError(
                f"{guard} cannot be locked: {exc.strerror}. Nothing was changed. Use a folder on "
                "a local disk."
            ) from exc
        time.sleep(_WAIT)


def _read(path: Path) -> Lease:
    content = _atomic_file.read(str(path))
    if content is None:
        return Lease()
    try:
        return lease_from(json.loads(content))
    except (ValueError, TypeError, KeyError, OverflowError) as exc:
        raise LockError(
            f"{path} does not hold a lease. Nothing was changed. Look at the file; when nobody "
            "holds the environment, remove it."
        ) from exc
