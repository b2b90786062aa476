# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Attributes every module documents; a module that differs overrides `support` and `details`.
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and predict the change without making it.
  diff_mode:
    description: Returns what has changed, or in C(check_mode) would change, when in diff mode.
  idempotent:
    description:
      - When it runs twice in a row with the same arguments, the second run changes nothing.
  platform:
    description: Target OS/families that can be operated against.
    support: full
    platforms: posix
"""

    # Of a module that does all of it and has nothing to add.
    FULL = r"""
options: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
"""

    # Of a module that changes something in which there are no lines to compare.
    NO_DIFF = r"""
options: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
"""

    # Of a module that only looks.
    READ_ONLY = r"""
options: {}
attributes:
  check_mode:
    support: full
    details: Reads only.
  diff_mode:
    support: none
    details: Changes nothing.
  idempotent:
    support: full
"""
