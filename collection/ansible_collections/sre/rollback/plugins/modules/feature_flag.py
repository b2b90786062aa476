#!/usr/bin/python
# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: feature_flag
short_description: Set feature flags to a named state that clients really read
version_added: 0.1.0
author:
  - The rollback-playbook authors (@rollback-playbook)
description:
  - Gives each flag one variant for everybody, in one atomic replacement, and evaluates it then.
  - Targeting rules are set aside, because they would win over the variant. RV(undo) has them.
options:
  provider:
    description:
      - Where the flags live.
      - V(flagd_file) is a file of flagd's JSON format, read by flagd or by an OpenFeature provider.
    type: str
    choices: [flagd_file]
    default: flagd_file
  path:
    description: The file of the flags.
    type: path
    required: true
  flags:
    description:
      - Flags by name, each with the name of a variant, or V(true) or V(false) for the variant with
        that value.
      - V(DISABLED) by this name makes every client use the default in its own code. That is hardly
        ever the safe state.
    type: dict
  definitions:
    description: Flags by name, each exactly as it shall stand. This is what RV(undo) uses.
    type: dict
  restore_point:
    description:
      - With O(flags), a file to keep the flags in as they were found, before they are changed.
        One that is there already is left alone, so that a second attempt does not hide what the
        first one found.
      - Without O(flags), the file to put the flags back from. It is removed afterwards; when there
        is none, nothing was ever changed and nothing has to be put back.
    type: path
  poll_interval:
    description: Seconds between two looks of the slowest client at the flags.
    type: float
    default: 5
  verify:
    description: Whether to evaluate the flags afterwards, and to fail when they are not as asked.
    type: bool
    default: true
extends_documentation_fragment:
  - sre.rollback._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - name: Flag definitions of flagd
    description: The format of the file.
    link: https://flagd.dev/reference/flag-definitions/
"""

EXAMPLES = r"""
- name: Nobody can buy, and requests are limited
  sre.rollback.feature_flag:
    path: /etc/flagd/flags.json
    flags:
      checkout: "off"
      rate_limiting: true
"""

RETURN = r"""
before:
  description: The flags as they were, by name.
  returned: success
  type: dict
  sample: &flag
    checkout: {state: ENABLED, variants: {"on": true, "off": false}, defaultVariant: "on"}
after:
  description: The flags as they are.
  returned: success
  type: dict
  sample: *flag
evaluated:
  description:
    - The value that a client gets for each flag. V(null) is the default in the client's own code.
  returned: when O(verify=true), outside check mode
  type: dict
  sample: {checkout: false}
visible_within:
  description: Seconds until every client has seen the change.
  returned: success
  type: float
  sample: 5.0
elapsed:
  description: Seconds it took.
  returned: success
  type: float
  sample: 0.02
undo:
  description: The module and arguments that bring back what was; null when nothing changed.
  returned: success
  type: dict
  sample:
    module: sre.rollback.feature_flag
    args:
      provider: flagd_file
      path: /etc/flagd/flags.json
      definitions:
        checkout: {state: ENABLED, variants: {"on": true, "off": false}, defaultVariant: "on"}
"""

import json
import time
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._flag_flagd_file import FlagdFile
from ansible_collections.sre.rollback.plugins.module_utils._flag_provider import (
    Change,
    FlagError,
    Provider,
)


def argument_spec() -> dict:
    return {
        "provider": {"type": "str", "choices": ["flagd_file"], "default": "flagd_file"},
        "path": {"type": "path", "required": True},
        "flags": {"type": "dict"},
        "definitions": {"type": "dict"},
        "restore_point": {"type": "path"},
        "poll_interval": {"type": "float", "default": 5},
        "verify": {"type": "bool", "default": True},
    }


def provider_of(params: t.Mapping[str, t.Any]) -> Provider:
    return FlagdFile(params["path"], poll_interval=params["poll_interval"])


def plan(provider: Provider, params: t.Mapping[str, t.Any]) -> Change:
    if params["flags"] is not None:
        return provider.plan(params["flags"])
    return provider.plan_definitions(params["definitions"] or kept(params["restore_point"]))


def kept(path: str) -> dict:
    """The flags of a restore point; none when there is no file. Raises FlagError."""
    content = _atomic_file.read(path)
    if content is None:
        return {}
    try:
        definitions = json.loads(content)
    except ValueError as exc:
        raise FlagError(f"the restore point {path} is not JSON: {exc}. Nothing changed.") from exc
    if not isinstance(definitions, dict):
        raise FlagError(f"the restore point {path} holds no flags. Nothing was changed.")
    return definitions


def act(provider: Provider, change: Change, params: t.Mapping[str, t.Any]) -> None:
    """Keep what was, change, and drop a restore point that has been used."""
    path = params["restore_point"]
    if path and params["flags"] is not None and change.changed and _atomic_file.read(path) is None:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _atomic_file.replace(path, json.dumps(change.before).encode(), mode=0o600)
    if change.changed:
        provider.apply(change)
    if path and params["flags"] is None:
        _atomic_file.remove(path)


def verified(provider: Provider, change: Change) -> dict:
    """What clients get; raises FlagError when that is not what was asked for."""
    expected = provider.expected(change)
    found = provider.evaluated(expected)
    wrong = sorted(name for name in expected if found[name] != expected[name])
    if wrong:
        raise FlagError(
            f"flag {wrong[0]!r} was set, but a client gets {found[wrong[0]]!r} instead of "
            f"{expected[wrong[0]]!r}. Somebody else writes these flags too.",
            evaluated=found,
        )
    return found


def undo_of(params: t.Mapping[str, t.Any], change: Change) -> dict | None:
    if not change.changed:
        return None
    args = {
        "provider": params["provider"],
        "path": params["path"],
        "definitions": change.touched,
    }
    return {"module": "sre.rollback.feature_flag", "args": args}


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        mutually_exclusive=[("flags", "definitions")],
        required_one_of=[("flags", "definitions", "restore_point")],
        supports_check_mode=True,
    )
    params = module.params
    started = time.monotonic()
    result: dict = {}
    try:
        provider = provider_of(params)
        change = plan(provider, params)
        if not module.check_mode:
            act(provider, change, params)
        if params["verify"] and not module.check_mode:
            result["evaluated"] = verified(provider, change)
    except RollbackError as exc:
        module.fail_json(msg=str(exc), **exc.result)
    if module._diff:
        result["diff"] = {"before": change.before, "after": change.after}
    module.exit_json(
        changed=change.changed,
        before=change.before,
        after=change.after,
        visible_within=provider.visible_within,
        elapsed=round(time.monotonic() - started, 3),
        undo=undo_of(params, change),
        **result,
    )


if __name__ == "__main__":
    main()
