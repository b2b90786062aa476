# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: quick_exit
type: aggregate
short_description: Let a playbook end without a last look at all of memory
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - When its process ends, Python looks through everything that Ansible has loaded for what can be
    freed. That takes half a second, for which somebody waits.
requirements:
  - enabled with C(callbacks_enabled)
"""

import gc

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """What is frozen is not looked at (C(gc.freeze) in Python's manual)."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "sre.rollback.quick_exit"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_stats(self, *_args: object) -> None:
        gc.freeze()
