# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Event triggers of a dump: they are restored, and they do not run while that goes on.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._postgres import with_options

if t.TYPE_CHECKING:
    from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import Manifest

_CAN_BE_OFF_SINCE = 170000


def event_triggers(manifest: Manifest) -> list[str]:
    """The names of those that the dump has."""
    return [one.name for one in manifest.objects if one.kind == "event trigger"]


def quiet_login(
    login: t.Mapping[str, t.Any], manifest: Manifest, server_version: int
) -> t.Mapping[str, t.Any]:
    """``login`` whose sessions run no event trigger of the dump, also none of logging in.

    Before PostgreSQL 17, one that is ENABLE ALWAYS or ENABLE REPLICA runs all the same.
    """
    if not event_triggers(manifest):
        return login
    off = (
        {"event_triggers": "off"}
        if server_version >= _CAN_BE_OFF_SINCE
        else {"session_replication_role": "replica"}
    )
    extra = dict(login.get("connect_params") or {})
    extra["options"] = with_options(extra.get("options", ""), off)
    return {**login, "connect_params": extra}
