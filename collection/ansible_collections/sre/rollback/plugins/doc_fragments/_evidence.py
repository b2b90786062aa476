# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Where evidence is kept, and how much of it: module_utils/_evidence.py has the same.
    DOCUMENTATION = r"""
options:
  dest:
    description: The folder. It is made when it is not there, readable by its owner alone.
    type: path
    required: true
  lines:
    description: How many of the last log lines of each to keep.
    type: int
    default: 100
  timeout:
    description:
      - Seconds within which everything has to be said. What is not is left out and named in the
        result; where not even the state is said, the module fails.
    type: float
    default: 20.0
"""
