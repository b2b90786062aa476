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
  - Gives each flag one value for everybody, and evaluates it afterwards.
  - In a file, targeting that would win over the value is taken out, everything else stays as it is,
    and the file is replaced in one step. JSON keeps its order and indentation, YAML its comments,
    order and quotes, too. RV(undo) has what was.
  - A file is replaced by renaming, so a container has to mount its folder, not the file itself.
options:
  provider:
    description:
      - Where the flags live.
      - V(flagd_file) is a JSON or YAML file of flagd's format, read by flagd or by an OpenFeature
        provider.
      - V(launchdarkly_file) is a JSON or YAML file that LaunchDarkly's SDKs read instead of asking
        its service.
      - V(unleash) is an Unleash server.
    type: str
    choices: [flagd_file, launchdarkly_file, unleash]
    default: flagd_file
  path:
    description: The file of the flags. Required by V(flagd_file) and V(launchdarkly_file).
    type: path
  flags:
    description:
      - Flags by name, each with the name of a variant, or V(true) or V(false) for the variant with
        that value. V(on), V(off) and the like mean these when no variant is called so.
      - With V(flagd_file), V(DISABLED) by this name makes every client use the default in its own
        code. That is hardly ever the safe state.
      - With V(launchdarkly_file), the value of a variation. V(DISABLED) turns the flag off, which
        gives everybody its off variation.
      - With V(unleash), V(true) or V(false).
    type: dict
  definitions:
    description: Flags by name, each exactly as it shall stand. This is what RV(undo) uses.
    type: dict
  restore_point:
    description:
      - With O(flags), a file to keep the flags in as they were found, before they are changed. What
        is there already is left alone, so that a second attempt does not hide what the first one
        found.
      - Without O(flags), the file to put the flags back from. It is removed afterwards; when there
        is none, nothing was ever changed and nothing has to be put back.
      - Without it, a run that is killed before it could answer leaves no way back.
    type: path
  poll_interval:
    description: Seconds between two looks of the slowest client at the flags.
    type: float
    default: 5
  verify:
    description:
      - Whether to evaluate the flags before and after the change, and to fail when they are not as
        asked.
      - With a file, by the evaluator of C(openfeature-provider-flagd), or by
        C(launchdarkly-server-sdk), when it is installed where the module runs; otherwise as
        this module reads the file. RV(evaluated_by) tells.
      - With V(unleash), by what the server tells clients, when O(client_token) is given.
    type: bool
    default: true
  url:
    description: Address of the Unleash server. Required by V(unleash).
    type: str
  api_token:
    description: Token for Unleash's admin API. Required by V(unleash).
    type: str
  client_token:
    description: Token of a backend client of Unleash, for O(environment).
    type: str
  project:
    description: Project of the flags in Unleash.
    type: str
    default: default
  environment:
    description: Environment of Unleash in which the flags are switched.
    type: str
    default: production
  validate_certs:
    description: Whether the certificate of O(url) must be valid.
    type: bool
    default: true
  ca_certs:
    description: File with the certificates to trust instead of the system's, for O(url).
    type: path
  timeout:
    description: Seconds to wait for one answer of O(url).
    type: float
    default: 5
requirements:
  - ruamel.yaml, for a file that ends in C(.yaml) or C(.yml)
extends_documentation_fragment:
  - sre.rollback._attributes
  - sre.rollback._attributes.full
seealso:
  - name: Flag definitions of flagd
    description: The format of flagd's files.
    link: https://flagd.dev/reference/flag-definitions/
  - name: Reading flags from a file with LaunchDarkly
    description: The format of LaunchDarkly's files.
    link: https://launchdarkly.com/docs/sdk/features/flags-from-files
"""

EXAMPLES = r"""
- name: Nobody can buy, and requests are limited
  sre.rollback.feature_flag:
    path: /etc/flagd/flags.json
    flags:
      checkout: "off"
      rate_limiting: true
    restore_point: /var/lib/rollback-playbook/restore-points/flags.json

- name: The flags are as they were found
  sre.rollback.feature_flag:
    path: /etc/flagd/flags.json
    restore_point: /var/lib/rollback-playbook/restore-points/flags.json

- name: Recommendations are off in Unleash
  sre.rollback.feature_flag:
    provider: unleash
    url: https://unleash.example.com
    api_token: "{{ vault_unleash_token }}"
    environment: production
    flags:
      recommendations: false
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
evaluated_by:
  description: What evaluated them.
  returned: when O(verify=true), outside check mode
  type: str
  sample: openfeature-flagd-core
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

import contextlib
import json
import math
import time
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sre.rollback.plugins.module_utils import _atomic_file
from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._flag_flagd_file import FlagdFile
from ansible_collections.sre.rollback.plugins.module_utils._flag_launchdarkly_file import (
    LaunchDarklyFile,
)
from ansible_collections.sre.rollback.plugins.module_utils._flag_provider import (
    Change,
    FlagError,
    Provider,
    UnchangedError,
)
from ansible_collections.sre.rollback.plugins.module_utils._flag_unleash import (
    Unleash,
    server_from,
)
from ansible_collections.sre.rollback.plugins.module_utils._secrets import secrets_in

