# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    # How to reach a PostgreSQL server; the names are those of community.postgresql.
    DOCUMENTATION = r"""
options:
  login_host:
    description:
      - Host name or address of the server.
      - Leave it out to use O(login_unix_socket), or libpq's own default when that is left out too.
    type: str
  login_port:
    description: Port of the server.
    type: int
    default: 5432
  login_user:
    description: Role to log in as.
    type: str
    default: postgres
  login_password:
    description:
      - Password of O(login_user).
      - It reaches client programs through their environment only, never through their arguments.
    type: str
  login_unix_socket:
    description: Folder of the server's Unix socket. Used when O(login_host) is left out.
    type: path
  ssl_mode:
    description: How far TLS is demanded and checked, in libpq's words.
    type: str
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
    default: prefer
  ca_cert:
    description: File with the certificates of the authorities that may have signed the server's.
    type: path
  connect_params:
    description:
      - Further libpq connection parameters, as a dictionary.
      - They win over the other connection options.
    type: dict
    default: {}
  bin_dir:
    description:
      - Folder of the client programs C(pg_dump) and C(pg_restore).
      - When it is left out, they are looked up in E(PATH).
    type: path
requirements:
  - psycopg >= 3.1
notes:
  - Works with PostgreSQL 13 to 18.
seealso:
  - name: libpq connection parameters
    description: What O(connect_params) may hold.
    link: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""
