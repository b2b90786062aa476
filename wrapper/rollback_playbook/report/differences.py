"""What became different between two states, said in as few words as that takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_MOST = 12
_DEEPEST = 6


def differences(before: Any, after: Any) -> list[tuple[str, Any, Any]]:
    """``(path, old, new)`` of what differs, at most a dozen; ``None`` is what was not there.

    The path of a whole state that is no object is empty.
    """
    found = list(_differing("", before, after, 0))
    if len(found) <= _MOST:
        return found
    more = f"and {len(found) - _MOST} more"
    return [*found[:_MOST], (more, "…", "…")]


def _differing(path: str, before: Any, after: Any, depth: int) -> Iterator[tuple[str, Any, Any]]:
    if before == after:
        return
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)) or depth > _DEEPEST:
        yield path, before, after
        return
    for name in dict.fromkeys([*before, *after]):
        below = f"{path}.{name}" if path else str(name)
        yield from _differing(below, before.get(name), after.get(name), depth + 1)
