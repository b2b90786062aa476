# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command of a container's own health check.

The Engine runs it for the first time after its interval, 30 seconds unless somebody says otherwise
(Dockerfile reference, HEALTHCHECK). Who has to know sooner runs it himself.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t

_SHELL = ("/bin/sh", "-c")


def health_check_command(config: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    """From the ``Config`` of a container that was inspected; empty where there is no check."""
    how, *words = (config.get("Healthcheck") or {}).get("Test") or ("NONE",)
    if how == "CMD-SHELL":
        return (*(config.get("Shell") or _SHELL), *words)
    return tuple(words) if how == "CMD" else ()
