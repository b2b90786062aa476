#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_flush
short_description: Remove keys from Redis or Valkey without stalling others or losing locks
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Removes keys by pattern, of one database, or of every database, on a single server, behind
    Sentinels, or on all primaries of a cluster.
  - Keys are removed in batches that adapt to the server, so that no other client waits for more
    than O(max_stall_ms).
  - Keys of circuit breakers, locks and sessions survive in every mode, see O(spare) and O(protect).
    When such keys exist, O(mode=db) and O(mode=all) remove all other keys one by one instead of
    flushing, and RV(why) says so.
  - Permissions are tried before anything is changed, on keys that do not exist.
  - Check mode counts what would be removed.
options:
  state:
    description:
      - With V(flushed), keys are removed.
      - With V(restored), the keys of O(restore_point) are put back, to expire when they would have.
        Keys that exist by now are newer and stay. This is what the returned RV(undo) uses.
    type: str
    choices: [flushed, restored]
    default: flushed
  mode:
    description:
      - With V(pattern), the keys that match one of O(patterns) are removed from database O(db).
      - With V(db), all keys of database O(db).
      - With V(all), all keys of every database that has any.
    type: str
    choices: [pattern, db, all]
    default: pattern
  patterns:
    description:
      - Glob patterns of Redis. Required by O(mode=pattern), refused otherwise.
      - A key that several patterns match counts for the first of them.
    type: list
    elements: str
    default: []
  exclude:
    description: Glob patterns of keys that stay.
    type: list
    elements: str
    default: []
  spare:
    description:
      - Well-known keys that stay in every mode.
      - V(breakers) are C(*pybreaker:*), C(*:rollback:hold) and C(rollback:hold).
      - V(locks) are C(rollback:lock:*), C(lock:*), C(*:lock:*) and C(*:lock).
      - V(sessions) are C(session:*), C(sessions:*), C(sess:*), C(*:session:*), C(*:sessions:*),
        C(PHPREDIS_SESSION:*) and C(*django.contrib.sessions*).
    type: list
    elements: str
    choices: [breakers, locks, sessions]
    default: [breakers, locks, sessions]
  protect:
    description: Glob patterns of further keys that stay in every mode.
    type: list
    elements: str
    default: []
  asynchronous:
    description:
      - Whether the server frees memory in the background (C(UNLINK), C(FLUSHDB ASYNC)).
      - Without, other clients wait while it does, and O(max_stall_ms) cannot be kept for large
        values or large databases.
    type: bool
    default: true
  max_stall_ms:
    description: Milliseconds that other clients may have to wait for this module at a time.
    type: int
    default: 20
  restore_point:
    description:
      - With O(state=flushed), a new file on the host where the module runs. What is removed is
        written to it and to the disk before it is removed. Its folder must exist.
      - With O(state=restored), the file to restore from.
      - It holds data of the cache. Only the owner can read it.
    type: path
  restore_point_max_bytes:
    description:
      - The size up to which O(restore_point) may grow. The need is estimated beforehand, and a
        flush that would not fit is refused.
    type: int
    default: 1073741824
  db:
    description: Number of the database.
    type: int
    default: 0
notes:
  - Protected keys are looked for before a database is flushed as a whole. One that is written in
    the milliseconds between the two is lost, so open breakers and take locks before.
  - One very large value is one command for the server. Its C(DUMP) for O(restore_point) may exceed
    O(max_stall_ms).
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.full
  - sre.rollback._redis
seealso:
  - module: sre.rollback.circuit_breaker
"""

EXAMPLES = r"""
- name: The pages and prices that the bad release has cached are gone
  sre.rollback.redis_flush:
    login_host: cache.example.com
    patterns:
      - "page:*"
      - "price:*"
    restore_point: /var/lib/rollback/inc-20260304-1/cache.jsonl

- name: Database 2 is empty except for breakers and locks
  sre.rollback.redis_flush:
    login_host: cache.example.com
    mode: db
    db: 2
    spare: [breakers, locks]

- name: Everything is gone, carts excepted
  sre.rollback.redis_flush:
    sentinels: ["10.0.0.1:26379", "10.0.0.2:26379"]
    sentinel_service: cache
    mode: all
    protect: ["cart:*"]

