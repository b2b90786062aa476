#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_integrity
short_description: Say whether the data of a PostgreSQL database are whole
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Asks queries with an expected value, such as the number of orphaned rows, and says which hold.
  - Damaged data are a finding and not a failure of this module, so that a decision can be made on
    them. To stop on them, use M(sre.rollback.health_gate).
  - A query that fails, takes too long or answers nothing is inconclusive, which is never a pass.
  - Every query runs in a read-only transaction.
options:
  database:
    description: Name of the database.
    type: str
    required: true
  checks:
    description: The queries. Without any, the outcome is V(inconclusive).
    required: true
  timeout:
    description: Seconds each query may take.
    type: float
    default: 60
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.read_only
  - sre.rollback._postgres
  - sre.rollback._checks
seealso:
  - module: sre.rollback.health_gate
  - module: sre.rollback.pg_restore_verified
"""

EXAMPLES = r"""
- name: Find out whether the migration damaged the orders
  sre.rollback.pg_integrity:
    login_host: db.example.com
    login_user: auditor
    login_password: "{{ vault_auditor_password }}"
    database: shop
    checks:
      - name: every order line has its order
        query: >-
          SELECT count(*) FROM order_lines l
          WHERE NOT EXISTS (SELECT FROM orders o WHERE o.id = l.order_id)
        expected: 0
"""

RETURN = r"""
outcome:
  description: V(passed) when every check holds, V(failed) when one does not, else V(inconclusive).
  returned: success
  type: str
  sample: failed
failed_checks:
  description: Names of the checks that do not hold.
  returned: success
  type: list
  elements: str
  sample: [every order line has its order]
checks:
  description: What each check found.
  returned: success
  type: list
  elements: dict
  sample:
    - name: every order line has its order
      outcome: failed
      expected: 0
      found: 412
      problem: expected 0, found 412
      elapsed: 0.031
elapsed:
  description: Seconds it took.
  returned: success
  type: float
  sample: 0.12
"""

import time
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_integrity import (
    FAILED,
    checks_argument_spec,
    overall,
    parse_checks,
    run_checks,
)
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    connect,
    postgres_argument_spec,
    require_psycopg,
)


def argument_spec() -> dict:
    return {
        **postgres_argument_spec(),
        "database": {"type": "str", "required": True},
        "checks": {**checks_argument_spec(), "required": True},
        "timeout": {"type": "float", "default": 60},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    require_psycopg(module)
    started = time.monotonic()
    try:
        checks = parse_checks(module.params["checks"])
        with connect(module.params, module.params["database"]) as connection:
            findings = run_checks(connection, checks, timeout=module.params["timeout"])
    except RollbackError as exc:
        module.fail_json(msg=str(exc), **exc.result)
    module.exit_json(
        changed=False,
        outcome=overall(findings),
        failed_checks=[finding.name for finding in findings if finding.outcome == FAILED],
        checks=[asdict(finding) for finding in findings],
        elapsed=round(time.monotonic() - started, 3),
    )


if __name__ == "__main__":
    main()
