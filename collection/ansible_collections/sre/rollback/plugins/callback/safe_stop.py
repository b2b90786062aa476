# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: safe_stop
type: aggregate
short_description: Stop a playbook between two tasks
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Before a task or a play begins, looks whether a file exists, and ends the playbook then, as
    Ctrl-C would.
  - The task that was running has ended on every host by then. A signal would end it half-way.
requirements:
  - enabled with C(callbacks_enabled)
options:
  stop_file:
    description: The file to look for; nothing is looked for when it is not set.
    type: path
    env:
      - name: ROLLBACK_PLAYBOOK_STOP_FILE
"""

from pathlib import Path

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """Raises KeyboardInterrupt, which Ansible takes for its user's."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "sre.rollback.safe_stop"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_play_start(self, *_args: object) -> None:
        self._stop_when_asked()

    def v2_playbook_on_task_start(self, *_args: object, **_kwargs: object) -> None:
        self._stop_when_asked()

    def v2_playbook_on_handler_task_start(self, *_args: object) -> None:
        self._stop_when_asked()

    def _stop_when_asked(self) -> None:
        path = self.get_option("stop_file")
        if path and Path(path).exists():
            raise KeyboardInterrupt
