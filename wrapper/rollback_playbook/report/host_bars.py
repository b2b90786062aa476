"""When each host was at work, as intervals; bounded for hosts with very many tasks."""

from __future__ import annotations

from rollback_playbook.report.view import Bar

#: Of one host; what comes after is drawn into the last one.
_MOST = 300


class HostBars:
    """Neighbouring tasks of one phase with one outcome make one bar."""

    def __init__(self) -> None:
        self.hosts: dict[str, list[Bar]] = {}

    def add(self, host: str, *, phase: str, status: str, end: float, seconds: float) -> None:
        bars = self.hosts.setdefault(host, [])
        same = bars and bars[-1].name == phase and bars[-1].status == status
        if same or len(bars) >= _MOST:
            bars[-1].end = max(bars[-1].end, end)
        else:
            bars.append(Bar(phase, end - seconds, end, status))
