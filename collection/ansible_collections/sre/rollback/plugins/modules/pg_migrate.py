#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_migrate
short_description: Take schema migrations down to a version, and up again
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Reads which migrations a database says are applied, runs what leads to O(target), and reads the
    state again. Only a state that is O(target) afterwards is a success.
  - With O(directory), SQL files run in order, each in one transaction with its note in the history.
    Before the first one runs, every file is there, read, and known to be runnable here; otherwise
    nothing is run.
  - With O(command), a program of the application does it (Rails, Django, Alembic, Flyway …).
  - One run at a time; an advisory lock sees to that.
options:
  database:
    description: Name of the database.
    type: str
    required: true
  target:
    description:
      - Version that is to be the newest applied one, or V(zero) for none.
      - One that is applied is reached by going down, one newer than all applied by going up.
      - Leading zeros do not count, so that V(7) and C(007) are the same.
    type: str
    required: true
  directory:
    description: Folder of the SQL files.
    type: path
  command:
    description:
      - Program and arguments that bring the database to O(target); no shell is involved.
      - It is not run when the database is at O(target) already, nor in check mode.
      - When this module is killed, the program may go on.
      - It is returned as part of RV(undo), so keep passwords out of it.
    type: list
    elements: str
  undo_command:
    description: Program and arguments that lead back, for RV(undo).
    type: list
    elements: str
  chdir:
    description: Folder to run O(command) in.
    type: path
  down_pattern:
    description:
      - Regular expression for the names of the files that go down, with a group C(version).
      - A file that both patterns match must say which part goes where, as dbmate
        (C(-- migrate:down)), goose (C(-- +goose Down)) and sql-migrate do.
    type: str
    default: '^(?P<version>\d+)[_.-].*\.down\.sql$'
  up_pattern:
    description: The same for files that go up. They are needed for RV(undo).
    type: str
    default: '^(?P<version>\d+)[_.-].*\.up\.sql$'
  table:
    description:
      - Table that says what is applied, with or without its schema (C(schema.table)).
      - This module notes there what it runs.
      - One of O(table) and O(query) is required.
    type: str
  column:
    description: Column of O(table) with the version.
    type: str
    default: version
  query:
    description:
      - Query for the applied versions, oldest first, for histories of another form. The migrations
        have to note themselves then, or O(command) does.
    type: str
  history:
    description:
      - With V(rows), there is one row for each applied version.
      - With V(current), there is one row with the newest (golang-migrate, Alembic). All versions
        before it that have a file count as applied. A column C(dirty) is set to false.
    type: str
    choices: [rows, current]
    default: rows
  lock_timeout:
    description:
      - Seconds that a statement waits for a lock, 0 for as long as it takes.
      - Everybody else queues behind a statement that waits for an exclusive lock.
    type: float
    default: 10.0
notes:
  - A file whose comments say C(no transaction) or C(transaction:false) runs statement by statement
    without one, for C(CREATE INDEX CONCURRENTLY) and the like. When it fails, what ran stays.
  - A file may begin with C(BEGIN) and end with C(COMMIT). Other transaction control, commands of
    the program psql and C(COPY … FROM STDIN) are refused.
  - Going down can delete data. Make a backup first; RV(undo) brings back the schema alone.
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.full
  - sre.rollback._postgres
seealso:
  - module: sre.rollback.pg_backup_verified
"""

EXAMPLES = r"""
- name: Schema fits release 2.3 again
  sre.rollback.pg_migrate:
    login_host: db.example.com
    database: shop
    directory: /srv/shop/migrations
    table: schema_migrations
    target: "20260211093000"

- name: Schema fits again, by the application's own means
  sre.rollback.pg_migrate:
    login_host: db.example.com
    database: shop
    command: [bin/alembic, downgrade, 3f2a9c81d7e4]
    undo_command: [bin/alembic, upgrade, 9b1c77d0a2f5]
    chdir: /srv/shop
    table: alembic_version
    column: version_num
    history: current
    target: 3f2a9c81d7e4