- name: What was removed is back
  sre.rollback.redis_flush:
    login_host: cache.example.com
    state: restored
    restore_point: /var/lib/rollback/inc-20260304-1/cache.jsonl
"""

RETURN = r"""
before:
  description: Keys in the databases concerned, and how many of them matched, by pattern.
  returned: success
  type: dict
  sample: {keys: 2000000, by_pattern: {"page:*": 1000000, "price:*": 12}}
after:
  description: The same, counted again afterwards on a new connection. In check mode predicted.
  returned: success
  type: dict
  sample: {keys: 1000001, by_pattern: {"page:*": 1, "price:*": 0}}
counts:
  description:
    - For each pattern what it matched, how many of that were removed, spared (because of O(spare)
      and O(protect)) and excluded, and how many are there afterwards although they should not be.
    - The server may show a key twice while it resizes its table, so RV(counts[].matched) can be
      slightly above the truth. RV(counts[].removed) is exact.
  returned: O(state=flushed)
  type: list
  elements: dict
  contains:
    pattern:
      description: The pattern, V(*) for a whole database.
      type: str
      sample: "page:*"
    matched:
      description: Keys that matched.
      type: int
      sample: 1000000
    removed:
      description: Keys that were removed, or in check mode would be.
      type: int
      sample: 1000000
    spared:
      description: Keys that stayed because they are protected.
      type: int
      sample: 0
    excluded:
      description: Keys that stayed because of O(exclude).
      type: int
      sample: 0
    written_meanwhile:
      description: Keys that match, and that clients wrote while the flush ran.
      type: int
      sample: 1
spared:
  description: Protected keys that stayed, by the pattern that protects them.
  returned: O(state=flushed)
  type: dict
  sample: {"*pybreaker:*": 4, "rollback:lock:*": 1}
written_meanwhile:
  description:
    - Keys that match and were written while the flush ran, so that they are still there.
    - Flush again, with their writers paused, when they must not stay.
  returned: O(state=flushed)
  type: int
  sample: 1
why:
  description: Why O(mode=db) or O(mode=all) removed keys one by one; empty when it did not.
  returned: O(state=flushed)
  type: list
  elements: str
  sample:
    - Protected keys exist in database 0 of 10.0.0.5:6379, so the others go one by one.
longest_batch_ms:
  description: How long the server was busy with the longest batch, as seen from here.
  returned: O(state=flushed)
  type: float
  sample: 9.6
restore_point:
  description:
    - The file with what was removed, null without O(restore_point) or when nothing was removed.
    - C(unsettled) counts values that may have changed in the moment between being kept and being
      removed. It is 0 except in clusters and for values that change all the time.
  returned: O(state=flushed)
  type: dict
  sample:
    path: /var/lib/rollback/inc-20260304-1/cache.jsonl
    keys: 1000012
    bytes: 190432118
    unsettled: 0
restored:
  description:
    - What became of the keys of O(restore_point).
    - C(exists) were left alone because they are there, C(expired) have outlived their time, and
      C(torn) tells of a last line that was cut off, whose key was never removed.
  returned: O(state=restored)
  type: dict
  sample: {keys: 1000012, restored: 1000000, exists: 2, expired: 10, torn: false}
elapsed:
  description: Seconds that the module took.
  returned: success
  type: float
  sample: 2.41
