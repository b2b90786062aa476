# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All kinds of probe. A new kind is a new file here and its name in this one.

The imports are spelled out because Ansible ships to the target only what it finds imported.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

from ansible_collections.sre.rollback.plugins.module_utils._probes import (
    command,
    container,
    http,
    isolation,
    load,
    log,
    metrics,
    postgres,
    prometheus,
    redis,
    systemd,
    tcp,
    tls,
    websocket,
)

_FILES = (
    command,
    container,
    http,
    isolation,
    load,
    log,
    metrics,
    postgres,
    prometheus,
    redis,
    systemd,
    tcp,
    tls,
    websocket,
)

KINDS = {file.KIND.name: file.KIND for file in _FILES}
