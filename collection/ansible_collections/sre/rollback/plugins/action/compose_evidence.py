# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.sre.rollback.plugins.modules import compose_evidence
from ansible_collections.sre.rollback.plugins.plugin_utils._in_process import InProcessAction


class ActionModule(InProcessAction):
    """Without a Python of its own where it can be; see plugin_utils/_in_process.py."""

    module = compose_evidence
