# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prove an image beside what runs, before anything is changed.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._compose_ready import wait_ready
from ansible_collections.sre.rollback.plugins.module_utils._compose_switch import (
    UP_SECONDS,
    Found,
    Order,
    named,
    write_override,
)


def prove(order: Order, found: Found, names: t.Sequence[str]) -> list[str]:
    """Start one container of each image beside what runs, see it healthy, and take it away again.

    It gets no port and no name of the service, so users do not reach it. Raises ComposeError.
    Those that are returned keep data, which a second container must not touch: they are not proved.
    """
    unproved = [name for name in names if order.keeps_data(found.services[name])]
    order = replace(order, override=f"{order.override}.trial", images=named(order, found))
    write_override(order, found)
    started = []
    try:
        for name in names:
            if name in unproved:
                continue
            trial = f"{found.name}-{name}-trial"
            started.append(trial)
            order.project.run("rm", "--force", "--volumes", trial, fails=False)
            order.project.compose(
                "run", "--detach", "--no-deps", "--name", trial, name,
                override=order.override,
                timeout=UP_SECONDS,
            )  # fmt: skip
        wait_ready(order.project, started, timeout=order.timeout)
    finally:
        if started:
            order.project.run("rm", "--force", "--volumes", *started, fails=False)
        _atomic_file.remove(order.override)
    return unproved
