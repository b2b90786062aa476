"""The scenarios: one playbook each, with its metadata beside its plays."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rollback_playbook.catalogue.play_keywords import keyword_variables
from rollback_playbook.catalogue.plays import read_plays
from rollback_playbook.errors import UsageError
from rollback_playbook.events.phases import CHANGING_PHASES

#: The plays a scenario may have, in this order (docs/reference/phases.md).
PHASES = (
    "Declare",
    "Protect",
    "Assess",
    "Preserve",
    "Prepare",
    "Pause",
    "Switch",
    "Verify",
    "Resume",
    "Confirm",
    "Close",
)

_TITLE = re.compile(r"^ +title: *(?P<title>.+?) *$", re.MULTILINE)
_HEAD_BYTES = 4096


@dataclass(frozen=True)
class Phase:
    """One or more plays of one name in a row, and the host pattern of all of them."""

    name: str
    hosts: str


@dataclass(frozen=True)
class Scenario:
    """A playbook and what its ``rollback_scenario`` variable says about it."""

    name: str
    path: Path
    title: str
    level: str
    target_seconds: float
    when: str
    when_not: str
    undo: str
    approval: str
    protects_first: bool
    phases: tuple[Phase, ...]
    #: Variables of the inventory without which Protect does nothing; None where that is not known.
    protected_by: frozenset[str] | None = None
    #: Groups that an inventory may declare without hosts, which says that there is none of them.
    may_lack: frozenset[str] = frozenset()
    #: Variables that its plays' keywords use.
    keyword_variables: frozenset[str] = frozenset()

    @property
    def decides_first(self) -> bool:
        """Whether Assess may run before anything is changed, to refuse or to inform.

        A scenario that asks for protection within seconds does not wait for it.
        """
        return not self.protects_first and self.has("Assess") and self.has("Switch")

    def looks_ahead(self, *, asked: bool, variables: Mapping[str, Any]) -> bool:
        """Whether Assess has to run by itself first: to inform who is asked, to refuse in time.

        Where nobody is asked, and nothing is changed before it, its own place is early enough.
        """
        return self.decides_first and (asked or self._protects(variables))

    def _protects(self, variables: Mapping[str, Any]) -> bool:
        if not self.has("Protect") or self.protected_by is None:
            return self.has("Protect")
        return any(variables.get(name) for name in self.protected_by)

    @property
    def reviewed_after(self) -> bool:
        """Whether nobody is asked before, and somebody has to look at it when it is over."""
        return self.approval.endswith("reviewed afterwards")

    @property
    def changes_production(self) -> bool:
        """Whether one of its phases touches what users are on."""
        return any(phase.name in CHANGING_PHASES for phase in self.phases)

    def has(self, phase: str) -> bool:
        """Whether the scenario has a play of this name."""
        return any(phase == each.name for each in self.phases)


def scenario_files(folders: Iterable[Path]) -> dict[str, Path]:
    """Every scenario's file by the scenario's name; a later folder never hides an earlier one."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.yml")):
            found.setdefault(path.stem.replace("_", "-"), path)
    return found


def title_of(path: Path) -> str:
    """The title, read from the head of the file: a help page parses no YAML."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES).decode(errors="replace")
    match = _TITLE.search(head)
    return match["title"] if match else ""


def find(name: str, folders: Sequence[Path]) -> Scenario:
    """The scenario of this name.

    Raises UsageError when there is none, or when its file is not a scenario.
    """
    files = scenario_files(folders)
    if name not in files:
        close = difflib.get_close_matches(name, files, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "rollback-playbook list"
        raise UsageError(f"there is no scenario named {name!r}", hint=hint)
    return load(name, files[name])


def runs_beside(name: str, folders: Sequence[Path]) -> bool:
    """Whether this scenario locks nothing, because nothing in it touches production.

    False when there is no scenario of this name (any more).
    """
    try:
        return not find(name, folders).has("Close")
    except UsageError:
        return False


def load(name: str, path: Path) -> Scenario:
    """Read one scenario; raises UsageError with the file's name when it is malformed."""
    import yaml

    try:
        return _from_plays(name, path, read_plays(path))
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read as a playbook: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{path} is not a scenario: {error}",
            hint="its first play needs vars.rollback_scenario with title, level and "
            "target_seconds; its plays bear the names of the phases",
        ) from error


def _from_plays(name: str, path: Path, plays: list[dict[str, Any]]) -> Scenario:
    metadata = plays[0].get("vars", {})["rollback_scenario"]
    phases = tuple(
        Phase(phase, _pattern(play["hosts"] for play in group))
        for phase, group in groupby(plays, key=lambda play: str(play["name"]))
    )
    _require_order([phase.name for phase in phases])
    return Scenario(
        name=name,
        path=path,
        title=str(metadata["title"]),
        level=str(metadata["level"]),
        target_seconds=float(metadata["target_seconds"]),
        when=str(metadata.get("when", "")).strip(),
        when_not=str(metadata.get("when_not", "")).strip(),
        undo=str(metadata.get("undo", "")).strip(),
        approval=str(metadata.get("approval", "operator")),
        protects_first=bool(metadata.get("protects_first", False)),
        phases=phases,
        protected_by=_protected_by(play for play in plays if play["name"] == "Protect"),
        may_lack=frozenset(map(str, metadata.get("may_lack", ()))),
        keyword_variables=keyword_variables(plays),
    )


#: All that Protect does where it does no more than what the inventory says in these variables.
_PROTECTION = {"name": "sre.rollback.protect", "tasks_from": "open"}
_PROTECTED_BY = frozenset({"protect_breakers", "protect_flags"})


def _protected_by(plays: Iterable[dict[str, Any]]) -> frozenset[str] | None:
    known = all(
        _PROTECTED_BY.isdisjoint(play.get("vars") or {})
        and all(
            isinstance(task, dict)
            and task.get("ansible.builtin.import_role") == _PROTECTION
            and "vars" not in task
            for section in ("pre_tasks", "roles", "tasks", "post_tasks")
            for task in play.get(section) or ()
        )
        for play in plays
    )
    return _PROTECTED_BY if known else None


def _pattern(hosts: Iterable[str | list[str]]) -> str:
    parts = [
        part for each in hosts for part in (each.split(":") if isinstance(each, str) else each)
    ]
    return ":".join(dict.fromkeys(parts))


def _require_order(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in PHASES]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a phase")
    positions = [PHASES.index(name) for name in names]
    if positions != sorted(set(positions)):
        raise ValueError(f"its phases are out of order: {', '.join(names)}")
