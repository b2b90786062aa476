"""From one event to what a report shows of it. Only the envelope of an event can be relied on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rollback_playbook.events.model import RecordEvent, seconds_between
from rollback_playbook.report.differences import differences
from rollback_playbook.report.view import Change, Gate, Note, Row, Window

_LONGEST = 300
_DATA_FACTS = frozenset(
    {
        "backup", "conflicts", "downtime_ms", "export", "failed_checks", "merge", "merged",
        "not_merged", "outcome", "predecessor", "summary", "tables", "total", "unmerged",
    }
)  # fmt: skip
_DATA_MODULES = frozenset(
    f"sre.rollback.{name}"
    for name in ("pg_backup_verified", "pg_integrity", "pg_restore_verified", "pg_salvage")
)


def change_of(event: RecordEvent, status: str, offset: float | None) -> Change:
    """What a finished task did."""
    result = mapping(event.data.get("result"))
    return Change(
        host=event.subject,
        phase=word(event, "phase"),
        task=word(event, "task"),
        action=word(event, "action"),
        status=status,
        offset=offset,
        seconds=event.data.get("seconds"),
        message=message_of(event),
        differences=tuple(differences(result.get("before"), result.get("after"))),
    )


def data_facts_of(event: RecordEvent) -> dict[str, Any] | None:
    """What a task of the database modules says about data, or None."""
    if event.data.get("action") not in _DATA_MODULES or event.data.get("status") == "skipped":
        return None
    result = mapping(event.data.get("result"))
    facts = {key: _counted(value) for key, value in result.items() if key in _DATA_FACTS}
    backup = mapping(facts.get("backup"))
    if backup.get("id"):
        facts["backup"] = backup["id"]
    said = {key: value for key, value in facts.items() if value not in (None, "", [], {})}
    return {"task": word(event, "task"), "host": event.subject, "facts": said} if said else None


def _counted(value: Any) -> Any:
    """Large tables are counted: the record has them in full."""
    if isinstance(value, (list, dict)) and len(str(value)) > _LONGEST:
        return f"{len(value)} (in the record)"
    return value


Turn = tuple[float | None, int, int]


def turn_of(event: RecordEvent, offset: float | None) -> Turn:
    """How many checks of an undecided gate were green, of how many."""
    checks = list(items(event.data.get("checks")))
    return offset, sum(check.get("state") == "passed" for check in checks), len(checks)


def gate_of(
    event: RecordEvent, *, phase: str, offset: float | None, turns: Sequence[Turn] = ()
) -> Gate:
    """A gate's verdict; an inconclusive one is a failed one with that word."""
    checks = event.data.get("checks")
    outcome = "passed" if event.type == "gate.passed" else "failed"
    return Gate(
        name=word(event, "gate"),
        phase=word(event, "phase") or phase,
        outcome=word(event, "outcome") or outcome,
        offset=offset,
        seconds=event.data.get("elapsed"),
        checks=tuple(items(checks)),
        message=short(word(event, "msg")),
        turns=tuple(turns),
    )


def windows_of(event: RecordEvent, origin: str) -> Iterator[Window]:
    """The times without service of ``outage.measured``."""
    for window in items(event.data.get("windows")):
        started, ended = str(window.get("started", "")), str(window.get("ended", ""))
        measured = window.get("seconds")
        if not isinstance(measured, (int, float)):
            measured = seconds_between(started, ended) or 0.0
        yield Window(
            start=seconds_between(origin, started),
            end=seconds_between(origin, ended),
            seconds=float(measured),
            started=started,
            ended=ended,
        )


def note_of(event: RecordEvent) -> Note:
    """A person's words."""
    corrects = event.data.get("corrects")
    return Note(
        time=event.time,
        author=word(event, "author"),
        text=word(event, "text"),
        corrects=corrects if isinstance(corrects, int) else None,
    )


def rescued(row: Row) -> Row:
    """The row of a failure that turned out to be rescued."""
    return replace(row, what=f"{row.what} (rescued)", tone="warning")


def message_of(event: RecordEvent) -> str:
    """What a task's module said."""
    if event.data.get("censored"):
        return "the result is hidden (no_log)"
    return short(str(mapping(event.data.get("result")).get("msg") or ""))


def word(event: RecordEvent, name: str) -> str:
    """A text of the event's data; empty when it has none."""
    value = event.data.get(name)
    return "" if value is None else str(value)


def mapping(value: Any) -> Mapping[str, Any]:
    """``value`` when it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> Iterator[Mapping[str, Any]]:
    """The objects of a list; nothing of what is none."""
    return (
        each for each in (value if isinstance(value, list) else ()) if isinstance(each, Mapping)
    )


def short(text: str) -> str:
    """One line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
