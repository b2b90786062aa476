# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # Queries that have to answer what is expected; whether some are needed, the module says.
    DOCUMENTATION = r"""
options:
  checks:
    description: Queries with an expected value.
    type: list
    elements: dict
    suboptions:
      name:
        description: What holds when the answer is as expected.
        type: str
        required: true
      query:
        description: A query that answers one row with one column.
        type: str
        required: true
      expected:
        description: The answer on good data.
        type: raw
        required: true
"""
