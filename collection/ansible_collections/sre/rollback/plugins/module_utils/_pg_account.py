# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run programs as the account of the PostgreSQL server, which refuses to run as root.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import os
import pwd
import typing as t
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError


class AccountError(RollbackError):
    """The account to run as does not exist. Nothing was changed."""


def account_to_use(name: str) -> str | None:
    """``name`` when this process is root, None when it has to stay what it is.

    Raises AccountError.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(name).pw_name
    except KeyError:
        raise AccountError(
            f"there is no account {name!r} on this host, and PostgreSQL does not run as root. "
            "Nothing was changed. Name the server's account as `account`."
        ) from None


def as_account(name: str | None) -> t.Callable[[], None] | None:
    """What ``preexec_fn`` of a child has to be, so that it runs as that account.

    Python 3.8 has no ``user`` argument for subprocesses yet.
    """
    if name is None:
        return None
    entry = pwd.getpwnam(name)
    groups = os.getgrouplist(name, entry.pw_gid)

    def become() -> None:
        os.setgroups(groups)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)

    return become


def give_to(path: Path, name: str | None) -> None:
    """Make ``path`` the account's."""
    if name is not None:
        entry = pwd.getpwnam(name)
        os.chown(path, entry.pw_uid, entry.pw_gid)
