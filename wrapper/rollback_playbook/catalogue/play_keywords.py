"""The variables of a play's own keywords, which Ansible reads without the hosts' variables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_KEYWORDS = ("serial", "max_fail_percentage", "any_errors_fatal")
_NAME = re.compile(r"\{\{\s*([A-Za-z_]\w*)")


def keyword_variables(plays: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Those with which the keywords' templates begin, as in ``serial: "{{ batch | default(1) }}"``.

    What the play, or its import, says about one of them is read instead of it.
    """
    return frozenset(
        name
        for play in plays
        for keyword in _KEYWORDS
        for name in _names(play.get(keyword), play.get("vars") or {})
    )


def _names(value: Any, variables: Mapping[str, Any]) -> set[str]:
    names = set(_NAME.findall(str(value)))
    own = names & set(variables)
    others = {key: each for key, each in variables.items() if key not in own}
    return (names - own).union(*(_names(variables[name], others) for name in own))
