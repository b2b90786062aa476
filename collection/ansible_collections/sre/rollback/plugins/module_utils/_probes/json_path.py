# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Paths into a JSON document: ``checks.database.status``, ``items[0].name``, ``["a.b"]``.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    ProbeFailedError,
    ProbeRefusedError,
)

Path = t.Tuple[t.Union[str, int], ...]

_STEP = re.compile(
    r"""\.(?P<name>[^.\[\]"']+) | \[(?P<index>-?\d+)\] | \[(?P<q>["'])(?P<key>.*?)(?P=q)\]""",
    re.VERBOSE,
)


def parse_path(text: str) -> Path:
    """The steps of a path; ``$`` alone is the whole document. Raises ProbeRefusedError."""
    rest = text.strip()
    if rest == "$" or rest.startswith(("$.", "$[")):
        rest = rest[1:]
    elif not rest.startswith("["):
        rest = f".{rest}"
    steps: list[str | int] = []
    position = 0
    while position < len(rest):
        step = _STEP.match(rest, position)
        if step is None:
            raise ProbeRefusedError(f"{text!r} is not a JSON path like status or items[0].name")
        index = step["index"]
        steps.append(int(index) if index is not None else step["name"] or step["key"])
        position = step.end()
    return tuple(steps)


def parse_document(text: str) -> t.Any:
    """The document. Raises ProbeFailedError when it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ProbeFailedError("the answer is not JSON") from None


def value_at(document: t.Any, path: Path, text: str) -> t.Any:
    """The value at ``path``. Raises ProbeFailedError when there is none."""
    value = document
    for step in path:
        try:
            value = value[step] if isinstance(step, int) else _member(value, step)
        except (KeyError, IndexError, TypeError):
            raise ProbeFailedError(f"the answer has no {text}") from None
    return value


def _member(value: t.Any, name: str) -> t.Any:
    if not isinstance(value, dict):
        raise KeyError(name)
    return value[name]