"""

RETURN = r"""
before:
  description: The applied versions, oldest first, and the newest.
  returned: success
  type: dict
  sample: {applied: ["1", "2", "3"], newest: "3"}
after:
  description: The same afterwards, or in check mode as it would be.
  returned: success
  type: dict
  sample: {applied: ["1", "2"], newest: "2"}
direction:
  description: Whether it went C(down) or C(up); null when nothing ran, or O(command) did it.
  returned: success
  type: str
  sample: down
ran:
  description: Files that ran, in their order, or in check mode would run.
  returned: success, and when one failed
  type: list
  elements: dict
  sample:
    - version: "3"
      file: 0003_coupons.down.sql
      direction: down
      sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      transaction: true
      elapsed: 0.018
failed_file:
  description: File that failed.
  returned: when one failed
  type: str
  sample: 0002_prices.down.sql
output:
  description: The last lines of O(command).
  returned: when O(command) failed, or did not reach O(target)
  type: str
  sample: "relation coupons does not exist"
elapsed:
  description: Seconds that the module took.
  returned: success
  type: float
  sample: 0.061
undo:
  description: The module and arguments that bring back what was; null when there is no way back.
  returned: success
  type: dict
  sample:
    module: sre.rollback.pg_migrate
    args: {database: shop, directory: /srv/shop/migrations, table: schema_migrations, target: "3"}
undo_reason:
  description: Why there is no RV(undo) although something changed.
  returned: success
  type: str
  sample: there is no up file for version 3
"""

import contextlib
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_plan import NoWayError
from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_run import only_one
from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_state import (
    CURRENT,
    ROWS,
    History,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_ways import (
    by_command,
    by_files,
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
        "target": {"type": "str", "required": True},
        "directory": {"type": "path"},
        "command": {"type": "list", "elements": "str"},
        "undo_command": {"type": "list", "elements": "str"},
        "chdir": {"type": "path"},
        "down_pattern": {"type": "str", "default": r"^(?P<version>\d+)[_.-].*\.down\.sql$"},
        "up_pattern": {"type": "str", "default": r"^(?P<version>\d+)[_.-].*\.up\.sql$"},
        "table": {"type": "str"},
        "column": {"type": "str", "default": "version"},
        "query": {"type": "str"},
        "history": {"type": "str", "choices": [ROWS, CURRENT], "default": ROWS},
        "lock_timeout": {"type": "float", "default": 10.0},
    }


def read_history(params: t.Mapping[str, t.Any]) -> History:
    """Where the state is. Raises NoWayError for options that cannot be."""
    if not params["target"]:
        raise NoWayError("target is empty; use zero for no migration at all. Nothing was run.")
    if params["lock_timeout"] < 0:
        raise NoWayError("lock_timeout must not be negative. Nothing was run.")
    if params["command"] == []:
        raise NoWayError("command is empty. Nothing was run.")
    return History(
        table=tuple(params["table"].split(".", 1)) if params["table"] else (),
        column=params["column"],
        query=params["query"] or "",
        kind=params["history"],
    )


def run(module: AnsibleModule) -> dict[str, t.Any]:
    params, check = module.params, module.check_mode
    history = read_history(params)
    with contextlib.closing(connect(params, params["database"])) as connection, only_one(
        connection, params["database"]
    ):
        if params["directory"]:
            return by_files(connection, history, params, check=check)
        return by_command(connection, history, params, module.run_command, check=check)


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        supports_check_mode=True,
        mutually_exclusive=[
            ("directory", "command"),
            ("directory", "undo_command"),
            ("directory", "chdir"),
            ("table", "query"),
        ],
        required_one_of=[("directory", "command"), ("table", "query")],
    )
    require_psycopg(module)
    started = time.monotonic()
    try:
        result = run(module)
    except RollbackError as exc:
        module.fail_json(msg=str(exc), exception=exc, **exc.result)
    result["elapsed"] = round(time.monotonic() - started, 3)
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
