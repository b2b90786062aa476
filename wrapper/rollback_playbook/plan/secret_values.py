"""The secret values that an inventory or ``-e`` holds, for the redaction to know them by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rollback_playbook.record.redaction.names import kind_of_key

_SHORTEST = 4


def secrets_in(variables: Any, *, secret: bool = False) -> Iterator[str]:
    """Every text under a key that names a secret, at any depth.

    Values shorter than four characters are left out: they would blot out innocent text.
    """
    if isinstance(variables, Mapping):
        for name, value in variables.items():
            yield from secrets_in(value, secret=secret or bool(kind_of_key(str(name))))
    elif isinstance(variables, list):
        for value in variables:
            yield from secrets_in(value, secret=secret)
    elif secret and isinstance(variables, str) and len(variables) >= _SHORTEST:
        yield variables
