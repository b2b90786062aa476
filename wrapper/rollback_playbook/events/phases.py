"""The phases that change production, and what is counted while a phase is open."""

from __future__ import annotations

from collections import Counter
from typing import Any

#: The phases after whose start production is no longer as it was found.
CHANGING_PHASES = frozenset({"Protect", "Pause", "Switch", "Resume"})


class PhaseTally:
    """The tasks of one phase, by outcome, and how each host stands in it."""

    def __init__(self, *, name: str, started: str) -> None:
        self.name = name
        self.started = started
        self._counts: Counter[str] = Counter()
        self._last: dict[str, str] = {}

    def host_started(self, host: str) -> None:
        """A host that starts another task has got over its failure: a rescue took it up."""
        if self._last.get(host) == "failed":
            self._last[host] = "rescued"

    def host_finished(self, host: str, status: str, *, ignored: bool) -> None:
        self._counts["ignored" if ignored else status] += 1
        if ignored:
            status = "ok"
        if not (self._last.get(host) == "rescued" and status != "failed"):
            self._last[host] = status

    def status(self) -> str:
        """``failed`` when a host went no further; ``rescued`` when some did all the same.

        ``skipped`` when no host took part: Ansible goes on to the plays that follow a host it
        lost, with nobody in them.
        """
        stands = set(self._last.values())
        if not stands:
            return "skipped"
        if stands & {"failed", "unreachable"}:
            return "failed"
        return "rescued" if "rescued" in stands else "ok"

    def counts(self) -> dict[str, Any]:
        names = ("ok", "changed", "skipped", "failed", "unreachable", "ignored")
        return {"hosts": len(self._last), **{name: self._counts[name] for name in names}}