_PROVIDERS: dict[str, t.Callable[[t.Mapping[str, t.Any]], Provider]] = {
    "flagd_file": lambda params: FlagdFile(params["path"], poll_interval=params["poll_interval"]),
    "launchdarkly_file": lambda params: LaunchDarklyFile(
        params["path"], poll_interval=params["poll_interval"]
    ),
    "unleash": lambda params: Unleash(server_from(params), poll_interval=params["poll_interval"]),
}


def argument_spec() -> dict:
    return {
        "provider": {"type": "str", "choices": list(_PROVIDERS), "default": "flagd_file"},
        "path": {"type": "path"},
        "flags": {"type": "dict"},
        "definitions": {"type": "dict"},
        "restore_point": {"type": "path"},
        "poll_interval": {"type": "float", "default": 5},
        "verify": {"type": "bool", "default": True},
        "url": {"type": "str"},
        "api_token": {"type": "str", "no_log": True},
        "client_token": {"type": "str", "no_log": True},
        "project": {"type": "str", "default": "default"},
        "environment": {"type": "str", "default": "production"},
        "validate_certs": {"type": "bool", "default": True},
        "ca_certs": {"type": "path"},
        "timeout": {"type": "float", "default": 5},
    }


def provider_of(params: t.Mapping[str, t.Any]) -> Provider:
    """The place of the flags, read. Raises FlagError."""
    if not all(0 < params[name] < math.inf for name in ("poll_interval", "timeout")):
        raise FlagError(
            "poll_interval and timeout must be a number of seconds above 0. Nothing was changed."
        )
    return _PROVIDERS[params["provider"]](params)


def alone(params: t.Mapping[str, t.Any], *, check_mode: bool) -> t.ContextManager[None]:
    """Keeps others who change flags by this module away from the file until it is written."""
    if params["path"] is None or check_mode:
        return contextlib.nullcontext()
    return _atomic_file.alone(params["path"])


def plan(provider: Provider, params: t.Mapping[str, t.Any]) -> Change:
    if params["flags"] is not None:
        return provider.plan(params["flags"])
    if params["definitions"] is not None:
        return provider.plan_definitions(params["definitions"])
    return provider.plan_definitions(kept(params["restore_point"]))


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


@contextlib.contextmanager
def keeping(path: str, change: Change) -> t.Iterator[None]:
    """What was is in the restore point while it is changed, and stays when anything was changed."""
    found = _atomic_file.read(path)
    keep(path, change)
    try:
        yield
    except (_atomic_file.FileError, UnchangedError):
        if found is None:
            _atomic_file.remove(path)
        else:
            _atomic_file.replace(path, found)
        raise


def keep(path: str, change: Change) -> None:
    """Add to a restore point the flags that it does not have yet. Raises FlagError."""
    stored = {**change.touched, **kept(path)}
    try:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise FlagError(
            f"the restore point {path} cannot be written: {exc.strerror}. Nothing was changed."
        ) from exc
    _atomic_file.replace(path, json.dumps(stored).encode(), mode=0o600)


def act(provider: Provider, change: Change, params: t.Mapping[str, t.Any]) -> None:
    """Keep what was, change, and drop a restore point that has been used."""
    path = params["restore_point"]
    if change.changed:
        if params["verify"]:
            rehearse(provider, change)
        to_be_kept = path and params["flags"] is not None
        with keeping(path, change) if to_be_kept else contextlib.nullcontext():
            provider.apply(change)
    if path and params["flags"] is None:
        _atomic_file.remove(path)


def rehearse(provider: Provider, change: Change) -> None:
    try:
        provider.rehearse(change)
    except FlagError as exc:
        raise FlagError(f"{exc} Nothing was changed. Mend the file first.") from exc


def verified(provider: Provider, change: Change) -> dict:
    """What clients get; raises FlagError when that is not what was asked for."""
    found = provider.evaluated(list(change.after))
    expected = provider.expected(change)
    wrong = sorted(name for name in expected if found.values.get(name) != expected[name])
    result = {"evaluated": found.values, "evaluated_by": found.by}
    if wrong:
        raise FlagError(
            f"flag {wrong[0]!r} was set, but by {found.by} a client gets "
            f"{found.values.get(wrong[0])!r} instead of {expected[wrong[0]]!r}. Does somebody else "
            "write these flags too?",
            **result,
        )
    return result


def undo_of(params: t.Mapping[str, t.Any], provider: Provider, change: Change) -> dict | None:
    if not change.changed:
        return None
    args = {"provider": params["provider"], **provider.place, "definitions": change.touched}
    return {"module": "sre.rollback.feature_flag", "args": args}


def main() -> None:
    module = AnsibleModule(
        argument_spec=argument_spec(),
        mutually_exclusive=[("flags", "definitions")],
        required_one_of=[("flags", "definitions", "restore_point")],
        required_if=[
            ("provider", "flagd_file", ["path"]),
            ("provider", "launchdarkly_file", ["path"]),
            ("provider", "unleash", ["url", "api_token"]),
        ],
        supports_check_mode=True,
    )
    params = module.params
    module.no_log_values.update(secrets_in(params["url"]))
    started = time.monotonic()
    result: dict = {}
    try:
        with alone(params, check_mode=module.check_mode):
            provider = provider_of(params)
            change = plan(provider, params)
            if not module.check_mode:
                act(provider, change, params)
        if params["verify"] and not module.check_mode:
            result = verified(provider, change)
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
        undo=undo_of(params, provider, change),
        **result,
    )


if __name__ == "__main__":
    main()
