# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # How a database is restored aside, proved and exchanged: limits, and what stays afterwards.
    DOCUMENTATION = r"""
options:
  jobs:
    description: Processes of C(pg_restore), and sessions that prove.
    type: int
    default: 2
  check_timeout:
    description: Seconds each of O(checks) may take.
    type: float
    default: 60
  amcheck:
    description:
      - How the indexes of the restored database are checked with PostgreSQL's C(amcheck).
      - V(indexes) checks the structure of every B-tree index. V(heapallindexed) checks also that
        every row is in them, which takes longer. V(none) needs no superuser.
    type: str
    choices: [none, indexes, heapallindexed]
    default: indexes
  keep_predecessors:
    description:
      - Databases to keep that were live before; at least V(1). The oldest ones beyond are dropped
        after a swap, unless somebody is connected to them.
    type: int
    default: 2
  keep_staged:
    description:
      - Staged databases of different backups to keep. The oldest ones beyond are dropped once a new
        one is proved. V(0) keeps all.
    type: int
    default: 2
  accept:
    description: What may stay behind with the predecessor. Without it, the restore is refused.
    type: list
    elements: str
    choices: [replication_slots, publications, subscriptions]
    default: []
  swap_timeout:
    description:
      - Seconds within which the swap has to be possible. Sessions that cannot be ended at once make
        it try again; new sessions wait for at most 4 seconds at a time.
    type: float
    default: 30
  lock_timeout:
    description: Seconds to wait for another restore of O(database) to end.
    type: float
    default: 10
  maintenance_work_mem:
    description: Memory of each job of C(pg_restore) for building indexes.
    type: str
    default: 256MB
  maintenance_db:
    description: Database to connect to while the live one is renamed.
    type: str
    default: postgres
  progress_path:
    description:
      - File that says how far the restore is, as JSON with C(phase), C(percent), C(bytes),
        C(total_bytes), C(elapsed) and C(remaining) (seconds). It is whole at any moment.
    type: path
"""
