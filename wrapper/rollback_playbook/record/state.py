"""The state of an incident, from its summary and from whether its process is still there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rollback_playbook.record.process import Liveness, liveness


def state_of(summary: Mapping[str, Any]) -> str:
    """``running``, ``interrupted``, ``open`` (another machine's), or the outcome it closed with."""
    if summary.get("state") == "closed":
        return str(summary.get("outcome") or "closed")
    writer = summary.get("writer")
    alive = liveness(writer if isinstance(writer, Mapping) else {})
    return {
        Liveness.ALIVE: "running",
        Liveness.GONE: "interrupted",
        Liveness.UNKNOWN: "open",
    }[alive]
