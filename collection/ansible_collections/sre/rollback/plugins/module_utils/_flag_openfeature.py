# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Flags evaluated as a client does it: by the evaluator of OpenFeature's flagd provider.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._flag_provider import FlagError

NAME = "openfeature-flagd-core"
#: The kind of flag, by the type of its default variant.
_KINDS: list[tuple[tuple[type, ...], str]] = [
    ((bool,), "boolean"),
    ((str,), "string"),
    ((int,), "integer"),
    ((float,), "float"),
    ((dict, list), "object"),
]


def evaluated(document: t.Mapping[str, t.Any], flags: t.Mapping[str, t.Any]) -> dict | None:
    """The value of each of ``flags`` for nobody in particular; None when there is no evaluator.

    A value of None is the default in the client's own code. Raises FlagError when a client could
    not read the document or a flag.
    """
    try:
        from openfeature.contrib.tools.flagd.core import FlagdCore
        from openfeature.exception import OpenFeatureError
    except ImportError:
        return None
    core = FlagdCore()
    try:
        core.set_flags(json.dumps(document))
        return {name: _value(core, name, flag) for name, flag in flags.items()}
    except (OpenFeatureError, TypeError, ValueError) as exc:
        reason = getattr(exc, "error_message", None) or exc.__cause__ or exc
        said = str(reason).rstrip(".")
        raise FlagError(f"an OpenFeature client cannot evaluate the flags: {said}.") from exc


def _value(core: t.Any, name: str, flag: t.Mapping[str, t.Any]) -> t.Any:
    variants = flag["variants"]
    value = variants.get(flag.get("defaultVariant"), next(iter(variants.values())))
    kind = next(kind for types, kind in _KINDS if isinstance(value, types))
    found = getattr(core, f"resolve_{kind}_value")(name, None)
    return None if found.variant is None else found.value
