# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module whose options hold secrets that no argument spec can name.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils._secrets import secrets_in


class HidingModule(AnsibleModule):
    """Hides the secrets inside URLs, headers and arguments as well, in its result and its log."""

    def _log_invocation(self) -> None:
        self.no_log_values.update(secrets_in(self.params))
        super()._log_invocation()

    def _return_formatted(self, kwargs: dict[str, t.Any]) -> None:
        self.no_log_values.update(secrets_in(self.params))
        super()._return_formatted(kwargs)
