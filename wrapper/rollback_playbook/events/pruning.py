"""What of a module's result goes into the record: the facts, within bounds.

Cut values say so (``[cut: 12345 characters]``), so that a reader never takes a part for the whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

#: Bounds in characters, items and bytes of JSON.
MAX_TEXT = 4_000
MAX_ITEMS = 100
MAX_RESULT = 64_000

#: Ansible's own bookkeeping, and what says the same again in another form.
_DROPPED = frozenset(
    {
        "_ansible_item_label", "_ansible_no_log", "_ansible_parsed", "_ansible_verbose_always",
        "_ansible_verbose_override", "_ansible_delegated_vars", "ansible_loop_var",
        "ansible_facts", "deprecations", "exception", "failed", "invocation", "stderr_lines",
        "stdout_lines", "unreachable", "warnings", "_ansible_ignore_errors",
    }
)  # fmt: skip


def pruned_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """``result`` without Ansible's bookkeeping; not bounded yet."""
    kept = {key: value for key, value in result.items() if key not in _DROPPED}
    facts = result.get("ansible_facts")
    if isinstance(facts, Mapping) and facts:
        kept["ansible_facts"] = f"[cut: {len(facts)} facts]"
    return kept


def bounded(value: dict[str, Any], size: int = MAX_RESULT) -> dict[str, Any]:
    """``value`` cut so that its JSON stays near ``size`` bytes; tighter bounds until it fits.

    What is shorter than one text may be is kept as it is, which is nearly everything.
    """
    if _length(value) <= MAX_TEXT:
        return value
    text, items = MAX_TEXT, MAX_ITEMS
    while True:
        smaller: dict[str, Any] = cut(value, text, items)
        if text < _LEAST_TEXT or _length(smaller) <= size:
            return smaller
        text, items = text // 4, max(items // 4, 3)


def _length(value: dict[str, Any]) -> int:
    try:
        return len(json.dumps(value, default=str))
    except (ValueError, RecursionError):
        return MAX_RESULT * 2


_LEAST_TEXT = 40
_MAX_DEPTH = 12


def cut(value: Any, text: int, items: int, depth: int = 0) -> Any:
    """``value`` with texts of at most ``text`` characters and containers of ``items`` items."""
    if isinstance(value, str):
        return value if len(value) <= text else cut_text(value, text)
    if depth >= _MAX_DEPTH and isinstance(value, (dict, list)):
        return "[cut: too deep]"
    if isinstance(value, dict):
        return _cut_mapping(value, text, items, depth)
    if isinstance(value, list):
        kept = [cut(each, text, items, depth + 1) for each in value[:items]]
        return [*kept, f"[cut: {len(value) - items} items]"] if len(value) > items else kept
    return value


def _cut_mapping(value: dict[str, Any], text: int, items: int, depth: int) -> dict[str, Any]:
    many = len(value) > items
    chosen = list(value.items())[:items] if many else value.items()
    kept = {key: cut(each, text, items, depth + 1) for key, each in chosen}
    if many:
        kept["[cut]"] = f"[cut: {len(value) - items} keys]"
    return kept


def cut_text(text: str, limit: int) -> str:
    """Head and tail of ``text``, and how much lies between; errors stand at the end."""
    head = limit // 2
    tail = limit - head
    return f"{text[:head]}[cut: {len(text) - limit} characters]{text[-tail:]}"
