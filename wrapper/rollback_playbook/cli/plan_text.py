"""The plan as a person reads it: before every confirmation, and from ``rollback-playbook plan``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import click

from rollback_playbook.report.clock import duration, moment

_HOSTS_SHOWN = 6


def print_plan(plan: Mapping[str, Any]) -> None:
    """On standard error: standard output is for data."""
    for line in plan_lines(plan):
        click.echo(line, err=True)


def plan_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    """What would be done, where, for how long, what is lost, and what cannot be undone."""
    yield click.style(f"{plan['scenario']} on {plan['environment']}: {plan['title']}", bold=True)
    count = len(plan["hosts"])
    noun = "host" if count == 1 else "hosts"
    yield f"  {count} {noun} (fingerprint {plan['fingerprint']}): {_shown(plan['hosts'])}"
    yield f"  {_times(plan)}"
    yield from _phases(plan)
    for label, text in (
        ("when", plan["when"]),
        ("not when", plan["when_not"]),
        ("undo", plan["undo"]),
        ("decision", _decided(plan["decision"] or {})),
        ("data at risk", risk_text(plan["data_at_risk"])),
        ("approval", plan["approval"]),
        ("last drill", _drill(plan["last_drill"])),
        ("attention", _broken_by(plan["broken_by_drill"])),
    ):
        if text:
            yield f"  {label + ':':<13} {text}"


def _times(plan: Mapping[str, Any]) -> str:
    target = f"level {plan['level']}, target {duration(plan['target_seconds'])}"
    total, source = plan["predicted_seconds"], plan["predicted_from"]
    if total is None:
        return f"{target}; it has never run to its end here, so nothing is known of its times"
    runs = "run" if source["runs"] == 1 else "runs"
    where = f"{source['runs']} {runs} on {source['environment']}"
    return f"{target}; about {duration(total)}, as the median of {where}"


def _phases(plan: Mapping[str, Any]) -> Iterator[str]:
    about = {each["phase"]: each for each in plan["phases"]}
    for phase, steps in groupby(plan["steps"], key=lambda step: str(step["phase"])):
        seconds, changes = about[phase]["predicted_seconds"], about[phase]["changes_production"]
        took = f"about {duration(seconds)}" if seconds is not None else ""
        notes = ", ".join(filter(None, [took, "changes production" if changes else ""]))
        yield click.style(f"  {phase:<9} {notes}".rstrip(), bold=changes)
        yield from (_step(step, _where(step, plan)) for step in steps)


def _where(step: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    names = plan["targets"][step["on"]]
    everywhere = len(names) > 1 and set(names) == set(plan["hosts"])
    return f"all {len(names)} hosts" if everywhere else _shown(names)


def _step(step: Mapping[str, Any], where: str) -> str:
    notes = [where]
    if step["predicted_seconds"] is not None:
        notes.append(f"about {duration(step['predicted_seconds'])}")
    if step["undo"]:
        notes.append("can be undone" if step["undo"] == "yes" else "CANNOT BE UNDONE")
    return f"    {step['task']}  ({'; '.join(filter(None, notes))})"


def _shown(names: Sequence[str]) -> str:
    more = len(names) - _HOSTS_SHOWN
    return ", ".join(names[:_HOSTS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _decided(decision: Mapping[str, Any]) -> str:
    if not decision.get("level"):
        return ""
    parts = [f"level {decision['level']}"]
    if decision.get("release_to"):
        parts.append(f"release {decision.get('release_from')} → {decision['release_to']}")
    if decision.get("backup"):
        parts.append(f"backup {decision['backup']}")
    reasons = "; ".join(map(str, decision.get("reasons", ())))
    return ", ".join(parts) + (f" ({reasons})" if reasons else "")


def risk_text(risk: Any) -> str:
    """In the words of Assess, whatever shape they have."""
    if isinstance(risk, Mapping):
        for name in ("summary", "words", "text"):
            if risk.get(name):
                estimated = risk.get("exact") is False and risk.get("basis")
                return f"{risk[name]} ({risk['basis']})" if estimated else str(risk[name])
        return ", ".join(f"{name}: {value}" for name, value in risk.items())
    if isinstance(risk, (list, tuple)):
        return "; ".join(map(str, risk))
    return str(risk) if risk else ""


def _broken_by(drill: Mapping[str, Any] | None) -> str:
    if drill is None:
        return ""
    words = broken_words(
        drill["scenario"], drill["environment"], when=drill["when"], why=drill["why"]
    )
    return f"{words}: {drill['command']}"


def broken_words(scenario: str, environment: str, *, when: str, why: str) -> str:
    """That a drill has left an environment broken, and why it did."""
    ended = why or "it did not end healthy"
    return (
        f"the drill of {scenario} on {moment(when)} may have left {environment} broken ({ended}), "
        "and nothing has brought it back since"
    )


def _drill(drill: Mapping[str, Any] | None) -> str:
    if drill is None:
        return "never passed one here"
    between = f", release {drill['release_from']} → {drill['release_to']}"
    return (
        f"{moment(drill['when'])} on {drill['environment']}, version {drill['version']}"
        f"{between if drill['release_to'] else ''}"
    )
