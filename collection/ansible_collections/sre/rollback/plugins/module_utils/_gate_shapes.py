# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that should be dictionaries and are not, and options that do not exist.

Ansible's validation breaks on some of the former, and for the latter names what is missing instead.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import typing as t

Spec = t.Mapping[str, t.Any]


def wrong_shapes(params: Spec, spec: Spec, path: str = "") -> list[str]:
    """What is wrong, by the names of the options. Unknown ones at the top are Ansible's to name."""
    found = []
    for name, value in params.items():
        inner = (spec.get(name) or {}).get("options")
        if inner is None or value is None:
            continue
        elements = value if isinstance(value, list) else [value]
        for place, element in enumerate(elements):
            here = f"{path}{name}[{place}]" if isinstance(value, list) else f"{path}{name}"
            found += _wrong(element, inner, here)
    return found


def _wrong(value: t.Any, spec: Spec, here: str) -> list[str]:
    if isinstance(value, dict):
        known = ", ".join(sorted(spec))
        unknown = sorted(str(name) for name in set(value) - set(spec))
        complaints = [f"{here}.{name} is not known. Known are: {known}" for name in unknown]
        return complaints + wrong_shapes(value, spec, f"{here}.")
    if isinstance(value, str) and ("=" in value or value.lstrip().startswith("{")):
        # Ansible reads such a text as a dictionary.
        return []
    return [f"{here} must be a dictionary, not a value of type {type(value).__name__}"]


def without_wrong_shapes(params: t.Any, spec: Spec) -> t.Any:
    """``params`` with a text for each scalar in a dictionary's place, which validation survives."""
    if isinstance(params, list):
        return [without_wrong_shapes(each, spec) for each in params]
    if not isinstance(params, dict):
        return params if params is None else str(params)
    return {name: _survivable(value, spec.get(name) or {}) for name, value in params.items()}


def _survivable(value: t.Any, option: Spec) -> t.Any:
    inner = option.get("options")
    return value if inner is None else without_wrong_shapes(value, inner)