undo:
  description:
    - The module and arguments that bring back what was; null when nothing changed.
    - Also null after a flush without O(restore_point), which cannot be undone.
  returned: success
  type: dict
  sample:
    module: sre.rollback.redis_flush
    args: {state: restored, restore_point: /var/lib/rollback/inc-20260304-1/cache.jsonl}
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._redis import (
    REDIS_IMPORT_ERROR,
    ConnectionOptions,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_flush import Flush
from ansible_collections.sre.rollback.plugins.module_utils._redis_flush_report import (
    REPEATED,
    SPARED,
    flush_result,
    read_order,
    undo_of,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_keep import (
    refuse_failures,
    restore_keys,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_options import (
    REDIS_REQUIRED_TOGETHER,
    redis_argument_spec,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_restore_point import (
    RestorePointWriter,
    open_restore_point,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_servers import find_databases


def argument_spec() -> dict[str, dict[str, t.Any]]:
    patterns: dict[str, t.Any] = {"type": "list", "elements": "str", "default": []}
    return {
        **redis_argument_spec(),
        "state": {"type": "str", "choices": ["flushed", "restored"], "default": "flushed"},
        "mode": {"type": "str", "choices": ["pattern", "db", "all"], "default": "pattern"},
        "patterns": patterns,
        "exclude": patterns,
        "spare": {
            "type": "list",
            "elements": "str",
            "choices": list(SPARED),
            "default": list(SPARED),
        },
        "protect": patterns,
        "asynchronous": {"type": "bool", "default": True},
        "max_stall_ms": {"type": "int", "default": 20},
        "restore_point": {"type": "path"},
        "restore_point_max_bytes": {"type": "int", "default": 1 << 30},
        "db": {"type": "int", "default": 0},
    }


def flush(params: t.Mapping[str, t.Any], *, check: bool) -> dict[str, t.Any]:
    order = read_order(params)
    options, path = ConnectionOptions.from_params(params), params["restore_point"]
    databases = find_databases(params, options, every=params["mode"] == "all")
    work = Flush(databases, params, order, keep=path is not None)
    work.prepare()
    if path is not None:
        work.refuse_too_large(path, params["restore_point_max_bytes"])
    if check:
        return flush_result(work.count(), path, point=None)
    if path is None:
        return flush_result(work.remove(None), path, point=None)
    return flush_with_restore_point(work, params, path)


def flush_with_restore_point(
    work: Flush, params: t.Mapping[str, t.Any], path: str
) -> dict[str, t.Any]:
    writer = RestorePointWriter(
        path,
        header={name: params[name] for name in REPEATED},
        max_bytes=params["restore_point_max_bytes"],
    )
    try:
        report = work.remove(writer)
    except RollbackError as exc:
        exc.result.update(
            changed=writer.keys > 0,
            restore_point=writer.finish(),
            undo=undo_of(path) if writer.keys else None,
        )
        raise
    point = writer.finish()
    return flush_result(report, path, point=point and {**point, "unsettled": report.unsettled})


def restore(params: t.Mapping[str, t.Any], *, check: bool) -> dict[str, t.Any]:
    point = open_restore_point(params["restore_point"])
    outcome = restore_keys(params, point, check=check)
    refuse_failures(outcome, point)
    undo = {"state": "flushed", **{name: point.header[name] for name in REPEATED}}
    return {
        "changed": outcome.restored > 0,
        "before": {"keys": outcome.exists},
        "after": {"keys": outcome.exists + outcome.restored},
        "restored": {
            "keys": point.keys,
            "restored": outcome.restored,
            "exists": outcome.exists,
            "expired": outcome.expired,
            "torn": point.torn,
        },
        "undo": {"module": "sre.rollback.redis_flush", "args": undo} if outcome.restored else None,
    }


def warn(module: AnsibleModule, result: t.Mapping[str, t.Any]) -> None:
    for count in result.get("counts", ()):
        if count["spared"] and not count["removed"]:
            module.warn(
                f"Nothing was removed for {count['pattern']!r}: all {count['spared']} keys that "
                "match are protected. Set spare to choose what is."
            )
    if result.get("written_meanwhile"):
        module.warn(
            f"{result['written_meanwhile']} keys were written while the flush ran, and are there."
        )


def main() -> None:
    started = time.monotonic()
    module = AnsibleModule(
        argument_spec=argument_spec(),
        supports_check_mode=True,
        required_together=REDIS_REQUIRED_TOGETHER,
        required_if=[("state", "restored", ["restore_point"])],
    )
    if REDIS_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("redis"), exception=REDIS_IMPORT_ERROR)
    act = flush if module.params["state"] == "flushed" else restore
    try:
        result = act(module.params, check=module.check_mode)
    except RollbackError as exc:
        module.fail_json(msg=str(exc), exception=exc, **exc.result)
    warn(module, result)
    result["elapsed"] = round(time.monotonic() - started, 6)
    if module._diff:
        result["diff"] = {"before": result["before"], "after": result["after"]}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
