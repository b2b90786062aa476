#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_restore_info
short_description: Tell what restores left beside a PostgreSQL database
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Lists the databases that M(sre.rollback.pg_restore_verified) made or kept for a live database,
    by what stands in their comments.
options:
  database:
    description: Name of the live database.
    type: str
    required: true
  maintenance_db:
    description: Database to connect to.
    type: str
    default: postgres
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.read_only
  - sre.rollback._postgres
seealso:
  - module: sre.rollback.pg_restore_verified
  - module: sre.rollback.pg_salvage
"""

EXAMPLES = r"""
- name: Databases beside the live one are known
  sre.rollback.pg_restore_info:
    login_host: db.example.com
    login_user: postgres
    login_password: "{{ vault_postgres_password }}"
    database: shop
  register: beside

- name: What was displaced last is compared with what is live
  sre.rollback.pg_salvage:
    login_host: db.example.com
    login_user: postgres
    login_password: "{{ vault_postgres_password }}"
    database: "{{ beside.predecessors[0].name }}"
    reference: shop
"""

RETURN = r"""
live:
  description: The restore that made the live database; null when there is none of this name.
  returned: success
  type: dict
  sample: {name: shop, backup: shop-20260304T020000Z-7c65, restore_id: inc-20260304-1,
           by: inc-20260304-1, at: "2026-03-04T03:10:12Z"}
staged:
  description: Proved restores that were not swapped in, the newest first.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: shop__staged_20260304T020000Z-7c65, backup: shop-20260304T020000Z-7c65, restore_id: "",
       by: "", at: "2026-03-04T02:10:00.120000Z"}
predecessors:
  description:
    - Databases that were live before, the one displaced last first. C(by) is the restore that
      displaced it, C(restore_id) the one that made it.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: shop__before_inc-20260304-1, backup: "", restore_id: "", by: inc-20260304-1,
       at: "2026-03-04T03:10:12Z"}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import (
    KEPT,
    LIVE,
    STAGED,
    Database,
    Entry,
    of_database,
    read_databases,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    connect,
    postgres_argument_spec,
    require_psycopg,
)


def argument_spec() -> dict[str, t.Any]:
    return {
        **postgres_argument_spec(),
        "database": {"type": "str", "required": True},
        "maintenance_db": {"type": "str", "default": "postgres"},
    }


def described(database: Database) -> dict[str, str]:
    entry = database.entry or Entry(LIVE, database.name)
    return {
        "name": database.name,
        "backup": entry.backup,
        "restore_id": entry.restore_id,
        "by": entry.by,
        "at": entry.at,
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    require_psycopg(module)
    name = module.params["database"]
    try:
        with connect(module.params, module.params["maintenance_db"]) as connection:
            databases = read_databases(connection)
    except RollbackError as exc:
        module.fail_json(msg=str(exc), exception=exc, **exc.result)
    module.exit_json(
        changed=False,
        live=described(databases[name]) if name in databases else None,
        staged=[described(one) for one in of_database(databases, name, STAGED)],
        predecessors=[described(one) for one in of_database(databases, name, KEPT)],
    )


if __name__ == "__main__":
    main()
