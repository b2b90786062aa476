# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # A PgBouncer in front of a database that is exchanged.
    DOCUMENTATION = r"""
options:
  pgbouncer_login_host:
    description:
      - Host of a PgBouncer in front of the live database. Its clients wait while the names are
        exchanged, instead of having to connect anew. Left out, no PgBouncer is told anything.
      - A PgBouncer that this module paused is resumed also when the swap fails, and by the next
        run when this one is killed. One that somebody else paused stays paused.
    type: str
  pgbouncer_login_port:
    description: Port of PgBouncer.
    type: int
    default: 6432
  pgbouncer_login_user:
    description: One of PgBouncer's C(admin_users); O(login_user) when it is left out.
    type: str
  pgbouncer_login_password:
    description: Password of O(pgbouncer_login_user); O(login_password) when it is left out.
    type: str
  pgbouncer_database:
    description: What PgBouncer calls the database; O(database) when it is left out.
    type: str
  pgbouncer_timeout:
    description:
      - Seconds that transactions which run through PgBouncer have to end. Those that do not are
        ended with their sessions.
    type: float
    default: 2
"""
