"""From the job events of ansible-runner and AWX to the events of a record.

Live events, the files of an artifacts directory and AWX's API have the same shape
(ansible_runner/display_callback/callback/awx_display.py). Every job event becomes at least one
draft that carries its ``counter``, so that a record can be counted against the run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rollback_playbook.events.model import Draft, seconds_between, utc_text
from rollback_playbook.events.outcome import RunOutcome
from rollback_playbook.events.phases import PhaseTally
from rollback_playbook.events.pruning import bounded, cut_text
from rollback_playbook.events.results import (
    GATE,
    PROGRESS,
    gate_drafts,
    is_loop,
    progress_data,
    result_data,
    undo_drafts,
)

JobEvent = Mapping[str, Any]

_MAX_LINE = 2_000
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LEVELS = ("deprecated", "system_warning", "warning", "error", "debug", "verbose")
_STATUS = {
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
    "runner_on_skipped": "skipped",
    "runner_item_on_ok": "ok",
    "runner_item_on_failed": "failed",
    "runner_item_on_skipped": "skipped",
}


class EventConverter:
    """Converts the job events of one run, in their order.

    One converter per run: it remembers the open phase and which hosts failed in it. With
    ``check`` no ``undo.recorded`` comes out, because nothing was done that could be undone.
    """

    def __init__(self, *, check: bool = False) -> None:
        self._check = check
        self._phase: PhaseTally | None = None
        self._outcome = RunOutcome()
        self._gate: dict[str, str] = {}

    @property
    def phase(self) -> str:
        """The name of the open phase, or an empty string."""
        return self._phase.name if self._phase else ""

    def convert(self, event: JobEvent) -> list[Draft]:
        """The drafts of one job event, in the order in which they are to be written."""
        name = str(event.get("event", ""))
        convert = _CONVERTERS.get(name, EventConverter._other)
        return convert(self, event, event.get("event_data") or {})

    def close(self, time: str = "", *, status: str = "interrupted") -> list[Draft]:
        """Ends the open phase of a run whose last event never came."""
        if self._phase is None:
            return []
        return [self._phase_finished(utc_text(time), status=status)]

    def _draft(
        self, event: JobEvent, type_: str, data: dict[str, Any], *, sync: bool = False
    ) -> Draft:
        return Draft(
            type=type_,
            data=data,
            subject=_host(event),
            time=_time(event),
            counter=_counter(event),
            sync=sync,
        )

    def _playbook_started(self, event: JobEvent, data: JobEvent) -> list[Draft]:
        return [self._draft(event, "playbook.started", {"playbook": data.get("playbook", "")})]

    def _play_started(self, event: JobEvent, data: JobEvent) -> list[Draft]:
        """A phase is plays of one name in a row; one with ``serial`` starts once for each batch."""
        name = str(data.get("name") or data.get("play") or "")
        about = {"name": name, "pattern": data.get("pattern") or data.get("play_pattern") or ""}
        if self._phase is not None and self._phase.name == name:
            return [self._draft(event, "batch.started", about)]
        closing = [] if self._phase is None else [self._phase_finished(_time(event))]
        self._phase = PhaseTally(name=name, started=_time(event))
        return [*closing, self._draft(event, "phase.started", about, sync=True)]

    def _phase_finished(self, time: str, *, status: str = "") -> Draft:
        phase = self._phase
        if phase is None:
            raise RuntimeError("no phase is open")
        self._phase = None
        counts = phase.counts()
        data = {
            "name": phase.name,
            "status": status or phase.status(),
            "seconds": seconds_between(phase.started, time),
            **counts,
        }
        return Draft(type="phase.finished", data=data, subject="", time=time, sync=True)

    def _task_started(self, event: JobEvent, data: JobEvent) -> list[Draft]:
        about = {**self._task(event, data), "path": data.get("task_path", "")}
        if data.get("role"):
            about["role"] = data["role"]
        if data.get("is_conditional"):
            about["handler"] = True
        return [self._draft(event, "task.started", about)]

    def _host_started(self, event: JobEvent, data: JobEvent) -> list[Draft]:
        if self._phase is not None:
            self._phase.host_started(_host(event))
        body = self._task(event, data)
        if body["action"] == GATE:
            self._gate = {"gate": body["task"], "phase": body["phase"], "host": _host(event)}
        return [self._draft(event, "host.started", body)]

    def _gate_sampled(self, event: JobEvent, data: JobEvent) -> list[Draft]:
        """Of the gate that was begun last: it does not know its own name."""
        sampled = self._draft(event, "gate.sampled", bounded({**self._gate, **data}))
        return [replace(sampled, subject=self._gate.get("host", ""))]

    def _task_finished(self, event: JobEvent, data: JobEvent) -> list[Draft]:
        status = _STATUS[str(event["event"])]
        body = {**self._task(event, data), **result_data(data, status)}
        self._count(event, body)
        finished = self._draft(event, "task.finished", body, sync=body["status"] == "changed")
        return [finished, *([] if is_loop(data) else self._consequences(finished, data))]

    def _item_finished(self, event: JobEvent, data: JobEvent) -> list[Draft]:
        status = _STATUS[str(event["event"])]
        body = {**self._task(event, data), **result_data(data, status)}
        finished = self._draft(event, "item.finished", body)
        return [finished, *self._consequences(finished, data)]

    def _consequences(self, finished: Draft, data: JobEvent) -> list[Draft]:
        """A loop's own result repeats its items', which have been recorded one by one."""
        undo = [] if self._check else undo_drafts(finished, data)
        return [*undo, *gate_drafts(finished, data)]

    def _count(self, event: JobEvent, body: Mapping[str, Any]) -> None:
        if self._phase is not None:
            ignored = bool(body.get("ignored"))
            self._phase.host_finished(_host(event), body["status"], ignored=ignored)
        self._outcome.task_finished(_host(event), body, _counter(event))

    def _retried(self, event: JobEvent, data: JobEvent) -> list[Draft]:
        body = {**self._task(event, data), **result_data(data, "failed"), "status": "retried"}
        if body["action"] in PROGRESS:
            return [self._draft(event, "progress.reported", progress_data(body, _host(event)))]
        return [self._draft(event, "task.retried", body)]

    def _polled(self, event: JobEvent, data: JobEvent) -> list[Draft]:
        body = {**self._task(event, data), "job": str(data.get("jid") or "")}
        return [self._draft(event, "task.polled", body)]

    def _stats(self, event: JobEvent, data: JobEvent) -> list[Draft]:
        """Only here is known which failures were rescued: ``runner_on_failed`` does not say."""
        body = self._outcome.stats(data)
        closing = []
        if self._phase is not None:
            stands = self._phase.status()
            went_wrong = body["failed_hosts"] and stands not in ("ok", "skipped")
            status = "failed" if went_wrong else ""
            closing = [self._phase_finished(_time(event), status=status)]
        return [*closing, self._draft(event, "stats.recorded", body, sync=True)]

    def _line(self, event: JobEvent, _data: JobEvent) -> list[Draft]:
        text = _ANSI.sub("", str(event.get("stdout") or "")).strip()
        body = {"level": _level(str(event.get("event", "")), text)}
        body["text"] = text if len(text) <= _MAX_LINE else cut_text(text, _MAX_LINE)
        return [self._draft(event, "line.printed", body)]

    def _other(self, event: JobEvent, data: JobEvent) -> list[Draft]:
        """Nothing is dropped because it is not known here."""
        known = {key: value for key, value in data.items() if key not in _POSITION}
        body = {"event": str(event.get("event", "")), "phase": self.phase, "details": known}
        return [self._draft(event, "ansible.reported", bounded(body))]

    def _task(self, event: JobEvent, data: JobEvent) -> dict[str, Any]:
        """``runner_on_*`` of a free strategy may belong to another play than the open one."""
        return {
            "task": str(data.get("task") or data.get("name") or event.get("task") or ""),
            "action": str(data.get("resolved_action") or data.get("task_action") or ""),
            "phase": str(data.get("play") or self.phase),
        }


_POSITION = frozenset(
    {
        "guid", "host", "play", "play_pattern", "play_uuid", "playbook", "playbook_uuid",
        "remote_addr", "task_args", "task_path", "task_uuid", "uuid",
    }
)  # fmt: skip

_CONVERTERS: dict[str, Callable[[EventConverter, JobEvent, JobEvent], list[Draft]]] = {
    "playbook_on_start": EventConverter._playbook_started,
    "playbook_on_play_start": EventConverter._play_started,
    "playbook_on_task_start": EventConverter._task_started,
    "playbook_on_stats": EventConverter._stats,
    "runner_on_start": EventConverter._host_started,
    "runner_on_ok": EventConverter._task_finished,
    "runner_on_failed": EventConverter._task_finished,
    "runner_on_unreachable": EventConverter._task_finished,
    "runner_on_skipped": EventConverter._task_finished,
    "runner_item_on_ok": EventConverter._item_finished,
    "runner_item_on_failed": EventConverter._item_finished,
    "runner_item_on_skipped": EventConverter._item_finished,
    "gate_sampled": EventConverter._gate_sampled,
    "runner_retry": EventConverter._retried,
    "runner_on_async_poll": EventConverter._polled,
    "runner_on_async_ok": EventConverter._polled,
    "runner_on_async_failed": EventConverter._polled,
    **dict.fromkeys(_LEVELS, EventConverter._line),
}


def _host(event: JobEvent) -> str:
    data = event.get("event_data") or {}
    return str(data.get("host") or event.get("host_name") or "")


def _time(event: JobEvent) -> str:
    return utc_text(str(event.get("created") or ""))


def _counter(event: JobEvent) -> int | None:
    counter = event.get("counter")
    return counter if isinstance(counter, int) else None


def _level(name: str, text: str) -> str:
    """Core prints its warnings as verbose lines when its callback is not told the kind."""
    if name not in ("", "verbose"):
        return {"system_warning": "warning", "deprecated": "deprecation"}.get(name, name)
    for mark, level in _MARKS:
        if text.startswith(mark):
            return level
    return "verbose"


_MARKS = (
    ("[DEPRECATION WARNING]", "deprecation"),
    ("[WARNING]", "warning"),
    ("[ERROR]", "error"),
    ("ERROR!", "error"),
)
