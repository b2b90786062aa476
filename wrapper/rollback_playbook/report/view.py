"""What a report shows, as plain values: made by ``collecting`` and drawn by the renderers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rollback_playbook.record.undo import UndoStep


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the timeline. ``offset`` is in seconds since the declaration."""

    offset: float | None
    time: str
    phase: str
    what: str
    seconds: float | None = None
    #: ``good``, ``bad``, ``warning`` or empty.
    tone: str = ""
    sequence: int = 0


@dataclass(slots=True)
class Bar:
    """A phase, or a host's work in it, as an interval since the declaration."""

    name: str
    start: float
    end: float
    status: str


@dataclass(frozen=True, slots=True)
class Change:
    """Something a task did to a host, or failed to do."""

    host: str
    phase: str
    task: str
    action: str
    status: str
    offset: float | None
    seconds: float | None
    message: str
    #: What became different: path, old value, new value.
    differences: tuple[tuple[str, Any, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate's verdict with its checks."""

    name: str
    phase: str
    outcome: str
    offset: float | None
    seconds: float | None
    checks: tuple[Mapping[str, Any], ...]
    message: str = ""
    #: How it turned green: when (as ``offset``), and how many checks were green of how many.
    turns: tuple[tuple[float | None, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """A time without service as users saw it, in seconds since the declaration."""

    start: float | None
    end: float | None
    seconds: float
    started: str
    ended: str


@dataclass(frozen=True, slots=True)
class Note:
    """A person's words. ``corrects`` is the sequence of the event they replace."""

    time: str
    author: str
    text: str
    corrects: int | None = None


@dataclass(slots=True)
class IncidentView:
    """Everything a report shows."""

    id: str
    summary: Mapping[str, Any]
    state: str
    rows: list[Row] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    hosts: dict[str, list[Bar]] = field(default_factory=dict)
    changes: dict[str, list[Change]] = field(default_factory=dict)
    omitted_changes: int = 0
    gates: list[Gate] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    outage: Mapping[str, Any] | None = None
    decision: Mapping[str, Any] | None = None
    approvals: list[Mapping[str, Any]] = field(default_factory=list)
    plan: Mapping[str, Any] | None = None
    data_facts: list[Mapping[str, Any]] = field(default_factory=list)
    undo: list[UndoStep] = field(default_factory=list)
    evidence: list[Mapping[str, Any]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float | None = None
    target: float | None = None

    @property
    def target_met(self) -> bool | None:
        """Whether it was healthy within its target time; None when it was not, or is not known."""
        if self.target is None or self.seconds is None or self.summary.get("exit_code") != 0:
            return None
        return self.seconds <= self.target
