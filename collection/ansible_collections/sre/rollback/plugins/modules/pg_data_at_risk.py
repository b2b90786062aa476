#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_data_at_risk
short_description: Tell within seconds what restoring a backup of a PostgreSQL database would lose
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Compares the live database with a backup of M(sre.rollback.pg_backup_verified) before anything
    is restored, so that whoever approves a rollback knows what it costs.
  - When a proved restore of the backup is staged, every row is compared with it and the figures are
    exact.
  - Otherwise, and when comparing takes longer than O(timeout), RV(basis) says that it is an
    estimate and why. Rows written since are then counted by their numbers, where a key draws them
    from a sequence, and missing rows by how many rows there are. Rows that were changed are not
    counted. Of tables without such a key only the numbers of rows are compared.
  - What could not be counted in time, or because a table is locked, is named and never guessed.
  - Tables in which restores of rows (M(sre.rollback.pg_restore_verified) with C(scope=rows))
    kept what was there before are not counted.
options:
  database:
    description: Name of the live database.
    type: str
    required: true
  backup:
    description: Folder of the backup, on the host where the module runs.
    type: path
    required: true
  exclude:
    description: Shell patterns of tables to leave out, over C(schema.table) or the name alone.
    type: list
    elements: str
    default: []
  timeout:
    description:
      - Seconds that counting may take. Comparing with a staged database gets as many before it.
    type: float
    default: 3
  maintenance_db:
    description: Database to connect to, to look for a staged one.
    type: str
    default: postgres
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.read_only
  - sre.rollback._postgres
seealso:
  - module: sre.rollback.pg_salvage
  - module: sre.rollback.pg_restore_verified
"""

EXAMPLES = r"""
- name: It is known what going back to last night costs
  sre.rollback.pg_data_at_risk:
    login_host: db.example.com
    login_user: postgres
    login_password: "{{ vault_postgres_password }}"
    database: shop
    backup: /var/backups/rollback-playbook/shop-20260304T020000Z-7c65
    exclude: [schema_migrations]
  register: loss
"""

RETURN = r"""
summary:
  description: What would be lost, in one sentence.
  returned: success
  type: str
  sample: restoring this backup loses 1,284 orders and 40 customers written since 02:00 UTC
basis:
  description: In words, how it was counted, and why that is an estimate where it is one.
  returned: success
  type: str
  sample: every row was compared with the staged database of this backup
exact:
  description: Whether every row was compared.
  returned: success
  type: bool
  sample: true
total:
  description:
    - Rows that only the live database has, that differ, and that only the backup has; null when
      that is not known of every table.
  returned: success
  type: dict
  sample: {added: 1324, changed: 0, removed: 0}
tables:
  description:
    - Tables that differ, and those of which it is not known. C(known) is V(exact), V(by_key),
      V(by_rows) or V(unknown), and C(problem) says why. C(key) is null when rows cannot be told
      apart. A figure that is not known is null.
  returned: success
  type: list
  elements: dict
  sample:
    - {table: public.orders, key: [id], known: by_key, added: 1284, changed: null, removed: 0,
       problem: ""}
tables_compared:
  description: How many tables were looked at.
  returned: success
  type: int
  sample: 38
elapsed:
  description: Seconds it took.
  returned: success
  type: float
  sample: 0.21
"""

import contextlib
import datetime as dt
import time
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_at_risk import (
    Deadline,
    count_at_risk,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_at_risk_staged import (
    NotComparedError,
    compare_with_staged,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_at_risk_words import (
    counted_result,
    exact_result,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import read_manifest
from ansible_collections.sre.rollback.plugins.module_utils._pg_salvage_words import (
    parse_moment,
    since_words,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    connect,
    one_line,
    postgres_argument_spec,
    require_psycopg,
)

with contextlib.suppress(ImportError):  # require_psycopg() says so
    import psycopg


def argument_spec() -> dict[str, t.Any]:
    return {
        **postgres_argument_spec(),
        "database": {"type": "str", "required": True},
        "backup": {"type": "path", "required": True},
        "exclude": {"type": "list", "elements": "str", "default": []},
        "timeout": {"type": "float", "default": 3},
        "maintenance_db": {"type": "str", "default": "postgres"},
    }


def look(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The module's result but for its time; raises RollbackError."""
    if params["timeout"] <= 0:
        raise RollbackError("timeout must be more than 0 seconds. Nothing was counted.")
    manifest = read_manifest(Path(params["backup"]))
    moment = parse_moment(manifest.started)
    since = since_words(moment, now=dt.datetime.now(dt.timezone.utc))
    try:
        return exact_result(compare_with_staged(params, manifest), since)
    except NotComparedError as exc:
        why = str(exc)
    deadline = Deadline(params["timeout"])
    with readable_errors(params), connect(params, params["database"]) as connection:
        risks = count_at_risk(connection, manifest, exclude=params["exclude"], deadline=deadline)
    return counted_result(risks, since, why)


@contextlib.contextmanager
def readable_errors(params: t.Mapping[str, t.Any]) -> t.Iterator[None]:
    """Turn what the driver raises into words."""
    try:
        yield
    except psycopg.Error as exc:
        raise RollbackError(
            f"what {params['database']!r} holds could not be looked at: {one_line(exc)}. Nothing "
            "was changed."
        ) from exc


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    require_psycopg(module)
    started = time.monotonic()
    try:
        result = look(module.params)
    except RollbackError as exc:
        module.fail_json(msg=str(exc), exception=exc, **exc.result)
    module.exit_json(changed=False, **result, elapsed=round(time.monotonic() - started, 3))


if __name__ == "__main__":
    main()
