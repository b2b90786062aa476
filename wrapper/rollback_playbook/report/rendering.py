"""The report of an incident as Markdown, as one HTML file, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollback_playbook.events.canonical import json_value
from rollback_playbook.record.folder import IncidentFolder
from rollback_playbook.record.reading import read_events
from rollback_playbook.record.verification import Verification
from rollback_playbook.report import clock
from rollback_playbook.report.collecting import collect
from rollback_playbook.report.drawing import drawing_of
from rollback_playbook.report.facts import items
from rollback_playbook.report.spells import spells_of
from rollback_playbook.report.view import IncidentView

if TYPE_CHECKING:
    from jinja2 import Environment

_MOST_SPELLS = 20
FORMATS = ("md", "html", "json")

#: What only a person can say; the headings of the source runbooks.
BLANKS = (
    ("Impact", "Which users and functions were affected, and how badly?"),
    ("Root cause", "Why did it happen? What triggered it now? What contributed?"),
    (
        "Prevention",
        "What changes in process, code and infrastructure keep it from happening again?",
    ),
    ("Lessons learned", "What went well, what did not, where were we lucky?"),
    ("Action items", "What, who, until when?"),
)


def render(
    folder: IncidentFolder, format: str = "md", *, verification: Verification | None = None
) -> str:
    """The report of one record in one of ``FORMATS``; right for unfinished records as well.

    With ``verification`` it says whether the record was found unchanged and whole.
    Raises RecordError when the record cannot be read, ValueError for another format.
    """
    view = collect(read_events(folder.events))
    if format == "json":
        return _as_json(view, verification)
    if format not in FORMATS:
        raise ValueError(f"{format!r} is no format of a report")
    template = _environment().get_template(f"report.{format}.j2")
    return template.render(
        view=view,
        summary=view.summary,
        verification=verification,
        blanks=BLANKS,
        drawing=drawing_of(view) if format == "html" else None,
        spells=spells_of(view.windows, most=_MOST_SPELLS),
    )


def _as_json(view: IncidentView, verification: Verification | None) -> str:
    content = {
        **{key: value for key, value in asdict(view).items() if key != "summary"},
        "summary": dict(view.summary),
        "target_met": view.target_met,
        "verification": None if verification is None else _verified(verification),
    }
    return json.dumps(json_value(content), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _verified(verification: Verification) -> dict[str, Any]:
    return {**asdict(verification), "intact": verification.intact, "ok": verification.ok}


def _environment() -> Environment:
    """jinja2 is imported only here: it is not needed by most commands."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(["html.j2", "html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        {
            "t_plus": clock.t_plus,
            "duration": duration,
            "moment": clock.moment,
            "clock": clock.clock_time,
            "inline": inline,
            "approved": approved,
            "facts": facts,
            "plan_facts": plan_facts,
            "plan_steps": plan_steps,
            "turns_line": turns_line,
            "md": markdown_text,
            "listed": listed,
            "shown": shown,
            "samples_line": samples_line,
        }
    )
    return environment


def duration(value: Any) -> str:
    """A number of seconds for a person; what is no number is shown as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "" if value is None else str(value)
    return clock.duration(value)


def samples_line(samples: Any) -> str:
    """The samples of a check, oldest first: ``✗✓✓✓``."""
    if not isinstance(samples, (list, tuple)):
        return ""
    outcomes = [each.get("outcome") for each in samples if isinstance(each, Mapping)]
    return "".join(_SAMPLES.get(str(outcome), "?") for outcome in outcomes)


_SAMPLES = {"passed": "✓", "failed": "✗"}


def inline(value: Any, limit: int = 200) -> str:
    """A value in one line: texts as they are, lists of texts joined, the rest as JSON."""
    if isinstance(value, (list, tuple)) and value and all(isinstance(each, str) for each in value):
        value = "; ".join(value)
    text = value if isinstance(value, str) else json.dumps(json_value(value), ensure_ascii=False)
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def shown(value: Any) -> str:
    """A state's value: what is not there is a dash."""
    return "-" if value in (None, "", [], {}) else inline(value)


def listed(value: Any) -> str:
    """The items of a list in one line; another value as it is."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else inline(value)


def facts(value: Any) -> list[tuple[str, str]]:
    """Names and values of a mapping, without what says nothing."""
    if not isinstance(value, Mapping):
        return []
    said = {key: each for key, each in value.items() if each not in (None, "", [], {})}
    return [(str(key).replace("_", " "), in_words(each)) for key, each in said.items()]


def in_words(value: Any) -> str:
    """A value in one line; of an object its own summary, or its names and values."""
    if isinstance(value, Mapping):
        return inline(value.get("summary") or ", ".join(_pairs(value)))
    return inline(value)


def _pairs(value: Mapping[str, Any]) -> Iterator[str]:
    """What is deeper is counted: the record has it in full."""
    for name, each in value.items():
        deep = isinstance(each, (Mapping, list, tuple))
        yield f"{str(name).replace('_', ' ')} {len(each) if deep else inline(each)}"


def approved(approval: Any) -> str:
    """Who agreed, and how."""
    if not isinstance(approval, Mapping):
        return inline(approval)
    by, how = approval.get("by"), approval.get("how")
    return f"by {inline(by)}" + (f" ({inline(how)})" if how else "") if by else inline(approval)


def plan_facts(plan: Any) -> list[tuple[str, str]]:
    """What a plan says beside its steps; what stands elsewhere in the report is left out."""
    if not isinstance(plan, Mapping):
        return []
    names = [
        *(name for name in _FIRST if name in plan),
        *sorted(set(plan) - {*_FIRST, *_ELSEWHERE}),
    ]
    said = {name: _in_words(name, plan[name]) for name in names}
    return [(name.replace("_", " "), text) for name, text in said.items() if text]


_FIRST = ("title", "hosts", "fingerprint", "phases", "predicted_seconds", "predicted_from",
          "data_at_risk", "approval", "last_drill", "undo", "when", "when_not")  # fmt: skip
#: Of a plan: the steps have a table, the decision and what is known of the incident a section.
_ELSEWHERE = frozenset(
    {"decision", "environment", "level", "scenario", "steps", "target_seconds", "targets"}
)


def _in_words(key: str, value: Any) -> str:
    if value in (None, "", [], {}):
        return ""
    if key == "phases":
        return ", ".join(map(_phase_in_words, items(value))) or listed(value)
    if key.endswith("_seconds"):
        return duration(value)
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {listed(each)}" for name, each in value.items() if each)
    return listed(value)


def _phase_in_words(phase: Mapping[str, Any]) -> str:
    about = duration(phase.get("predicted_seconds"))
    return f"{phase.get('phase')} (about {about})" if about else str(phase.get("phase"))


def plan_steps(plan: Any) -> list[Mapping[str, Any]]:
    """The steps of a plan."""
    return list(items(plan.get("steps"))) if isinstance(plan, Mapping) else []


def turns_line(turns: Any) -> str:
    """How a gate turned green: ``0 of 6 at T+0:31, 6 of 6 at T+0:33``."""
    return ", ".join(f"{green} of {total} at {clock.t_plus(at)}" for at, green, total in turns)


def markdown_text(text: Any) -> str:
    """``text`` so that Markdown, in a table or elsewhere, shows it as it is."""
    plain = inline(text, limit=2_000)
    for character in "\\`*_[]<>|#":
        plain = plain.replace(character, "\\" + character)
    return plain
